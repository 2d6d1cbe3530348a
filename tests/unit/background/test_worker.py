"""Operations end in a terminal state whatever their job does, and one worker at a time has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.adapters.system import SystemClock
from recalld_server.background import worker as module
from recalld_server.background.worker import Worker
from recalld_server.domain.errors import EmbedderUnavailable, FieldInvalid, LeaseLost, Overloaded
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import NewOperation, Operation, OperationKind, OperationState
from recalld_server.domain.revision import Generation
from recalld_server.usecases.work_signal import WorkSignal

HERE = Access("default", principal="key")
Job = Callable[[Operation], Awaitable[Mapping[str, Any] | None]]


@pytest.fixture
async def operations(tmp_path: Path) -> AsyncIterator[SqlOperations]:
    engine = await open_sqlite(tmp_path / "ledger.db")
    ledger = SqlLedger(engine, SystemClock())
    await ledger.ensure_project("default", Generation(1, "m", 4, 1))
    yield SqlOperations(engine, SystemClock())
    await ledger.close()


@asynccontextmanager
async def working(operations: SqlOperations, job: Job) -> AsyncIterator[WorkSignal]:
    signal = WorkSignal()
    worker = Worker(operations, dict.fromkeys(OperationKind, job), SystemClock(), signal)
    running = asyncio.create_task(worker.run())
    try:
        yield signal
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def begun(operations: SqlOperations, kind: OperationKind = OperationKind.EXPORT, id: str = "1") -> None:
    await operations.create(HERE, NewOperation(id, kind, "subject"))


async def reached(
    operations: SqlOperations, *states: OperationState, id: str = "1", access: Access = HERE
) -> Operation:
    async with asyncio.timeout(10):
        while (found := await operations.get(access, id)).state not in states:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)
        return found


async def test_a_job_that_returns_has_succeeded(operations: SqlOperations) -> None:
    async def job(held: Operation) -> Mapping[str, Any]:
        return {"id": held.id}

    async with working(operations, job) as signal:
        await begun(operations)
        signal.add()
        assert (await reached(operations, OperationState.SUCCEEDED)).result == {"id": "1"}


@pytest.mark.parametrize(
    ("error", "kept"),
    [(FieldInvalid("no", field="f"), ("FieldInvalid", "no")), (ZeroDivisionError("text"), ("", None))],
)
async def test_a_job_that_raises_has_failed(
    operations: SqlOperations, error: Exception, kept: tuple[str, str | None]
) -> None:
    async def job(held: Operation) -> None:
        raise error

    async with working(operations, job):
        await begun(operations)
        failed = await reached(operations, OperationState.FAILED)
    assert (failed.error["type"], failed.error.get("message")) == kept


async def test_what_cannot_be_reached_is_tried_again(
    operations: SqlOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRIES", 2)

    async def job(held: Operation) -> None:
        raise EmbedderUnavailable

    async with working(operations, job):
        await begun(operations)
        await begun(operations, OperationKind.ADD, "add")
        assert (await reached(operations, OperationState.FAILED, id="add")).attempt == 1
        assert (await reached(operations, OperationState.FAILED)).attempt == 2


async def test_running_work_is_cancelled_and_an_add_is_not(operations: SqlOperations) -> None:
    started, go = asyncio.Event(), asyncio.Event()
    stopped: list[str] = []

    async def job(held: Operation) -> Mapping[str, Any]:
        started.set()
        try:
            await go.wait()
        except asyncio.CancelledError:
            stopped.append(held.id)
            raise
        return {}

    async with working(operations, job) as signal:
        await begun(operations)
        await started.wait()
        await operations.cancel(HERE, "1")
        signal.add()
        await reached(operations, OperationState.CANCELLED)
        started.clear()
        await begun(operations, OperationKind.ADD, "add")
        signal.add()
        await started.wait()
        await operations.cancel(HERE, "add")
        signal.add()
        go.set()
        assert (await reached(operations, OperationState.SUCCEEDED, id="add")).cancel_requested
    assert stopped == ["1"]


async def test_a_worker_that_stops_gives_its_work_back(operations: SqlOperations) -> None:
    started = asyncio.Event()

    async def forever(held: Operation) -> None:
        started.set()
        await asyncio.sleep(60)

    async def job(held: Operation) -> Mapping[str, Any]:
        return {"attempt": held.attempt}

    async with working(operations, forever):
        await begun(operations)
        await started.wait()
    assert (await operations.get(HERE, "1")).state is OperationState.PENDING
    async with working(operations, job):
        assert (await reached(operations, OperationState.SUCCEEDED)).result == {"attempt": 2}


async def test_a_worker_stopped_while_it_claims_gives_back_what_it_claimed(
    operations: SqlOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed, claim = asyncio.Event(), operations.claim

    async def slowly(*asked: Any) -> Operation | None:
        held = await claim(*asked)
        claimed.set()
        await asyncio.sleep(0.05)  # the answer is on its way when the worker stops
        return held

    async def job(held: Operation) -> Mapping[str, Any]:
        raise AssertionError("nobody is left to do it")

    monkeypatch.setattr(operations, "claim", slowly)
    await begun(operations)
    async with working(operations, job):
        await claimed.wait()
    assert await claim(10) is not None


async def test_slow_work_of_one_project_leaves_others_a_place(operations: SqlOperations) -> None:
    go = asyncio.Event()
    running: list[str] = []

    async def job(held: Operation) -> Mapping[str, Any]:
        if held.access.project == "default":
            running.append(held.id)
            await go.wait()
        return {}

    for kind in (OperationKind.ADD, OperationKind.EXPORT):
        for number in range(10):
            await begun(operations, kind, f"{kind.value}{number}")
    async with working(operations, job) as signal:
        for kind, most in ((OperationKind.ADD, module.ADDS), (OperationKind.EXPORT, module.EXPORTS)):
            await reached(operations, OperationState.RUNNING, id=f"{kind.value}{most - 2}")
            await operations.create(Access("late"), NewOperation(f"late {kind.value}", kind, "subject"))
            signal.add()
            await reached(operations, OperationState.SUCCEEDED, id=f"late {kind.value}", access=Access("late"))
        assert len(running) == module.ADDS - 1 + module.EXPORTS - 1
        go.set()


async def test_new_work_disturbs_nobody_and_a_cancellation_only_its_own(
    operations: SqlOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewal is a write: it comes every RENEWAL seconds, and at once for who may have to stop."""
    renewals: list[str] = []
    renew = operations.renew
    go = asyncio.Event()

    async def counted(held: Operation, seconds: float) -> bool:
        renewals.append(held.id)
        return await renew(held, seconds)

    async def job(held: Operation) -> Mapping[str, Any]:
        if held.kind is OperationKind.EXPORT:
            await go.wait()
        return {}

    monkeypatch.setattr(operations, "renew", counted)
    monkeypatch.setattr(module, "RENEWAL", 60.0)
    async with working(operations, job) as signal:
        for id in "12":
            await operations.create(HERE, NewOperation(id, OperationKind.EXPORT, f"subject {id}"))
        signal.add()
        for id in "12":
            await reached(operations, OperationState.RUNNING, id=id)
        for number in range(20):
            await begun(operations, OperationKind.ADD, f"add {number}")
            signal.add()
        await reached(operations, OperationState.SUCCEEDED, id="add 19")
        assert renewals == []
        await operations.cancel(HERE, "2")
        signal.recheck("default", "subject 2")
        await reached(operations, OperationState.CANCELLED, id="2")
        assert renewals == ["2"]
        go.set()


async def test_work_that_finds_the_model_overloaded_waits_for_its_turn(operations: SqlOperations) -> None:
    async def job(held: Operation) -> Mapping[str, Any]:
        if held.attempt == 1:
            raise Overloaded(subject="project")
        return {}

    async with working(operations, job):
        await begun(operations, OperationKind.ADD)
        assert (await reached(operations, OperationState.SUCCEEDED)).attempt == 2


async def test_builds_go_one_at_a_time_and_nothing_else_waits_for_them(operations: SqlOperations) -> None:
    building: list[str] = []
    begun_one, go = asyncio.Event(), asyncio.Event()

    async def job(held: Operation) -> Mapping[str, Any]:
        if held.kind is OperationKind.REBUILD_INDEX:
            building.append(held.access.project)
            begun_one.set()
            await go.wait()
        return {}

    projects = ("default", "second", "third")
    for project in projects:
        await operations.create(Access(project), NewOperation(project, OperationKind.REBUILD_INDEX, "subject"))
    await begun(operations, OperationKind.ADD, id="add")
    async with working(operations, job):
        await reached(operations, OperationState.SUCCEEDED, id="add")
        await reached(operations, OperationState.RUNNING, id="default")
        await begun_one.wait()
        assert building == ["default"]
        go.set()
        async with asyncio.timeout(10):
            while not (await operations.get(Access("third"), "third")).state.ended:  # noqa: ASYNC110 - as in `reached`
                await asyncio.sleep(0.01)
    assert building == [*projects]


async def test_a_stale_worker_is_stopped_and_its_end_refused(
    operations: SqlOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEWAL", 0.05)
    started, stopped = asyncio.Event(), asyncio.Event()
    held_by_stale: list[Operation] = []

    async def forever(held: Operation) -> None:
        held_by_stale.append(held)
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    async with working(operations, forever):
        await begun(operations)
        await started.wait()
        fresh = None
        async with asyncio.timeout(5):
            while fresh is None:  # its heartbeat may come between the two
                await operations.free()  # as if the lease had ended: another worker takes over
                fresh = await operations.claim(60)
        async with asyncio.timeout(5):
            await stopped.wait()
        with pytest.raises(LeaseLost):
            await operations.finish(held_by_stale[0], OperationState.FAILED, result={}, error={})
        await operations.finish(fresh, OperationState.SUCCEEDED, result={"by": "fresh"}, error={})
    assert (await operations.get(HERE, "1")).result == {"by": "fresh"}


async def test_work_that_kills_the_server_again_and_again_fails(
    operations: SqlOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 3)
    ran: list[int] = []

    async def job(held: Operation) -> Mapping[str, Any]:
        ran.append(held.attempt)
        return {}

    await begun(operations)
    for _ in range(3):
        assert await operations.claim(60)
        await operations.free()
    async with working(operations, job):
        assert (await reached(operations, OperationState.FAILED)).attempt == 4
    assert ran == []


async def test_projects_that_come_later_do_not_go_first_for_ever(operations: SqlOperations) -> None:
    began: list[str] = []

    async def create(project: str) -> None:
        await operations.create(Access(project), NewOperation(project, OperationKind.EXPORT, "subject"))

    async def job(held: Operation) -> Mapping[str, Any]:
        began.append(held.access.project)
        if len(began) < 40:  # by name it is always the next one's turn
            await create(f"late-{len(began):03}")
        return {}

    for project in ("late-000", "early"):
        await create(project)
    async with working(operations, job):
        await reached(operations, OperationState.SUCCEEDED, id="early", access=Access("early"))
    assert began.index("early") < 6
