"""`recalld migrate` copies everything, also after interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlean

from recalld import testing
from recalld_server.bench.corpus import Corpus
from recalld_server.bench.filling import Population, store

MANY = 6_000  # memories: enough that a kill comes in the middle of them


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with a ledger that has seen something, and what its server answers."""
    folder = tmp_path_factory.mktemp("seed")
    with testing.start_local(folder) as server:
        client = server.client()
        client.add("Likes tea in Zürich 🍵", user_id="ann", infer=False, metadata={"n": 1.5, "red": True})
        gone = client.add("Was a swimmer", user_id="ann", run_id="r", infer=False)[0]["id"]
        client.add([{"role": "user", "content": "I'm a vegetarian and I live in Lisbon"}], user_id="bob")
        client.update(gone, text="Is a runner")
        client.delete(gone)
        return folder, answers(server, gone)


def answers(server: testing.LocalServer, gone: str) -> dict[str, Any]:
    client = server.client()
    found = [client.search("tea or food", user_id=user) for user in ("ann", "bob")]
    return {
        "all": [client.get_all(user_id=user) for user in ("ann", "bob")],
        "history": client.history(gone),
        "found": [[(hit["id"], hit["score"]) for hit in hits] for hits in found],
        "users": client.users(),
        "gone": gone,
    }


def started(folder: Path, ledger: object) -> testing.LocalServer:
    return testing.start_local(folder, arguments=["--ledger", str(ledger)])


def moves(recalld: Callable[..., Any], seed: tuple[Path, dict[str, Any]], to: str, folder: Path) -> None:
    done = recalld("migrate", "--data-dir", seed[0], RECALLD_MIGRATE_TO=to)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert "are the same in both ledgers" in done.stdout
    assert "3 memories, 3 in the index, 0 wrong" in done.stdout
    again = recalld("migrate", "--to", to, "--data-dir", seed[0])
    assert (again.returncode, again.stdout) == (0, done.stdout)
    with started(folder, to) as server:
        assert answers(server, seed[1]["gone"]) == seed[1]
        server.client().add("Something new", user_id="ann", infer=False)
    late = recalld("migrate", "--to", to, "--data-dir", seed[0])
    assert late.returncode == 2
    assert "has changed since it was copied" in late.stderr


def test_to_a_file(recalld: Callable[..., Any], seed: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    moves(recalld, seed, str(tmp_path / "copy.db"), tmp_path / "folder")


@pytest.mark.needs_postgres
def test_to_postgres(
    recalld: Callable[..., Any], seed: tuple[Path, dict[str, Any]], tmp_path: Path, postgres_url: str
) -> None:
    moves(recalld, seed, postgres_url, tmp_path)


@pytest.mark.needs_postgres
def test_and_back(
    recalld: Callable[..., Any], seed: tuple[Path, dict[str, Any]], tmp_path: Path, postgres_url: str
) -> None:
    assert recalld("migrate", "--to", postgres_url, "--data-dir", seed[0]).returncode == 0
    back = tmp_path / "back.db"
    done = recalld("migrate", "--to", back, "--ledger", postgres_url, "--data-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    with started(tmp_path, back) as server:
        assert answers(server, seed[1]["gone"]) == seed[1]


def brought(copy: Path) -> int:
    """How many revisions a copy has so far."""
    try:
        with closing(sqlean.connect(f"file:{copy}?mode=ro", uri=True)) as connection:
            [(rows,)] = connection.execute("SELECT count(*) FROM revisions")
            return int(rows)
    except sqlean.OperationalError:  # no file, or no table yet
        return 0


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_killed_on_the_way_it_goes_on(recalld: Callable[..., Any], tmp_path: Path) -> None:
    with testing.start_local(tmp_path) as server:
        store(server.client(), Population(MANY).items(Corpus(), "minilm-l6-v2-int8", 384))
    copy = tmp_path / "copy.db"
    command = [sys.executable, "-m", "recalld_server", "migrate", "--to", str(copy), "--data-dir", str(tmp_path)]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}
    for rows in (1, MANY // 3, MANY - 1000):
        running = subprocess.Popen(command, env=inherited, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda rows=rows: brought(copy) >= rows)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        assert brought(copy) < MANY
    refused = recalld("serve", "--ledger", copy, "--data-dir", tmp_path, "--grpc-port", 0, "--http-port", 0)
    assert refused.returncode == 2
    assert "is a copy that is not finished" in refused.stderr
    done = recalld("migrate", "--to", copy, "--data-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{MANY} memories, {MANY} in the index, 0 wrong" in done.stdout


def test_what_it_refuses(recalld: Callable[..., Any], tmp_path: Path) -> None:
    with testing.start_local(tmp_path / "one") as server, testing.start_local(tmp_path / "other") as other:
        other.client().add("Is there before", user_id="ann", infer=False)
        busy = recalld("migrate", "--to", tmp_path / "copy.db", "--data-dir", server.data_dir)
        assert (busy.returncode, "Another recalld uses" in busy.stderr) == (2, True)
    full = recalld("migrate", "--to", tmp_path / "other/ledger.db", "--data-dir", tmp_path / "one")
    assert (full.returncode, "holds something else; name an empty one" in full.stderr) == (2, True)
    none = recalld("migrate", "--to", tmp_path / "copy.db", "--data-dir", tmp_path / "nothing")
    assert (none.returncode, "There is no ledger in" in none.stderr) == (2, True)
    assert "resumes" in recalld("migrate", "--help").stdout
