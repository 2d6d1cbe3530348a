"""`recalld doctor` on folders that no server uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recalld import testing


def test_a_folder_without_a_ledger(recalld: Callable[..., Any], tmp_path: Path) -> None:
    done = recalld("doctor", "--data-dir", tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, f"there is no ledger in {tmp_path / 'none'}\n")
    assert not (tmp_path / "none").exists()


def test_a_sound_folder(recalld: Callable[..., Any], tmp_path: Path) -> None:
    with testing.start_local(tmp_path) as server:
        client = server.client()
        client.add("Is a vegetarian", user_id="ann", infer=False)
        client.add("Is a swimmer", user_id="ann", infer=False)
        client.delete_all(user_id="ann")
        client.add("Is a runner", user_id="ann", infer=False)
    done = recalld("doctor", RECALLD_DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "ledger file: sound" in done.stdout
    assert "1 memories, 1 index entries, 0 pending, 0 missing, 0 stale, 0 orphaned" in done.stdout


def test_a_damaged_ledger(recalld: Callable[..., Any], tmp_path: Path) -> None:
    with testing.start_local(tmp_path) as server:
        for number in range(3):
            server.client().add(f"Is number {number}", user_id="ann", infer=False)
    file = tmp_path / "ledger.db"
    content = bytearray(file.read_bytes())
    content[-20_000:] = b"\xff" * 20_000
    file.write_bytes(content)
    done = recalld("doctor", "--data-dir", tmp_path)
    assert done.returncode in (1, 2)
    assert "DAMAGED" in done.stdout or "recalld: " in done.stderr
    assert file.read_bytes()[-20_000:] == b"\xff" * 20_000
