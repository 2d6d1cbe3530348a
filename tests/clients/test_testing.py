"""start_local: a real server process starts, survives a kill and a restart, and stops."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import recalld
from recalld import testing


def test_start_kill_restart_and_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALLD_EMBEDDER", "nonsense")  # the caller's settings must not reach it
    with testing.start_local() as server:
        client, target, pid, folder = server.client(), server.target, server.pid, server.data_dir
        client.add("My locker is 12.", user_id="alex", infer=False)
        server.kill()
        with pytest.raises(testing.ServerError, match="not running"):
            _ = server.pid
        with pytest.raises(recalld.Unavailable):
            client.get_all(user_id="alex", timeout=10)
        server.restart()
        assert server.target == target
        assert server.pid != pid
        assert [each["memory"] for each in client.get_all(user_id="alex")] == ["My locker is 12."]
        running = server.pid
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(running, signal.SIGTERM)


async def test_async_variant_keeps_a_given_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with testing.start_local(folder) as server, server.async_client() as client:
        assert await client.users() == {"results": []}
    assert folder.exists()


def test_a_server_that_does_not_start_says_why() -> None:
    with (
        pytest.raises(testing.ServerError, match="nonsense"),
        testing.start_local(env={"RECALLD_EMBEDDER": "nonsense"}),
    ):
        pass
