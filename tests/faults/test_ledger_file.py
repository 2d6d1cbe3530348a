"""A ledger file outside of the data folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recalld import testing


def test_a_file_elsewhere_is_one_servers_alone(tmp_path: Path, recalld: Callable[..., Any]) -> None:
    ledger = f"--ledger={tmp_path / 'truth.db'}"
    with testing.start_local(tmp_path / "one", arguments=[ledger]) as server:
        server.client().add("Keeps bees", user_id="ann", infer=False)
        ports = ("--grpc-port=0", "--http-port=0")
        second = recalld("serve", ledger, "--data-dir", tmp_path / "two", *ports)
        assert second.returncode == 2
        assert f"Another recalld uses {tmp_path / 'truth.db'}" in second.stderr
    assert not (tmp_path / "one" / "ledger.db").exists()
    with testing.start_local(tmp_path / "two", arguments=[ledger]) as server:  # makes an index of its own
        assert [hit["memory"] for hit in server.client().search("bees", user_id="ann")] == ["Keeps bees"]
    done = recalld("doctor", ledger, "--data-dir", tmp_path / "two")
    assert "1 memories, 1 index entries, 0 pending" in done.stdout, done.stderr
    key = recalld("keys", "create", ledger)
    assert key.stdout.startswith("rk_")
    assert key.stdout.split("_")[1] in recalld("keys", "list", ledger).stdout
    assert recalld("doctor", "--ledger", tmp_path / "nowhere.db").returncode == 1
