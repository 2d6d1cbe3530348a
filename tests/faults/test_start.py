"""What `recalld serve` refuses to start on, and that it harms nothing by trying."""

from __future__ import annotations

import random
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from recalld import testing

SERVE = ("serve", "--grpc-port", "0")


def test_a_folder_in_use(server: testing.LocalServer, call: Callable[[str], Any], recalld: Callable[..., Any]) -> None:
    for command in (SERVE, ("doctor", "--rebuild-index")):
        done = recalld(*command, "--data-dir", server.data_dir)
        assert done.returncode == 2
        assert done.stderr.strip().splitlines()[-1] == (
            f"recalld: Another recalld uses {server.data_dir}. Stop it, or choose another folder with --data-dir."
        )
    with call(server.target) as caller:
        assert caller.fill("ann", 1) == caller.found("ann")
    server.kill()
    server.start()  # what a dead server held is free


def test_a_port_in_use(server: testing.LocalServer, tmp_path: Path, recalld: Callable[..., Any]) -> None:
    port = server.target.rpartition(":")[2]
    done = recalld("serve", "--grpc-port", port, "--data-dir", tmp_path / "other")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        f"recalld: Port {port} on 127.0.0.1 can't be had; another program may listen there."
    )
    assert "recalld ready" not in done.stdout
    assert recalld("doctor", "--data-dir", tmp_path / "other").returncode == 0


def garbage(file: Path) -> None:
    file.write_bytes(random.Random(7).randbytes(64 * 1024))


def another_programs_database(file: Path) -> None:
    with closing(sqlite3.connect(str(file))) as connection:
        connection.execute("CREATE TABLE revisions (name TEXT)")
        connection.execute("INSERT INTO revisions VALUES ('theirs')")
        connection.commit()


def a_newer_ledger(file: Path) -> None:
    with closing(sqlite3.connect(str(file))) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('9999')")
        connection.commit()


@pytest.mark.parametrize("make", [garbage, another_programs_database, a_newer_ledger])
def test_a_file_that_is_no_ledger(make: Callable[[Path], None], tmp_path: Path, recalld: Callable[..., Any]) -> None:
    file = tmp_path / "ledger.db"
    make(file)
    content = file.read_bytes()
    done = recalld(*SERVE, "--data-dir", tmp_path)
    assert done.returncode == 2
    assert "recalld ready" not in done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"recalld: {file} can't be used as the ledger and was left as it is")
    assert rows(file) == rows_of(content, tmp_path)


def rows(file: Path) -> object:
    """What a file says: its tables and rows if it is a database, else its bytes."""
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            return list(connection.iterdump())
    except sqlite3.DatabaseError:
        return file.read_bytes()


def rows_of(content: bytes, folder: Path) -> object:
    """What a copy of the file said before."""
    copy = folder / "copy"
    copy.write_bytes(content)
    return rows(copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ledger", "oracle"), "--ledger 'oracle' is not an engine; allowed: embedded"),
        (("--index", "oracle"), "--index must be embedded or weaviate://HOST"),
        (("--index", "weaviate://here?grpc=1"), "--index must be embedded or weaviate://HOST"),
        (("--log-level", "LOUD"), "LOUD"),
    ],
)
def test_settings_that_are_not_possible(
    arguments: tuple[str, str], message: str, tmp_path: Path, recalld: Callable[..., Any]
) -> None:
    done = recalld(*SERVE, "--data-dir", tmp_path / "data", *arguments)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("recalld: ")
    assert message in last
    assert not (tmp_path / "data" / "ledger.db").exists()


def test_other_machines_are_not_answered_without_keys(tmp_path: Path, recalld: Callable[..., Any]) -> None:
    done = recalld(*SERVE, "--data-dir", tmp_path / "data", "--host", "0.0.0.0")  # noqa: S104 - refused
    assert (done.returncode, "there is no API key yet" in done.stderr) == (2, True)
    assert "recalld ready" not in done.stdout


if sys.platform != "win32":

    def test_a_folder_that_cannot_be_made(tmp_path: Path, recalld: Callable[..., Any]) -> None:
        (tmp_path / "file").write_text("in the way")
        done = recalld(*SERVE, "--data-dir", tmp_path / "file" / "data")
        assert done.returncode == 2
        folder = tmp_path / "file" / "data"
        assert done.stderr == f"recalld: The data folder {folder} can't be used: Not a directory.\n"
