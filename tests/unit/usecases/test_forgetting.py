"""Receipts of ForgetMemories, and their legs that are cleared in the background."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from recalld_server.domain.commands import AddCommand
from recalld_server.domain.errors import CountMismatch, IndexUnavailable
from recalld_server.domain.forgetting import ErasureState
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.domain.revision import RequestKey
from recalld_server.usecases import erasure, forgetting
from recalld_server.usecases.erasure import PerEngine
from recalld_server.usecases.forgetting import ForgetCommand, Receipt
from recalld_server.wiring.composition import build
from recalld_server.wiring.parts import Recalld
from recalld_server.wiring.settings import Settings

HERE, ANN = Access("default", principal="key"), Scope(user_id="ann")
REQUEST = RequestKey("ForgetMemories", "once", "f")


@pytest.fixture
async def recalld(tmp_path: Path) -> AsyncIterator[Recalld]:
    wired = await build(Settings(data_dir=tmp_path))
    for number in range(5):
        said = [Message("user", f"Box {number} holds hats")]
        await wired.add.add(HERE, AddCommand(ANN, said, infer=False))
    yield wired
    await wired.close()


def leg(receipt: Receipt, name: str) -> ErasureState:
    return next(leg.state for leg in receipt.legs if leg.name == name)


async def test_entries_that_are_left_in_the_index_are_counted(
    recalld: Recalld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "PAGE", 2)
    asked: list[str] = []

    async def remaining(project: str, ids: Sequence[str]) -> int:
        asked.extend(ids)
        return int(len(asked) == 5)  # one of the last page

    monkeypatch.setattr(recalld.forgetting._index, "remaining", remaining)
    receipt = await recalld.forgetting.forget(HERE, ForgetCommand(ANN, request=REQUEST))
    assert (leg(receipt, "index"), len(set(asked))) == (ErasureState.PENDING, 5)
    monkeypatch.undo()
    again = await recalld.forgetting.forget(HERE, ForgetCommand(ANN, request=REQUEST))
    assert (leg(again, "index"), again.memories) == (ErasureState.EMPTY, 5)


async def test_an_index_that_is_away_is_told_later(recalld: Recalld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def remaining(project: str, ids: Sequence[str]) -> int:
        raise IndexUnavailable

    monkeypatch.setattr(recalld.forgetting._index, "remaining", remaining)
    assert leg(await recalld.forgetting.forget(HERE, ForgetCommand(ANN)), "index") is ErasureState.PENDING


async def test_another_count_leaves_no_trace(recalld: Recalld) -> None:
    with pytest.raises(CountMismatch):
        await recalld.forgetting.forget(HERE, ForgetCommand(ANN, expected_count=4, request=REQUEST))
    assert await recalld.ledger.outcome(HERE, REQUEST.rpc, REQUEST.request_id) is None
    assert await recalld.ledger.erasures() == 0


async def test_one_run_clears_for_all_who_wait(recalld: Recalld, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, begun, go_on = 0, asyncio.Event(), asyncio.Event()

    async def compact() -> bool:
        nonlocal runs
        runs += 1
        begun.set()
        await go_on.wait()
        return True

    monkeypatch.setattr(forgetting, "WAIT", 0.0)
    monkeypatch.setattr(recalld.erasure._index, "compact", compact)
    for _ in range(10):
        recalld.erasure.request()
    await begun.wait()
    for _ in range(10):
        recalld.erasure.request()
    assert await recalld.erasure.cleared(0) == PerEngine(ledger=False, index=False)
    receipt = await recalld.forgetting.forget(HERE, ForgetCommand(ANN))
    assert (leg(receipt, "ledger_file"), leg(receipt, "index_file")) == (ErasureState.PENDING, ErasureState.PENDING)
    go_on.set()
    assert await recalld.erasure.cleared(30) == PerEngine(ledger=True, index=True)
    assert runs == 2


@pytest.mark.parametrize("failure", [OSError("disk full"), None])
async def test_what_could_not_be_cleared_is_tried_again_also_after_a_start(
    recalld: Recalld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError | None
) -> None:
    async def compact() -> bool:
        if failure:
            raise failure
        return False

    with monkeypatch.context() as patched:
        patched.setattr(recalld.erasure._ledger, "compact", compact)
        receipt = await recalld.forgetting.forget(HERE, ForgetCommand(ANN))
        assert (leg(receipt, "ledger_file"), leg(receipt, "index_file")) == (ErasureState.PENDING, ErasureState.EMPTY)
        assert await recalld.ledger.erasures() > 0
        await recalld.close()
    again = await build(Settings(data_dir=tmp_path))
    try:
        assert await again.erasure.cleared(30) == PerEngine(ledger=True, index=True)
        assert await again.ledger.erasures() == 0
        assert leg(await again.forgetting.forget(HERE, ForgetCommand(ANN)), "ledger_file") is ErasureState.EMPTY
    finally:
        await again.close()


async def test_a_failure_is_tried_again_by_itself(recalld: Recalld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "AGAIN", 0.01)
    answers = [False, False, True]

    async def compact() -> bool:
        return answers.pop(0)

    monkeypatch.setattr(recalld.erasure._index, "compact", compact)
    recalld.erasure.request()
    assert await recalld.erasure.cleared(30) == PerEngine(ledger=True, index=True)
    assert answers == []
