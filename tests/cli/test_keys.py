"""`recalld keys` and `recalld projects`: on the data folder, via a server, and while a server runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.postgres import PostgresServer
from typer.testing import CliRunner

import recalld
from recalld import testing
from recalld_server.cli import cli


def run(*arguments: str, key: str = "", code: int = 0) -> str:
    """What a command prints, errors included."""
    done = CliRunner().invoke(cli, arguments, env={"RECALLD_API_KEY": key, "RECALLD_TARGET": None})
    assert done.exit_code == code, done.output
    return done.output


def test_keys_in_a_data_folder_that_has_no_ledger_yet(tmp_path: Path) -> None:
    folder = f"--data-dir={tmp_path}"
    key = run("keys", "create", "--new", folder, "--role=admin", "--name=ops").strip()
    pinned = run("keys", "create", folder, "--user=alice", "--days=30").strip()
    rows = run("keys", "list", folder).splitlines()[1:]
    assert [row.split()[0] for row in rows] == [pinned.split("_")[1], key.split("_")[1]]
    assert rows[0].split()[1:5] == ["writer", "default", "user=alice", "until"]
    assert rows[1].split()[1:] == ["admin", "default", "-", "active", "ops"]
    assert key.split("_")[2] not in "".join(rows)
    run("keys", "revoke", key.split("_")[1], folder)
    assert "revoked" in run("keys", "list", folder).splitlines()[2]
    with testing.start_local(tmp_path) as server:
        assert "development mode" not in server.log
        with pytest.raises(recalld.Unauthenticated):
            server.client(key).get_all(user_id="alice")
        assert server.client(pinned).get_all(user_id="alice") == []


def test_a_place_without_a_ledger_gets_none_unless_that_is_asked_for(tmp_path: Path) -> None:
    """A misspelt folder would get a ledger with a key that no server knows."""
    typo = tmp_path / "tpyo"
    for command in (("keys", "create"), ("keys", "list"), ("keys", "revoke", "0" * 16)):
        said = run(*command, f"--data-dir={typo}", code=1)
        assert f"There is no ledger at {typo / 'ledger.db'}" in said
        assert "--new" in said
    file = tmp_path / "other.db"
    assert f"no ledger at {file}" in run("keys", "list", f"--data-dir={tmp_path}", f"--ledger={file}", code=1)
    assert list(tmp_path.iterdir()) == []
    run("keys", "create", "--new", f"--data-dir={typo}")
    run("keys", "create", "--new", f"--data-dir={typo}")  # it adds to a ledger that is there
    assert run("keys", "list", f"--data-dir={typo}").count("\n") == 3


@pytest.mark.needs_postgres
def test_a_database_without_a_ledger_gets_none_unless_that_is_asked_for(postgres: PostgresServer) -> None:
    with postgres.database("template1") as url:
        place = f"--ledger={url}"
        for command in (("keys", "create"), ("keys", "list"), ("projects", "list"), ("projects", "rebuild-index")):
            assert "There is no ledger at postgresql://127.0.0.1" in run(*command, place, code=1)
        assert "rk_" in run("keys", "create", "--new", place)
        assert run("keys", "list", place).count("\n") == 2


def test_operators_and_their_projects() -> None:
    with testing.start_local() as server:
        at, folder = f"--target={server.target}", f"--data-dir={server.data_dir}"
        operator = run("keys", "create", folder, "--role=operator").strip()  # while the server runs
        assert "kitchen" in run("projects", "create", "kitchen", "--name=The kitchen", at, key=operator)
        assert "PROJECT_EXISTS" in run("projects", "create", "kitchen", at, key=operator, code=1)
        assert [row.split()[0] for row in run("projects", "list", at, key=operator).splitlines()] == [
            "default",
            "kitchen",
        ]
        writer = run("keys", "create", "--project=kitchen", at, key=operator).strip()
        assert run("keys", "list", "--project=kitchen", at, key=operator).count("\n") == 2
        with server.client(writer) as client:
            client.add("The oven is hot", user_id="cook", infer=False)
            assert [hit["memory"] for hit in client.search("oven", user_id="cook")] == ["The oven is hot"]
        assert "memory    1" in run("projects", "usage", "kitchen", at, key=operator)
        assert "memory    0" in run("projects", "usage", "default", at, key=operator)
        run("keys", "revoke", writer.split("_")[1], at, key=operator)
        with pytest.raises(recalld.Unauthenticated):
            server.client(writer).get_all(user_id="cook")
        assert "KEY_MISSING" in run("projects", "list", at, code=1)


def test_keys_of_a_project_through_its_server() -> None:
    with testing.start_local() as server:
        at, folder = f"--target={server.target}", f"--data-dir={server.data_dir}"
        admin = run("keys", "create", folder, "--role=admin", "--name=ops").strip()
        writer = run(
            "keys", "create", at, "--user=alice", "--run=r1", "--days=30", "--name=für Alice", key=admin
        ).strip()
        reader = run("keys", "create", at, "--role=reader", key=admin).strip()
        assert f"{reader.split('_')[1]} revoked" in run("keys", "revoke", reader.split("_")[1], at, key=admin)
        listed = run("keys", "list", "--project=default", at, key=admin)
        assert listed == run("keys", "list", folder)  # one list, whichever way it is asked for
        rows = [row.split() for row in listed.splitlines()[1:]]
        assert rows[0][1:5] == ["reader", "default", "-", "revoked"]
        assert rows[1][1:6] == ["writer", "default", "user=alice", "run=r1", "until"]
        assert rows[2][1:] == ["admin", "default", "-", "active", "ops"]
        assert not any(secret.split("_")[2] in listed for secret in (admin, writer, reader))
        assert "ROLE_INSUFFICIENT" in run("keys", "list", at, key=writer, code=1)
        assert "KEY_REVOKED" in run("keys", "list", at, key=reader, code=1)
        assert "KEY_NOT_FOUND" in run("keys", "revoke", "0" * 16, at, key=admin, code=1)
        assert "PROJECT_NOT_FOUND" in run("keys", "create", "--project=other", at, key=admin, code=1)
        for arguments in (("create", "other"), ("list",)):
            assert "ROLE_INSUFFICIENT" in run("projects", *arguments, at, key=admin, code=1)
        assert "memory    0" in run("projects", "usage", "default", at, key=admin)


def test_what_is_refused(tmp_path: Path) -> None:
    folder = f"--data-dir={tmp_path}"
    run("keys", "create", "--new", folder)
    assert "--role" in run("keys", "create", folder, "--role=root", code=2)
    assert "PROJECT" in run("keys", "create", folder, "--project=nowhere", code=1).upper()
    assert "operator" in run("keys", "create", folder, "--role=operator", "--user=alice", code=2)
    assert "operator" in run("keys", "create", "--target=127.0.0.1:1", "--role=operator", code=2)
    assert "future" in run("keys", "create", folder, "--days=0", code=1)
    assert "256" in run("keys", "create", folder, f"--user={'x' * 257}", code=1)
    assert "API key" in run("keys", "revoke", "0" * 16, folder, code=1)
    assert run("keys", "list", folder).count("\n") == 2


@pytest.mark.parametrize("arguments", [("list",), ("create", "kitchen")])
def test_a_server_without_keys_says_how_to_make_an_operators(
    server: testing.LocalServer, arguments: tuple[str, ...]
) -> None:
    told = run("projects", *arguments, "--target", server.target, code=1)
    assert "`recalld keys create --role operator`" in told
    assert "The key's role" not in told
