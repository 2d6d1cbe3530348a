"""`recalld serve --check`: the problems that it finds, that it changes nothing, and that it reveals no secret."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock
from tests.weaviate_node import Node

from recalld import testing
from recalld_server.adapters.ledger.store import HEAD
from recalld_server.admin import preflight
from recalld_server.wiring.settings import Settings

SUBJECTS = ["data folder", "ledger", "index", "embedder", "tls", "address", "ports", "telemetry"]
SECRET = "hunter2"
SAN = "subjectAltName=IP:127.0.0.1"
FREE = ("--grpc-port=0", "--http-port=0")


def recalld(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RECALLD_", "OTEL_"))}
    command = [sys.executable, "-m", "recalld_server", *map(str, arguments)]
    return subprocess.run(command, env={**inherited, **env}, capture_output=True, text=True, timeout=60, check=False)


def printed(*arguments: object, **env: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The status of the command, and what it says of each subject: ok or WRONG, and the words."""
    done = recalld("serve", "--check", *FREE, *arguments, **env)
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    return done.returncode, {line[7:20].strip(): (line[:7].strip(), line[20:]) for line in lines}


def checked(env: dict[str, str] | None = None, **given: object) -> dict[str, tuple[str, str]]:
    """What the command would print, without a process for it."""
    environ = env or {}
    settings = Settings.read({"grpc_port": 0, "http_port": 0, **given}, environ)

    async def look() -> list[preflight.Finding]:
        return [finding async for finding in preflight.Inspection(settings, environ).findings()]

    found = asyncio.run(look())
    assert SECRET not in repr(found)
    return {each.subject: ("ok" if each.good else "WRONG", each.words) for each in found}


def wrong(found: dict[str, tuple[str, str]]) -> set[str]:
    return {subject for subject, (verdict, _) in found.items() if verdict != "ok"}


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two certificates, each with its key."""
    folder = tmp_path_factory.mktemp("pems")
    for name in ("one", "two"):
        files = ("-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
        new = (
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test",
            "-addext",
            SAN,
        )
        command = [str(part) for part in ("openssl", "req", "-x509", *new, *files)]
        subprocess.run(command, check=True, capture_output=True, timeout=30)
    return folder


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose ledger has a key."""
    folder = tmp_path_factory.mktemp("keyed")
    assert recalld("keys", "create", "--new", "--data-dir", folder).returncode == 0
    return folder


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a server has run on."""
    folder = tmp_path_factory.mktemp("used")
    with testing.start_local(folder):
        pass
    return folder


def edit(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "ledger.db")) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_new_folder_is_fine_and_is_not_made(tmp_path: Path) -> None:
    status, found = printed("--data-dir", tmp_path / "data")
    assert (status, wrong(found), list(found)) == (0, set(), SUBJECTS)
    assert found["ledger"][1] == f"{tmp_path / 'data' / 'ledger.db'}, created at the first start"
    assert found["embedder"][1] == "minilm, model minilm-l6-v2-int8, 384 dimensions"
    assert list(tmp_path.iterdir()) == []


def test_what_it_finds_fine_starts(keyed: Path, pems: Path) -> None:
    tls = (f"--tls-cert={pems / 'one.pem'}", f"--tls-key={pems / 'one.key'}")
    status, found = printed("--data-dir", keyed, "--host=0.0.0.0", *tls)
    assert (status, wrong(found)) == (0, set())
    assert found["ledger"][1] == f"{keyed / 'ledger.db'}, version {HEAD}"
    assert found["address"][1] == "0.0.0.0, with keys"
    with testing.start_local(keyed, arguments=tls, tls=pems / "one.pem", timeout=30) as server:
        assert server.pid


def test_a_running_server_is_in_the_way() -> None:
    with testing.start_local() as server:
        status, found = printed("--data-dir", server.data_dir, f"--grpc-port={server.target.rpartition(':')[2]}")
        assert (status, wrong(found)) == (1, {"data folder", "ledger", "ports"})
        assert found["data folder"][1] == f"{server.data_dir} is in use by another recalld"
        assert server.client().get_all(user_id="alex") == []  # and it took no harm


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RECALLD_LOG_LEVEL", "LOUD", "LOUD"),
        ("RECALLD_RATE_LIMIT", "much", "RECALLD_RATE_LIMIT must be a whole number"),
    ],
)
def test_a_setting_that_can_not_be_read(name: str, value: str, words: str) -> None:
    status, found = printed(**{name: value})
    assert (status, list(found), wrong(found)) == (1, ["settings"], {"settings"})
    assert words in found["settings"][1]


@pytest.mark.parametrize(
    ("given", "env", "subject", "words"),
    [
        ({"ledger": f"oracle://me:{SECRET}@host"}, {}, "ledger", "--ledger must be embedded, the path"),
        ({"ledger": f"postgresql://me:{SECRET}@host:port/db"}, {}, "ledger", "not of the form"),
        ({"index": "elsewhere"}, {}, "index", "--index must be embedded or"),
        ({"embedder": "magic"}, {}, "embedder", "allowed: minilm, openai"),
        ({"embedder": "openai"}, {}, "embedder", "RECALLD_EMBEDDER_URL"),
        ({"tls_cert": "none.pem"}, {}, "tls", "both --tls-cert and --tls-key"),
        ({"host": "0.0.0.0", "insecure_no_tls": True}, {}, "address", "there is no API key yet"),  # noqa: S104
        ({"host": "no.such.host.invalid"}, {}, "ports", "is not a valid address"),
        ({"grpc_port": 70_000}, {}, "ports", "allowed: 0 to 65535"),
        ({}, {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "x"}, "telemetry", "allowed: grpc"),
    ],
)
def test_a_wrong_setting_is_named(
    given: dict[str, object], env: dict[str, str], subject: str, words: str, tmp_path: Path
) -> None:
    found = checked(env, data_dir=tmp_path / "data", **given)
    assert subject in wrong(found)
    assert words in found[subject][1]
    assert not (tmp_path / "data").exists()


def test_tls_files_must_fit(keyed: Path, pems: Path) -> None:
    mixed = {"tls_cert": str(pems / "one.pem"), "tls_key": str(pems / "two.key")}
    assert wrong(checked(data_dir=keyed, **mixed)) == {"tls"}
    found = checked(data_dir=keyed, host="0.0.0.0")  # noqa: S104 - not listened at
    assert wrong(found) == {"address"}
    assert "--insecure-no-tls" in found["address"][1]


def test_one_port_for_both(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
    assert wrong(checked(data_dir=tmp_path, grpc_port=port, http_port=port)) == {"ports"}


def test_a_folder_that_can_not_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    found = checked(data_dir=file / "data")
    assert found["data folder"] == ("WRONG", f"{file / 'data'}: {file} is not a folder")


def newer(folder: Path) -> None:
    edit(folder, "UPDATE alembic_version SET version_num = '9999'")


def unfinished(folder: Path) -> None:
    edit(folder, "UPDATE ledger SET unfinished = 1")


def another_programs(folder: Path) -> None:
    edit(folder, "DROP TABLE alembic_version")


def of_another_model(folder: Path) -> None:
    edit(folder, "UPDATE projects SET generation = '1/other/8/1/english'")


def garbage(folder: Path) -> None:
    (folder / "ledger.db").write_bytes(b"nonsense" * 1000)


@pytest.mark.parametrize(
    ("change", "subject", "words"),
    [
        (newer, "ledger", "its version 9999 is newer than this program's"),
        (unfinished, "ledger", "a copy that is not finished"),
        (another_programs, "ledger", "its tables belong to another program"),
        (garbage, "ledger", "not a database"),
        (of_another_model, "embedder", "the ledger uses the model other; configured: minilm-l6-v2-int8"),
    ],
)
def test_a_ledger_that_does_not_fit(
    change: Callable[[Path], None], subject: str, words: str, used: Path, tmp_path: Path
) -> None:
    shutil.copytree(used, tmp_path, dirs_exist_ok=True)
    change(tmp_path)
    before = (tmp_path / "ledger.db").read_bytes()
    found = checked(data_dir=tmp_path)
    assert wrong(found) == {subject}
    assert words in found[subject][1]
    assert (tmp_path / "ledger.db").read_bytes() == before


def test_an_older_ledger_is_left_to_the_next_start(keyed: Path, tmp_path: Path) -> None:
    shutil.copytree(keyed, tmp_path, dirs_exist_ok=True)
    edit(tmp_path, "UPDATE alembic_version SET version_num = '0001'")
    found = checked(data_dir=tmp_path)
    ledger = f"{tmp_path / 'ledger.db'}, version 0001, migrated at the next start"
    assert (wrong(found), found["ledger"][1]) == (set(), ledger)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]


def test_an_endpoint_that_does_not_answer(tmp_path: Path) -> None:
    endpoint = {"embedder": "openai", "embedder_url": "http://127.0.0.1:1/v1", "embedder_model": "m"}
    found = checked(data_dir=tmp_path, embedder_key=SECRET, **endpoint)
    assert wrong(found) == {"embedder"}
    assert "can't be reached" in found["embedder"][1]


def test_a_remote_index_that_does_not_answer(tmp_path: Path) -> None:
    url = "weaviate://127.0.0.1:1?grpc_port=2"
    found = checked(data_dir=tmp_path, index=url, index_key=SECRET)
    assert wrong(found) == {"index"}
    assert found["index"][1].startswith(f"{url}: Nothing answers at http://127.0.0.1:1 ")


@pytest.mark.parametrize("query", ["", f"?password={SECRET}"])
def test_a_remote_ledger_that_does_not_answer(query: str, tmp_path: Path) -> None:
    found = checked(data_dir=tmp_path, ledger=f"postgresql://u:{SECRET}@127.0.0.1:1/db{query}")
    assert wrong(found) == {"ledger"}
    assert found["ledger"][1].startswith("postgresql://127.0.0.1:1/db: connection failed")


def test_a_ledger_in_a_file_elsewhere(used: Path, tmp_path: Path) -> None:
    shutil.copy(used / "ledger.db", tmp_path / "other.db")
    settings = {"data_dir": tmp_path / "data", "ledger": str(tmp_path / "other.db")}
    assert checked(**settings)["ledger"] == ("ok", f"{tmp_path / 'other.db'}, version {HEAD}")
    with FileLock(tmp_path / "other.db.lock"):
        found = checked(**settings)
    assert found["ledger"] == ("WRONG", f"{tmp_path / 'other.db'} is in use by another recalld")


@pytest.mark.needs_postgres
@pytest.mark.needs_weaviate
def test_a_fleet_that_is_there(postgres_url: str, weaviate: Node, tmp_path: Path) -> None:
    index = f"weaviate://127.0.0.1:{weaviate.ports.http}?grpc_port={weaviate.ports.grpc}"
    found = checked(data_dir=tmp_path, ledger=postgres_url, index=index)
    assert wrong(found) == set()
    assert found["ledger"][1].endswith(f", version {HEAD}")
    assert found["index"][1] == f"{index}, reachable"
    found = checked(data_dir=tmp_path, ledger=f"{postgres_url.partition('?')[0]}_none", index=index)
    assert wrong(found) == {"ledger"}
    assert "does not exist" in found["ledger"][1]
