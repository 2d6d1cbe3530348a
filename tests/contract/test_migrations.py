"""A ledger of an earlier version is brought up to date with what it holds, on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlean
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from tests.contract.ledger_world import HERE, FakeClock
from tests.postgres import PostgresServer

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.store import MIGRATIONS, open_postgres, open_sqlite
from recalld_server.domain.memory import Access, Scope, text_key
from recalld_server.domain.operations import OperationState
from recalld_server.domain.revision import Entity

TYPES = ["agent_id", "user_id"]
# What every revision of the test has; texts are '', numbers 0 unless said otherwise.
FIELDS = {
    **dict.fromkeys(
        ["cause", "principal", "request_id", "agent_id", "app_id", "run_id", "scope_key", "folded", "text_key"], ""
    ),
    **dict.fromkeys(["conversation", "feedback", "feedback_reason"], ""),
    **dict.fromkeys(["position", "ordinal", "commit_time", "text_revision"], 0),
    "metadata": "{}",
    "categories": "[]",
    "source_positions": "[]",
    "named": False,
    "immutable": False,
    "project": "default",
    "revision": 1,
    "kind": "ADDED",
    "seq_to": None,
    "text": "tea",
    "add_id": "a",
}

WORK = {
    **dict.fromkeys(["user_id", "agent_id", "app_id", "run_id", "principal", "subject", "rpc", "fingerprint"], ""),
    **dict.fromkeys(["create_time", "update_time", "completed", "total", "attempt", "fence", "free_from"], 0),
    **dict.fromkeys(["cancel_requested", "hidden"], False),
    **dict.fromkeys(["checkpoint", "result", "error"], "{}"),
    "project": "default",
    "kind": "ADD",
}


def filled(engine: Engine) -> None:
    """A ledger at version 0007 with four memories, of which one was deleted."""

    def insert(connection: Connection, table: str, row: dict[str, Any]) -> None:
        names = ", ".join(row)
        values = ", ".join(f":{name}" for name in row)
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)  # noqa: S608 - of ours

    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        project = {"project": "default", "head": 5, "last_time": 9, "oldest": 0, "settings": "{}", "create_time": 0}
        insert(connection, "projects", project | {"generation": "1/test/4/1/english"})
        insert(connection, "ledger", {"id": "old", "secret": b"s", "keys_created": False})
        for seq, id, user, speaker in ((1, "m1", "ann", "Ann"), (2, "m2", "ann", ""), (3, "m3", "bob", "user")):
            times = {"create_time": seq, "update_time": seq * 10}
            insert(
                connection,
                "revisions",
                FIELDS | times | {"seq_from": seq, "memory_id": id, "user_id": user, "speaker": speaker},
            )
        gone = FIELDS | {"memory_id": "m4", "user_id": "cid", "speaker": "user", "create_time": 4, "update_time": 4}
        insert(connection, "revisions", gone | {"seq_from": 4, "seq_to": 5})
        insert(connection, "revisions", gone | {"seq_from": 5, "seq_to": 5, "revision": 2, "kind": "DELETED"})
        for type, id, name in (("user_id", "ann", "Ann"), ("user_id", "bob", "user")):
            row = {"project": "default", "type": type, "id": id, "name": name, "live": 1}
            insert(connection, "speakers", row)
        answer = {"project": "default", "principal": "key", "rpc": "Add", "request_id": "r", "fingerprint": "f"}
        insert(connection, "outcomes", answer | {"answer": "{}", "seq": 1, "partial": False, "time": 1})
        insert(connection, "operations", WORK | {"id": "waits", "payload": b"what was asked", "state": "PENDING"})
        insert(connection, "operations", WORK | {"id": "done", "payload": b"", "state": "SUCCEEDED", "end_time": 1})


class MigrationSuite:
    """What the fixture `old` has become of the ledger that `filled` made."""

    async def test_entities_are_counted_from_what_lives(self, old: SqlLedger) -> None:
        assert await old.entities(Access("default"), TYPES, None, 10) == [
            Entity("user_id", "ann", 2, 1, 20),
            Entity("user_id", "bob", 1, 3, 30),
        ]

    async def test_texts_that_live_are_found_by_their_identity(self, old: SqlLedger) -> None:
        for speaker, id in (("Ann", "m1"), ("", "m2"), ("user", "m3")):
            found = await old.repeats(Access("default"), [("", text_key("tea", speaker, None))], 1)
            assert [memory.id for memory in found.values()] == [id]
        assert await old.repeats(Access("default"), [("", text_key("Tea", "Ann", None))], 1) == {}

    async def test_speakers_stay_and_nobody_without_a_name_is_one(self, old: SqlLedger) -> None:
        state = await old.search_state(HERE, Scope("ann"))
        assert state.speakers == {"Ann"}

    async def test_answers_stay(self, old: SqlLedger) -> None:
        found = await old.outcome(HERE, "Add", "r")
        assert found is not None
        assert (found.fingerprint, found.seq) == ("f", 1)

    async def test_work_that_waits_is_done(self, old: SqlLedger) -> None:
        operations = SqlOperations(old._engine, FakeClock())
        assert (await operations.get(HERE, "done")).state is OperationState.SUCCEEDED
        held = await operations.claim(10)
        assert held is not None
        assert (held.id, held.payload) == ("waits", b"what was asked")
        assert await operations.claim(10) is None


class TestSqlite(MigrationSuite):
    @pytest.fixture
    async def old(self, tmp_path: Path) -> AsyncIterator[SqlLedger]:
        clock = FakeClock()
        clock.time = 1
        engine = create_engine(f"sqlite:///{tmp_path / 'ledger.db'}", module=sqlean.dbapi2)
        filled(engine)
        engine.dispose()
        ledger = SqlLedger(await open_sqlite(tmp_path / "ledger.db"), clock)
        yield ledger
        await ledger.close()


@pytest.mark.needs_postgres
class TestPostgres(MigrationSuite):
    @pytest.fixture
    async def old(self, postgres: PostgresServer) -> AsyncIterator[SqlLedger]:
        clock = FakeClock()
        clock.time = 1
        with postgres.database() as url:
            engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
            filled(engine)
            engine.dispose()
            ledger = SqlLedger(await open_postgres(url), clock)
            yield ledger
            await ledger.close()
