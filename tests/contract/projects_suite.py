"""The contract of project stores: unique ids, durable settings, correct counts, and idempotent requests.

Fixtures `store` (the projects and the ledger they are in, with the projects "default" and "other" of GENERATION) and
`clock` come from the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.contract.ledger_world import (
    ALICE,
    BOB,
    DAY,
    ELSEWHERE,
    GENERATION,
    SECOND,
    START,
    FakeClock,
    added,
    deleted,
    one,
    said,
    write,
)

from recalld_server.domain.errors import OutcomeTaken, ProjectExists, ProjectNotFound
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import NewOperation, OperationKind
from recalld_server.domain.projects import Project, ProjectSettings
from recalld_server.domain.revision import RequestKey
from recalld_server.ports.ledger import Ledger
from recalld_server.ports.projects import Projects

OPERATOR = Access("", principal="operator")
NEXT = replace(GENERATION, number=2)


@dataclass(frozen=True)
class Store:
    """Projects and the ledger they are in."""

    projects: Projects
    ledger: Ledger


def asked(rpc: str = "CreateProject", request_id: str = "r") -> RequestKey:
    return RequestKey(rpc, request_id, "f")


async def create(store: Store, id: str, request: RequestKey | None = None, **fields: Any) -> Any:
    settings = fields.pop("settings", ProjectSettings())
    return await store.projects.create(OPERATOR, Project(id, **fields), settings, GENERATION, request)


async def change(store: Store, project: str, request: RequestKey | None = None, **values: Any) -> Any:
    build = NewOperation("build", OperationKind.REBUILD_INDEX, project)  # for a change of language
    return await store.projects.change_settings(Access(project, principal="key"), project, values, request, build)


class ProjectsSuite:
    """All of it."""

    @pytest.fixture(autouse=True)
    def begin(self, store: Store, clock: FakeClock) -> None:
        """The two projects are there, and then the test begins."""
        clock.time = START

    async def test_a_project_is_found_as_it_was_made(self, store: Store) -> None:
        made = await create(store, "kitchen", name="Küche 🍳", description="what is cooked")
        expected = Project("kitchen", "Küche 🍳", "what is cooked", START, START)
        assert Project(**made) == expected
        assert await store.projects.get("kitchen") == expected
        assert await store.projects.settings("kitchen") == (ProjectSettings(), GENERATION)
        assert await store.ledger.generation("kitchen") == GENERATION
        stand = await store.ledger.positions(Access("kitchen"))
        assert (stand.head, stand.applied) == (0, 0)

    async def test_an_id_is_given_once(self, store: Store) -> None:
        await create(store, "kitchen", name="first")
        with pytest.raises(ProjectExists) as caught:
            await create(store, "kitchen", request=asked(), name="second")
        assert caught.value.metadata == {"project_id": "kitchen"}
        assert (await store.projects.get("kitchen")).name == "first"
        assert await store.projects.outcome(OPERATOR, "CreateProject", "r") is None

    async def test_what_is_not_there_is_said_by_name(self, store: Store) -> None:
        for call in (
            store.projects.get("nowhere"),
            store.projects.settings("nowhere"),
            store.projects.usage("nowhere"),
            store.projects.update(OPERATOR, "nowhere", {"name": "x"}, asked("UpdateProject")),
            change(store, "nowhere", asked("UpdateProjectSettings"), custom_instructions="x"),
        ):
            with pytest.raises(ProjectNotFound) as caught:
                await call
            assert caught.value.metadata == {"project_id": "nowhere"}
        assert await store.projects.outcome(OPERATOR, "UpdateProject", "r") is None

    async def test_pages_go_by_id_and_code_point(self, store: Store) -> None:
        """Whatever a database takes for the order of words: there, `-` often counts for nothing."""
        ids = ["a", "a-", "a-b", "a-z", "a1", "aa", "ab", "b"]
        for id in reversed(ids):
            await create(store, id)
        ids += ["default", "other"]
        seen: list[str] = []
        while page := await store.projects.page(seen[-1] if seen else "", 3):
            seen += [each.id for each in page]
        assert seen == ids
        assert [each.id for each in await store.projects.page("a-a", 2)] == ["a-b", "a-z"]

    async def test_a_change_keeps_what_it_does_not_name(self, store: Store, clock: FakeClock) -> None:
        await create(store, "kitchen", name="before", description="stays")
        clock.time += SECOND
        changed = await store.projects.update(OPERATOR, "kitchen", {"name": "after"}, None)
        expected = Project("kitchen", "after", "stays", START, START + SECOND)
        assert Project(**changed) == await store.projects.get("kitchen") == expected
        await store.projects.update(OPERATOR, "kitchen", {"name": "", "description": ""}, None)
        assert await store.projects.get("kitchen") == replace(expected, name="", description="")
        assert (await store.projects.get("other")).name == ""

    async def test_settings_stay_and_are_of_one_project(self, store: Store) -> None:
        wanted = ProjectSettings("Be brief. 🍳", (("food", "what is eaten"), ("", "")), "", 5 * DAY, DAY, "rules")
        await create(store, "kitchen", settings=wanted)
        assert (await store.projects.settings("kitchen"))[0] == wanted
        changed = await change(store, "kitchen", history_retention=None, custom_categories=(("pets", "animals"),))
        expected = replace(wanted, history_retention=None, custom_categories=(("pets", "animals"),))
        assert ProjectSettings.parse(changed) == (await store.projects.settings("kitchen"))[0] == expected
        assert (await store.projects.settings("other"))[0] == ProjectSettings()

    async def test_usage_counts_what_is_stored(self, store: Store) -> None:
        first = added("m", scope=ALICE, add_id="add", source_positions=(0,))
        made = await one(store.ledger, first, conversations=[said("told", add_id="add")])
        await write(store.ledger, added("n", scope=ALICE), added("o", scope=BOB))
        await write(store.ledger, deleted(made))
        await write(store.ledger, added("m"), access=ELSEWHERE)
        found = await store.projects.usage("default")
        assert (found.memories, found.revisions, found.entities, found.messages, found.seq) == (2, 4, 2, 1, 4)
        found = await store.projects.usage("other")
        assert (found.memories, found.revisions, found.entities, found.messages, found.seq) == (1, 1, 1, 0, 1)

    async def test_the_backlog_is_what_nobody_confirmed(self, store: Store, clock: FakeClock) -> None:
        async def standing(project: str = "default") -> tuple[int, int | None]:
            found = await store.projects.backlog(project, GENERATION)
            return found.pending, found.oldest_time

        assert await standing() == (0, None)
        first = await write(store.ledger, added("m"))
        clock.time += SECOND
        await write(store.ledger, added("n"), added("o"))
        assert await standing() == (3, START)
        assert await standing("other") == (0, None)
        assert (await store.projects.backlog("default", NEXT)).pending == 0
        await store.ledger.settle("default", GENERATION, {"m": 1}, first.seq)
        pending, oldest = await standing()
        assert (pending, oldest is not None and oldest >= START + SECOND) == (2, True)

    async def test_each_answer_is_kept_with_its_change(self, store: Store, clock: FakeClock) -> None:
        owner = Access("default", principal="key")
        made = await create(store, "kitchen", asked())
        await store.projects.update(OPERATOR, "kitchen", {"name": "new"}, asked("UpdateProject"))
        await change(store, "default", asked("UpdateProjectSettings"), custom_instructions="Be brief.")
        for access, rpc, expected in (
            (OPERATOR, "CreateProject", dict(made)),
            (OPERATOR, "UpdateProject", dict(made) | {"name": "new"}),
            (owner, "UpdateProjectSettings", {"custom_instructions": "Be brief."}),
        ):
            kept = await store.projects.outcome(access, rpc, "r")
            assert kept is not None
            assert (kept.fingerprint, dict(kept.answer)) == ("f", expected)
            assert await store.projects.outcome(replace(access, principal="another"), rpc, "r") is None
        for again in (
            create(store, "cellar", asked()),
            create(store, "kitchen", asked()),  # the same once more is no ProjectExists
            store.projects.update(OPERATOR, "kitchen", {"name": "newer"}, asked("UpdateProject")),
            change(store, "default", asked("UpdateProjectSettings"), custom_instructions="Be long."),
        ):
            with pytest.raises(OutcomeTaken):
                await again
        with pytest.raises(ProjectNotFound):
            await store.projects.get("cellar")
        assert (await store.projects.get("kitchen")).name == "new"
        assert (await store.projects.settings("default"))[0].custom_instructions == "Be brief."
        clock.time += DAY + SECOND
        assert await store.projects.outcome(OPERATOR, "CreateProject", "r") is None
