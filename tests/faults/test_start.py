"""Conditions under which `recalld serve` refuses to start, without side effects."""

from __future__ import annotations

import random
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from recalld import testing
from recalld_server.cli import cli
from recalld_server.wiring.settings import Settings, refuse_misspelt, unknown

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
        f"recalld: gRPC port {port} on 127.0.0.1 is in use by another program."
    )
    assert len(done.stderr.strip().splitlines()) == 1  # and none of the library's own
    assert "recalld ready" not in done.stdout
    assert not (tmp_path / "other").exists()  # nothing was opened


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
    assert last.startswith(f"recalld: {file} cannot be used as the ledger and was not changed")
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
        (("--index", "qdrant://x"), "--index must be embedded or weaviate://HOST"),
        (("--log-level", "LOUD"), "LOUD"),
        (("--http-port", "99999"), "HTTP port 99999 is not valid; allowed: 0 to 65535"),
        (("--http-port", "-1"), "HTTP port -1 is not valid; allowed: 0 to 65535"),
        (("--grpc-port", "99999"), "gRPC port 99999 is not valid; allowed: 0 to 65535"),
        (("--grpc-port=7555", "--http-port=7555"), "gRPC and HTTP cannot both use port 7555"),
        (("--host", "no.such.host.invalid"), "--host no.such.host.invalid is not a valid address"),
        (("--host", "192.0.2.1"), "--host 192.0.2.1 is not an address of this machine"),
        (("--tls-cert", "none.pem"), "both --tls-cert and --tls-key"),
    ],
)
def test_settings_that_are_not_possible(
    arguments: tuple[str, str], message: str, tmp_path: Path, recalld: Callable[..., Any]
) -> None:
    done = recalld(*SERVE, "--data-dir", tmp_path / "data", *arguments)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()  # one line that says which
    assert line.startswith("recalld: ")
    assert message in line
    assert "recalld ready" not in done.stdout
    assert not (tmp_path / "data" / "ledger.db").exists()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("RECALLD_TLS_CRET", "cert.pem", "RECALLD_TLS_CRET is not a setting. Did you mean RECALLD_TLS_CERT?"),
        ("RECALLD_GRPC_PORT", "abc", "RECALLD_GRPC_PORT must be a whole number, not 'abc'."),
        ("RECALLD_INSECURE_NO_TLS", "maybe", "RECALLD_INSECURE_NO_TLS must be true or false, not 'maybe'."),
        ("RECALLD_HTTP_PORT", "tcp://10.0.0.7:80", "Kubernetes sets it for a service of that name"),
    ],
)
def test_variables_that_are_wrong(
    variable: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    found = CliRunner().invoke(cli, ["serve", f"--data-dir={tmp_path / 'data'}"])
    assert found.exit_code == 2
    assert message in found.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("words", [("yes", True), ("No", False), ("ON", True), ("0", False), ("true", True)])
def test_a_switch_is_said_in_many_words(words: tuple[str, bool]) -> None:
    assert Settings.read(environ={"RECALLD_INDEX_TLS": words[0]}).index_tls is words[1]


def test_variables_of_clients_of_others_and_of_kubernetes_are_let_be() -> None:
    clients = {"RECALLD_API_KEY": "rk_1", "RECALLD_TARGET": "there:7420", "RECALLD_TLS_CA": "ca.pem"}
    kubernetes = {
        "RECALLD_SERVICE_HOST": "10.0.0.7",
        "RECALLD_SERVICE_PORT_GRPC": "7420",
        "RECALLD_PORT": "tcp://10.0.0.7:7420",
        "RECALLD_PORT_7420_TCP_ADDR": "10.0.0.7",
    }
    assert unknown({**clients, **kubernetes, "PATH": "/bin", "RECALLD_DATA_DIR": "x"}) == {}
    assert unknown({"RECALLD_SECRET_OF_MINE": "1"}) == {"RECALLD_SECRET_OF_MINE": ""}  # told, not refused
    refuse_misspelt({"RECALLD_SECRET_OF_MINE": "1"})


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
        assert done.stderr == f"recalld: The data folder {folder} cannot be used: Not a directory.\n"
