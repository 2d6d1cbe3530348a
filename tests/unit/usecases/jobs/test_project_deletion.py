"""A deleted project is gone at once and leaves nothing, also if the removal is interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlean import dbapi2 as sqlite

from recalld_server.domain.commands import AddCommand, ExportCommand, Format
from recalld_server.domain.errors import FieldInvalid, ProjectExists, ProjectNotFound, RequestIdReused
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.domain.operations import Operation, OperationKind, OperationState
from recalld_server.domain.projects import Project, ProjectSettings
from recalld_server.domain.revision import RequestKey
from recalld_server.usecases.erasure import PerEngine
from recalld_server.usecases.jobs import project_deletion
from recalld_server.wiring.composition import build
from recalld_server.wiring.parts import Recalld
from recalld_server.wiring.settings import Settings

OPERATOR, USER = Access("", principal="op"), Scope(user_id="u")
SAID = "Zanzibar"  # in every memory of the project that goes


@pytest.fixture
async def recalld(tmp_path: Path) -> AsyncIterator[Recalld]:
    wired = await build(Settings(data_dir=tmp_path))
    yield wired
    await wired.close()


async def filled(recalld: Recalld, project: str, word: str) -> str:
    """A project with memories, a key, an export and work that waits; a key of it."""
    here = Access(project, principal="k")
    request = RequestKey("CreateProject", f"make {project}", "f")
    await recalld.projects.create(OPERATOR, Project(project, word), ProjectSettings(), request)
    _, secret = await recalld.keys.create(OPERATOR, ApiKey("", project, Role.ADMIN))
    for number in range(60):
        texts = [Message("user", f"{word} number {number} of the list")]
        await recalld.add.add(here, AddCommand(USER, texts, infer=False, metadata={"place": word}))
    await recalld.exports.start(here, ExportCommand(USER, None, Format.JSONL), RequestKey("CreateExport", "", "f"))
    await recalld.operations.start(here, OperationKind.REBUILD_INDEX, RequestKey("RebuildIndex", "", ""))
    return secret


def request_of(rpc: str, fingerprint: str = "f") -> RequestKey:
    return RequestKey(rpc, "once", fingerprint)


async def remove(recalld: Recalld, project: str = "gone", request: RequestKey | None = None) -> Operation:
    return await recalld.project_deletion.start(OPERATOR, project, request or RequestKey("DeleteProject", "", project))


async def ended(recalld: Recalld, operation: Operation) -> Operation:
    working = asyncio.create_task(recalld.worker.run())
    try:
        return await recalld.operations.wait(OPERATOR, operation.id, 30)
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


def rows(folder: Path, project: str) -> dict[str, int]:
    """How many rows of each table of both files name the project; text columns that hold it count too."""
    found = {}
    for file in ("ledger.db", "index.db"):
        connection = sqlite.connect(f"file:{folder / file}?mode=ro", uri=True)
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            if "project" in [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]:
                sql = f"SELECT count(*) FROM {name} WHERE project = ?"  # noqa: S608 - names from the file itself
                found[name] = connection.execute(sql, (project,)).fetchone()[0]
        connection.close()
    return {name: count for name, count in found.items() if count}


def holding(folder: Path, word: str) -> list[str]:
    return [file.name for file in folder.glob("*.db*") if word.encode() in file.read_bytes()]


async def test_nothing_is_left_of_it_and_all_of_the_others(recalld: Recalld, tmp_path: Path) -> None:
    await filled(recalld, "stays", "Lisbon")
    key = await filled(recalld, "gone", SAID)
    before = rows(tmp_path, "stays")
    held = {"projects", "revisions", "facets", "features", "messages", "speakers", "operations", "exports", "keys"}
    assert held <= rows(tmp_path, "gone").keys()
    assert holding(tmp_path, SAID) != []
    operation = await remove(recalld)
    assert operation.state is OperationState.PENDING
    with pytest.raises(ProjectNotFound):
        await recalld.projects.get("gone")
    with pytest.raises(ProjectNotFound):
        await recalld.add.add(Access("gone"), AddCommand(USER, [Message("user", "Late")], infer=False))
    assert await recalld.keys._ring.find(key.split("_")[1]) is None
    assert (await remove(recalld)).id == operation.id
    assert (await recalld.operations._operations.cancel(OPERATOR, operation.id)).cancel_requested is False
    assert (await ended(recalld, operation)).state is OperationState.SUCCEEDED
    assert rows(tmp_path, "gone").keys() <= {"deleted_projects", "spaces"}  # its id alone
    after = rows(tmp_path, "stays")
    kept = ("revisions", "facets", "messages", "speakers", "operations", "exports", "keys", "projects")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert await recalld.erasure.cleared(30) == PerEngine(ledger=True, index=True)
    assert holding(tmp_path, SAID) == []
    with pytest.raises(ProjectNotFound):
        await remove(recalld)
    with pytest.raises(ProjectExists):
        await recalld.projects.create(OPERATOR, Project("gone"), ProjectSettings(), None)


async def test_clearing_goes_on_where_it_broke_off(
    recalld: Recalld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_deletion, "ROWS", 25)
    await filled(recalld, "gone", SAID)
    operation = await remove(recalld, request=request_of("DeleteProject"))
    job: Any = recalld.worker._jobs[OperationKind.DELETE_PROJECT]
    left = sum(rows(tmp_path, "gone").values())
    for steps in (1, 4, 8):
        held = await recalld.operations._operations.claim(0)
        assert held is not None
        with pytest.raises(asyncio.CancelledError):
            await job(Interrupted(held, steps, recalld.operations._operations, monkeypatch).held)
        monkeypatch.undo()
        monkeypatch.setattr(project_deletion, "ROWS", 25)
        fewer = sum(rows(tmp_path, "gone").values())
        assert fewer < left
        left = fewer
    assert (await remove(recalld, request=request_of("DeleteProject"))).id == operation.id
    with pytest.raises(RequestIdReused):
        await remove(recalld, request=request_of("DeleteProject", "other"))
    done = await ended(recalld, operation)
    assert (done.state, done.attempt) == (OperationState.SUCCEEDED, 4)
    assert rows(tmp_path, "gone").keys() <= {"deleted_projects", "spaces"}


class Interrupted:
    """Work that is broken off after so many steps were kept."""

    def __init__(self, held: Operation, steps: int, operations: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held = replace(held)
        kept = operations.advance

        async def advance(*arguments: Any) -> None:
            nonlocal steps
            await kept(*arguments)
            steps -= 1
            if not steps:
                raise asyncio.CancelledError

        monkeypatch.setattr(operations, "advance", advance)


async def test_the_default_project_stays(recalld: Recalld) -> None:
    with pytest.raises(FieldInvalid):
        await remove(recalld, "default")
    with pytest.raises(ProjectNotFound):
        await remove(recalld, "unknown")
    assert await recalld.operations.page(OPERATOR, None, 10) == ([], False)
