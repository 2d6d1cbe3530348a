"""Migrations keep the data of ledgers of earlier versions, on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlean
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from tests.contract.ledger_world import HERE, FakeClock
from tests.postgres import PostgresServer

from recalld.v1 import memory_service_pb2 as pb
from recalld.v1.export_service_pb2 import CreateExportRequest
from recalld.v1.project_service_pb2 import ReembedProjectRequest
from recalld_server.adapters.ledger.exports import SqlExports
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.store import MIGRATIONS, open_postgres, open_sqlite
from recalld_server.domain.commands import (
    ExportCommand,
    Format,
    ReindexCommand,
    add_command,
    export_command,
    reindex_command,
)
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.memory import Access, Message, Scope, text_key
from recalld_server.domain.operations import OperationState
from recalld_server.domain.revision import Entity, ListQuery
from recalld_server.rpc.parse.commands import add_command as parsed_add
from recalld_server.rpc.parse.filters import filter_of

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

FILE = {
    **dict.fromkeys(["agent_id", "app_id", "run_id", "sha256"], ""),
    **dict.fromkeys(["seq", "memories", "create_time"], 0),
    "project": "default",
    "user_id": "ann",
    "size": 4,
    "state": "READY",
}
ADD = pb.AddRequest(
    scope={"user_id": "ann"},
    messages=[
        {"role": "user", "content": "I like tea.", "name": "Ann", "time": {"nanos": 7_000}},
        {"role": "assistant", "content": "Noted."},
    ],
    metadata={"n": 1, "x": 1.5, "deep": {"list": [None, True, "é"]}},
    excludes="SSN",
    custom_categories=[{"name": "tea", "description": "what is brewed"}],
    categories=["food"],
    expire_time={"seconds": 5},
    immutable=True,
)
TEA = {"field": "text", "operator": "OPERATOR_CONTAINS", "value": {"string_value": "tea"}}
MOMENT = {"timestamp_value": {"seconds": -1, "nanos": 5_000}}
SINCE = {"comparison": {"field": "create_time", "operator": "OPERATOR_GTE", "value": MOMENT}}
NUMBERS = {"list_value": {"values": [{"int64_value": 1}, {"double_value": 1.0}, {"bool_value": True}]}}
ONE = {"comparison": {"field": "metadata.n", "operator": "OPERATOR_IN", "value": NUMBERS}}
EXPORT = CreateExportRequest(
    scope={"user_id": "ann"},
    format="EXPORT_FORMAT_JSONL",
    with_vectors=True,
    filter={"all_of": {"filters": [{"comparison": TEA}, {"any_of": {"filters": [SINCE, {"none_of": ONE}]}}]}},
)


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
        facet = {"project": "default", "memory_id": "m1", "revision": 1, "ordinal": 0, "key": "metadata.place"}
        insert(connection, "facets", facet | {"kind": "s", "text": "İstanbul", "folded": "i\u0307stanbul"})
        gone = FIELDS | {"memory_id": "m4", "user_id": "cid", "speaker": "user", "create_time": 4, "update_time": 4}
        insert(connection, "revisions", gone | {"seq_from": 4, "seq_to": 5})
        insert(connection, "revisions", gone | {"seq_from": 5, "seq_to": 5, "revision": 2, "kind": "DELETED"})
        for type, id, name in (("user_id", "ann", "Ann"), ("user_id", "bob", "user")):
            row = {"project": "default", "type": type, "id": id, "name": name, "live": 1}
            insert(connection, "speakers", row)
        answer = {"project": "default", "principal": "key", "rpc": "Add", "request_id": "r", "fingerprint": "f"}
        insert(connection, "outcomes", answer | {"answer": "{}", "seq": 1, "partial": False, "time": 1})
        waits = WORK | {"state": "PENDING", "payload": b""}
        insert(connection, "operations", waits | {"id": "add", "payload": ADD.SerializeToString()})
        one = pb.AddRequest(scope={"user_id": "bob"}, text="I ski.", infer=False, request_id="r").SerializeToString()
        insert(connection, "operations", waits | {"id": "text", "payload": one, "create_time": 1, "free_from": 1})
        insert(connection, "operations", waits | {"id": "rebuild", "kind": "REBUILD_INDEX"})
        model = ReembedProjectRequest(model="test").SerializeToString()
        insert(connection, "operations", waits | {"id": "reembed", "kind": "REEMBED_PROJECT", "payload": model})
        asked = EXPORT.SerializeToString()
        export = waits | {"id": "export", "kind": "EXPORT", "subject": "e1", "payload": asked, "user_id": "ann"}
        insert(connection, "operations", export)
        insert(connection, "operations", WORK | {"id": "done", "payload": b"", "state": "SUCCEEDED", "end_time": 1})
        insert(connection, "exports", FILE | {"id": "e1", "operation": "export", "request": asked, "state": "PENDING"})
        insert(connection, "exports", FILE | {"id": "e2", "operation": "x", "request": asked, "expire_time": 2**60})
        insert(connection, "exports", FILE | {"id": "e3", "operation": "y", "request": b"", "state": "WITHDRAWN"})
        chunk = {"project": "default", "export_id": "e2", "number": 0, "data": b"row\n", "sha256": "s"}
        insert(connection, "export_chunks", chunk)


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
        clock = FakeClock()
        clock.time = 1
        operations = SqlOperations(old._engine, clock)
        assert (await operations.get(HERE, "done")).state is OperationState.SUCCEEDED
        held = {}
        while (taken := await operations.claim(10)) is not None:
            held[taken.id] = taken.payload
        assert set(held) == {"add", "text", "export", "rebuild", "reembed"}
        add, one = add_command(held["add"]), add_command(held["text"])
        assert add == replace(parsed_add(ADD, None), messages=add.messages)
        assert add.messages == [Message("user", "I like tea.", "Ann", 7), Message("assistant", "Noted.")]
        assert (one.messages, one.infer, one.scope) == ([Message("user", "I ski.")], False, Scope("bob"))
        assert reindex_command(held["rebuild"]) == ReindexCommand()
        assert reindex_command(held["reembed"]) == ReindexCommand("test")
        export = ExportCommand(Scope("ann"), filter_of(EXPORT.filter), Format.JSONL, with_vectors=True)
        assert repr(export_command(held["export"])) == repr(export)

    async def test_texts_are_found_by_their_loose_form(self, old: SqlLedger) -> None:
        for condition, ids in (
            (Comparison("text", Operator.ICONTAINS, "TEA"), {"m1", "m2", "m3"}),
            (Comparison("metadata.place", Operator.ICONTAINS, "istanbul"), {"m1"}),
            (Comparison("metadata.place", Operator.ICONTAINS, "İSTANBUL"), {"m1"}),
            (Comparison("metadata.place", Operator.CONTAINS, "istanbul"), set()),
        ):
            page = await old.page(HERE, ListQuery(filter=condition, limit=10))
            assert {memory.id for memory in page.memories} == ids, condition

    async def test_exports_are_there_and_say_what_was_asked(self, old: SqlLedger) -> None:
        clock = FakeClock()
        clock.time = 1
        exports = SqlExports(old._engine, clock)
        found, _ = await exports.page(HERE, None, 10)
        assert [export.id for export in found] == ["e3", "e2", "e1"]
        asked = ExportCommand(Scope("ann"), filter_of(EXPORT.filter), Format.JSONL, with_vectors=True)
        assert [repr(export.command) for export in found] == [repr(None), repr(asked), repr(asked)]
        ready, chunk = await exports.chunk(HERE, "e2", 0)
        assert chunk is not None
        assert (ready.size, chunk.data) == (4, b"row\n")


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
