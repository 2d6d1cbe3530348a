"""The contract of reads of SQL engines: they do not block each other, and stop when the caller is gone.

The test of an engine provides `SLOW`, a statement that would take a minute, and `PARAMETER`, the driver's placeholder.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection

from recalld_server.adapters.sql import readers
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.adapters.sql.faults import StatementRefused
from recalld_server.domain.errors import ReadTooCostly

SOON = 5.0  # seconds, on a busy machine; the slow statement takes far longer


class ReadsSuite:
    SLOW: str
    PARAMETER: str

    def slow(self, begun: threading.Event | None = None) -> Callable[[Connection], Any]:
        def work(connection: Connection) -> Any:
            if begun:
                begun.set()
            return connection.exec_driver_sql(self.SLOW).all()

        return work

    async def test_a_read_ends_when_its_caller_has_gone(self, engine: SqlEngine) -> None:
        begun, ended = threading.Event(), threading.Event()

        def work(connection: Connection) -> None:
            try:
                self.slow(begun)(connection)
            finally:
                ended.set()

        reading = asyncio.create_task(engine.read(work, "p"))
        assert await asyncio.to_thread(begun.wait, SOON)
        await asyncio.sleep(0.1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await asyncio.to_thread(ended.wait, SOON)

    async def test_the_next_reads_are_not_interrupted(self, engine: SqlEngine) -> None:
        """Those that get the connection of one that was."""
        for pause in (0, 0.001, 0.01, 0.05) * 3:
            leaving = [asyncio.create_task(engine.read(self.slow(), "p")) for _ in range(4)]
            await asyncio.sleep(pause)
            for task in leaving:
                task.cancel()
            found = [engine.read(lambda c: c.exec_driver_sql("SELECT 1").scalar_one(), f"p{n % 5}") for n in range(40)]
            assert await asyncio.wait_for(asyncio.gather(*found), SOON) == [1] * 40

    async def test_who_left_before_their_turn_are_never_served(self, engine: SqlEngine) -> None:
        go, made = threading.Event(), []
        busy = [asyncio.create_task(engine.read(lambda _: go.wait(SOON), "p")) for _ in range(20)]
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(engine.read(lambda _: made.append("read"), "p"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0.05)
        go.set()
        await asyncio.gather(*busy)
        await engine.read(lambda _: None, "p")
        assert not made

    async def test_slow_reads_of_one_project_hold_up_no_other(self, engine: SqlEngine) -> None:
        slow = [asyncio.create_task(engine.read(self.slow(), f"slow{n % 2}")) for n in range(64)]
        await asyncio.sleep(0.2)
        begun = time.monotonic()
        for line in ("quick", "other", ""):
            assert await engine.read(lambda c: c.exec_driver_sql("SELECT 1").scalar_one(), line) == 1
        assert time.monotonic() - begun < SOON
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    async def test_a_read_ends_when_it_takes_too_long(self, engine: SqlEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(readers, "SECONDS", 0.5)
        begun = time.monotonic()
        with pytest.raises(ReadTooCostly) as caught:
            await engine.read(self.slow(), "p")
        assert 0.4 < time.monotonic() - begun < SOON
        assert caught.value.metadata["limit_seconds"]

    async def test_work_between_statements_ends_as_well(self, engine: SqlEngine) -> None:
        begun, ended = threading.Event(), threading.Event()

        def work(_: Connection) -> None:
            begun.set()
            deadline = time.monotonic() + 60
            try:
                while time.monotonic() < deadline:
                    readers.check()
                    time.sleep(0.01)
            finally:
                ended.set()

        reading = asyncio.create_task(engine.read(work, "p"))
        assert await asyncio.to_thread(begun.wait, SOON)
        reading.cancel()
        assert await asyncio.to_thread(ended.wait, SOON)

    async def test_what_can_never_succeed_promises_nothing(
        self, engine: SqlEngine, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A statement that is wrong, and one with more parameters than there may be: a fault of ours, in the log."""
        many = ", ".join([self.PARAMETER] * 300_000)
        wrong = [
            ("SELECT nothing FROM nowhere", ()),
            ("SELECT abs('x', 1, 2)", ()),
            (f"SELECT 1 IN ({many})", (1,) * 300_000),
        ]
        for sql, values in wrong:
            for run in (engine.read, engine.write):
                with pytest.raises(StatementRefused):
                    await run(lambda c, sql=sql, values=values: c.exec_driver_sql(sql, values).all())
        assert "sql failed" in caplog.text
        assert await engine.read(lambda c: c.exec_driver_sql("SELECT 1").scalar_one()) == 1
