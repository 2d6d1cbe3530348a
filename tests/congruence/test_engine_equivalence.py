"""(SQLite, embedded) and (PostgreSQL, Weaviate) give the same answers after the same writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.congruence.small_world import OwnClock, opened
from tests.congruence.test_filters import cases, metadata_values, texts
from tests.postgres import PostgresServer
from tests.weaviate_node import Node

from recalld_server.adapters.index.weaviate import schema
from recalld_server.domain.errors import MemoryNotFound
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Memory
from recalld_server.domain.revision import EventQuery, ListQuery
from recalld_server.usecases.imports import ImportedMemory
from recalld_server.usecases.memories import Deletion, Update
from recalld_server.usecases.search.results import SearchQuery
from recalld_server.wiring.parts import Recalld

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_weaviate]


KINDS = ("text", "metadata", "delete", "clear")
Step = tuple[str, int, str, Any]
steps = st.tuples(st.sampled_from(KINDS), st.integers(0, 7), texts, metadata_values)


@dataclass
class Pairs:
    """Both, each with a clock that stands where the other's does."""

    loop: asyncio.Runner
    pairs: Sequence[Recalld]
    projects: Iterator[int] = field(default_factory=count)

    def told(self, held: Sequence[Memory], changes: Sequence[Step], conditions: Sequence[Filter]) -> list[list[Any]]:
        """What each of them answers to all questions, after the same life in a project of its own."""
        project = f"project{next(self.projects)}"
        return [self.loop.run(lived(recalld, project, held, changes, conditions)) for recalld in self.pairs]


async def lived(
    recalld: Recalld, project: str, held: Sequence[Memory], changes: Sequence[Step], conditions: Sequence[Filter]
) -> list[Any]:
    access = Access(project, principal="key")
    await recalld.ledger.ensure_project(project, await recalld.ledger.generation("default"))
    await recalld.projection.catch_up(project)
    imported = await recalld.imports.batch(access, [ImportedMemory(memory) for memory in held])
    answers: list[Any] = [(imported.stored, [at for at, _ in imported.failed])]
    left = [memory.id for memory in held]
    for kind, number, text, value in changes:
        if kind == "clear":
            wanted = Deletion(filter=conditions[number % len(conditions)])
            answers.append((await recalld.memories.delete_matching(access, wanted)).count)
            left = [memory.id for memory in (await recalld.ledger.page(access, ListQuery(limit=100))).memories]
        elif left:
            at = number % len(left)
            change = {"text": text} if kind == "text" else {"metadata": {"k": value}}
            try:
                if kind == "delete":
                    await recalld.memories.delete(access, [left.pop(at)], None)
                else:
                    await recalld.memories.update(access, [Update(left[at], change)], None)
            except MemoryNotFound as error:  # it has expired: both must say so
                answers.append((kind, error.message))
    for condition in (None, *conditions):
        for order in ("create_time", "update_time"):
            page = await recalld.queries.list(access, ListQuery(filter=condition, order=order, count=True))
            answers.append(([(memory.id, memory.revision) for memory in page.memories], page.total))
        found = await recalld.search.rank(access, SearchQuery("a hat", filter=condition, limit=10_000))
        answers.append({place.id for place in found.hits})
    events = await recalld.ledger.events(access, EventQuery())
    return [*answers, [(event.seq, event.kind, event.memory_id) for event in events]]


@pytest.fixture(scope="module")
def pairs(postgres: PostgresServer, weaviate: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pairs]:
    folder: Path = tmp_path_factory.mktemp("pairs")
    with pytest.MonkeyPatch.context() as patch, postgres.database("ledger") as url, asyncio.Runner() as loop:
        patch.setattr(schema, "PREFIX", "Pairs")
        made = [
            loop.run(opened(folder / "one", OwnClock())),
            loop.run(opened(folder / "fleet", OwnClock(), url, weaviate.url)),
        ]
        yield Pairs(loop, made)
        for recalld in made:
            loop.run(recalld.close())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), changes=st.lists(steps, max_size=5))
def test_both_answer_the_same(pairs: Pairs, case: tuple[list[Memory], list[Filter]], changes: list[Step]) -> None:
    one, fleet = pairs.told(case[0], changes, case[1])
    assert one == fleet
