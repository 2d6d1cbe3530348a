"""Storage that is taken twice, goes away or is damaged under a running server: noticed, said, and nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recalld import testing

ENV = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}


def recalld(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`recalld …`, run to its end."""
    command = [sys.executable, "-m", "recalld_server", *map(str, arguments)]
    return subprocess.run(command, env=ENV, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def by_its_path(ledger: Path, beside: Path) -> str:
    return str(ledger)


def by_a_symbolic_link(ledger: Path, beside: Path) -> str:
    (beside / "link.db").symlink_to(ledger)
    return str(beside / "link.db")


def by_a_linked_folder(ledger: Path, beside: Path) -> str:
    (beside / "folder").symlink_to(ledger.parent)
    return str(beside / "folder" / ledger.name)


def by_a_hard_link(ledger: Path, beside: Path) -> str:
    os.link(ledger, beside / "hard.db")
    return str(beside / "hard.db")


def by_a_relative_path(ledger: Path, beside: Path) -> str:
    return os.path.relpath(ledger, beside)


WAYS = [by_its_path, by_a_symbolic_link, by_a_linked_folder, by_a_relative_path]
if sys.platform == "linux":
    WAYS.append(by_a_hard_link)


@pytest.mark.parametrize("default", [True, False], ids=["default", "--ledger"])
@pytest.mark.parametrize("way", WAYS)
def test_one_ledger_has_one_server(way: Callable[[Path, Path], str], default: bool, tmp_path: Path) -> None:
    """By whatever path the second one is given the file, and whether the first has it by default or by name."""
    one, beside = tmp_path / "one", tmp_path / "beside"
    beside.mkdir()
    ledger = one / "ledger.db" if default else tmp_path / "truth.db"
    arguments = [] if default else [f"--ledger={ledger}"]
    with testing.start_local(one, arguments=arguments) as server:
        server.client().add("Keeps bees", user_id="ann", infer=False)
        name = way(ledger, beside)
        second = ("--ledger", name, "--data-dir", "two", "--grpc-port=0", "--http-port=0")
        done = recalld("serve", *second, cwd=beside)
        assert (done.returncode, "recalld ready" in done.stdout) == (2, False)
        assert f"recalld: Another recalld uses {name}. Stop it, or choose another with --ledger." in done.stderr
        assert f"{name} is in use by another recalld" in recalld("serve", "--check", *second, cwd=beside).stdout
        doctor = recalld("doctor", *second[:4], cwd=beside)
        assert (doctor.returncode, "Another recalld uses" in doctor.stderr) == (2, True)
        if way is not by_a_hard_link:  # SQLite itself does not see that those are one file
            assert recalld("keys", "list", "--ledger", name, cwd=beside).returncode == 0
        assert [hit["memory"] for hit in server.client().search("bees", user_id="ann")] == ["Keeps bees"]


def test_one_index_file_has_one_server(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    with testing.start_local(tmp_path / "one") as server:
        (tmp_path / "two" / "index.db").symlink_to(server.data_dir / "index.db")
        done = recalld("serve", "--data-dir", tmp_path / "two", "--grpc-port=0", "--http-port=0")
        assert done.returncode == 2
        assert f"Another recalld uses {tmp_path / 'two' / 'index.db'}" in done.stderr
        assert server.client().search("bees", user_id="ann") == []


def test_what_a_dead_server_held_is_free(server: testing.LocalServer) -> None:
    server.client().add("Keeps bees", user_id="ann", infer=False)
    server.kill()
    server.start()
    assert [each["memory"] for each in server.client().get_all(user_id="ann")] == ["Keeps bees"]
