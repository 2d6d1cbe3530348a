"""start_local: a real server process that comes, survives what it is told to survive, and goes."""

from __future__ import annotations

import os
import signal
import threading
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


def test_a_stream_goes_on_after_a_crash() -> None:
    with testing.start_local() as server:
        client = server.client()
        padding = "x" * 3000  # more than the transport holds, so the crash comes before the server has sent all
        items = [
            {"text": f"Locker {number} holds a hat", "user_id": "alex", "metadata": {"padding": padding}}
            for number in range(300)
        ]
        *_, progress = client.import_memories(items)
        assert progress.stored == len(items)
        expected = [each["id"] for each in client.search("locker hat", user_id="alex", limit=len(items))]
        with client.stream_search("locker hat", user_id="alex", limit=len(items)) as stream:
            ids = [next(stream)["id"] for _ in range(5)]
            server.kill()
            restarting = threading.Thread(target=server.restart)
            restarting.start()
            ids += [each["id"] for each in stream]
            restarting.join()
        assert ids == expected
        assert stream.done is not None


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
