"""The index file is a projection: whatever happens to it while the server is down, it is rebuilt from the ledger."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlean import dbapi2 as sqlite

from recalld import testing

COUNT, HALF = 1_000, 500  # an import writes 500 in one transaction


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory, call: Callable[[str], Any]) -> tuple[Path, set[str]]:
    """A folder that a server left in order, with 1,000 memories, and their ids."""
    folder = tmp_path_factory.mktemp("seed")
    with testing.start_local(folder) as server, call(server.target) as caller:
        return folder, caller.fill("ann", COUNT)


@pytest.fixture
def folder(seed: tuple[Path, set[str]], tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(seed[0], tmp_path / "data")
    return tmp_path / "data"


def deleted(file: Path) -> None:
    file.unlink()


def filled_with_garbage(file: Path) -> None:
    file.write_bytes(random.Random(5).randbytes(file.stat().st_size))


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def of_another_generation(file: Path) -> None:
    with closing(sqlite.connect(str(file))) as connection:
        connection.execute("UPDATE spaces SET generation = replace(generation, '/384/', '/768/')")
        connection.commit()


def of_an_older_state(file: Path) -> None:
    """As from a backup: the mark is old, and half of the entries are not there yet."""
    with closing(sqlite.connect(str(file))) as connection:
        connection.execute("DELETE FROM entries WHERE row > ?", (HALF,))
        connection.execute("UPDATE spaces SET mark = ?", (HALF,))
        connection.commit()


@pytest.mark.parametrize(
    "damage",
    [
        deleted,
        filled_with_garbage,
        truncated,
        of_another_generation,
        of_an_older_state,
    ],
)
def test_it_is_rebuilt_at_the_start(
    folder: Path, seed: tuple[Path, set[str]], damage: Callable[[Path], None], call: Callable[[str], Any]
) -> None:
    damage(folder / "index.db")
    with testing.start_local(folder) as server, call(server.target) as caller:
        found, refused = caller.found_at_last("ann")
        assert found == seed[1]
        # Rather than leave something out it said that it is behind; the smaller repairs can be over by then.
        assert refused > 0 or damage is not deleted
        assert caller.found("ann", "7 hat", mode="SEARCH_MODE_KEYWORD") == seed[1]
    assert rows(folder / "index.db", INDEXED) == rows(folder / "ledger.db", LIVE)


INDEXED = "SELECT memory_id, revision FROM entries JOIN spaces USING (space) WHERE generation LIKE '%/384/%'"
LIVE = "SELECT memory_id, revision FROM revisions WHERE seq_to IS NULL"


def rows(file: Path, sql: str) -> set[tuple[str, int]]:
    with closing(sqlite.connect(str(file))) as connection:
        found = connection.execute(sql).fetchall()
    assert len(found) == len(set(found)) == COUNT
    return set(found)


def test_a_stale_one_proposes_and_the_ledger_disposes(
    folder: Path, seed: tuple[Path, set[str]], call: Callable[[str], Any]
) -> None:
    """An index that believes to be whole and is not: what is gone stays unseen, and texts are those of now."""
    file = folder / "index.db"
    stale = file.read_bytes()
    first, second, *others = sorted(seed[1])
    with testing.start_local(folder) as server:
        server.client().delete(first)
        server.client().update(second, "Holds an umbrella")
    file.write_bytes(stale)
    with closing(sqlite.connect(str(file))) as connection:
        connection.execute("UPDATE spaces SET mark = ?", (COUNT + 2,))
        connection.commit()
    with testing.start_local(folder) as server, call(server.target) as caller:
        assert caller.found_at_last("ann")[0] == {second, *others}
        [hit] = server.client().search("Holds an umbrella", user_id="ann", limit=1)
        assert (hit["id"], hit["memory"]) == (second, "Holds an umbrella")


def test_everything_else_goes_on_while_it_is_rebuilt(
    folder: Path, seed: tuple[Path, set[str]], call: Callable[[str], Any]
) -> None:
    deleted(folder / "index.db")
    with testing.start_local(folder) as server, call(server.target) as caller:
        more = caller.fill("ben", 10)
        assert set(caller.texts("ann")) == seed[1]
        assert caller.found_at_last("ben")[0] == more
        assert caller.found("ann") == seed[1]


def test_a_kill_while_it_is_rebuilt(folder: Path, seed: tuple[Path, set[str]], call: Callable[[str], Any]) -> None:
    deleted(folder / "index.db")
    with testing.start_local(folder) as server:
        server.kill()
        server.start()
        with call(server.target) as caller:
            assert caller.found_at_last("ann")[0] == seed[1]
    assert rows(folder / "index.db", INDEXED) == rows(folder / "ledger.db", LIVE)


def test_the_doctor_sees_and_mends_a_difference(folder: Path, recalld: Callable[..., Any]) -> None:
    with closing(sqlite.connect(str(folder / "index.db"))) as connection:
        connection.execute("DELETE FROM entries WHERE row IN (1, 2, 3)")
        connection.execute("UPDATE entries SET revision = 7 WHERE row = 4")
        connection.execute("UPDATE entries SET memory_id = 'x' WHERE row = 5")
        connection.commit()
    sick = recalld("doctor", "--data-dir", folder)
    assert (sick.returncode, sick.stderr) == (1, "")
    assert f"{COUNT} memories, {COUNT - 3} index entries, 0 pending, 4 missing, 1 stale, 1 orphaned" in sick.stdout
    mended = recalld("doctor", "--data-dir", folder, "--rebuild-index")
    assert (mended.returncode, mended.stderr) == (0, "")
    assert f"{COUNT} memories, {COUNT} index entries, 0 pending, 0 missing, 0 stale, 0 orphaned" in mended.stdout
    assert recalld("doctor", "--data-dir", folder).returncode == 0
