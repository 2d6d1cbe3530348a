"""A ledger that the version before left behind, with work in its queue, goes on under this one.

`tests/data/ledger_0011.sql` is the ledger of a server that was killed: two memories of ann, four adds of bob that had
ended, two that were committed and had not ended, two that nobody had begun, and two exports whose time is far away.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Boolean, MetaData, create_engine, insert, make_url
from tests.postgres import PostgresServer

from recalld import testing
from recalld.v1 import export_service_pb2, memory_service_pb2, search_service_pb2
from recalld_server.adapters.ledger.store import MIGRATIONS

DUMP = (Path(__file__).parents[1] / "data" / "ledger_0011.sql").read_text()
SONGS = [f"Plays the cello number {number}" for number in (1, 2, 3, 5, 6, 7, 9, 10)]
Connect = Callable[[str], AbstractAsyncContextManager[Any]]


async def goes_on(connect: Connect, target: str) -> None:
    """Nothing is lost, and what waited is done."""
    async with connect(target) as api:
        async with asyncio.timeout(30):
            while len(await api.texts("bob")) < len(SONGS) + 1:  # noqa: ASYNC110 - as callers do
                await asyncio.sleep(0.1)
        assert sorted(await api.texts("bob")) == sorted([*SONGS, "Likes tea"])
        assert await api.texts("ann") == ["Loves sushi", "Lives in Porto"]
        listed = (await api.export.ListExports(export_service_pb2.ListExportsRequest())).exports
        formats = {export.format: export for export in listed}
        assert formats.keys() == {export_service_pb2.EXPORT_FORMAT_JSONL, export_service_pb2.EXPORT_FORMAT_PARQUET}
        rows = formats[export_service_pb2.EXPORT_FORMAT_JSONL]
        assert rows.filter.comparison.value.string_value == "sushi"
        pieces = api.export.ReadExport(export_service_pb2.ReadExportRequest(export_id=rows.export_id))
        assert b"Loves sushi" in b"".join([piece.data async for piece in pieces])
        question = search_service_pb2.SearchRequest(query="What food does she love?", scope={"user_id": "ann"})
        answer = await api.search.Search(question)
        assert answer.hits[0].memory.text == "Loves sushi"
        await api.memory.Add(memory_service_pb2.AddRequest(scope={"user_id": "ann"}, text="I ski."))


async def test_in_a_file(tmp_path: Path, connect: Connect) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        ledger.executescript(DUMP)
    with testing.start_local(tmp_path) as server:
        await goes_on(connect, server.target)


@pytest.mark.needs_postgres
async def test_in_postgres(tmp_path: Path, connect: Connect, postgres: PostgresServer) -> None:
    with postgres.database() as url:
        filled(url)
        with testing.start_local(tmp_path, arguments=[f"--ledger={url}"]) as server:
            await goes_on(connect, server.target)


def filled(url: str) -> None:
    """The same rows in the tables that the version before made."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    with closing(sqlite3.connect(":memory:")) as source, engine.begin() as connection:
        source.executescript(DUMP)
        source.row_factory = sqlite3.Row
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0011")
        tables = MetaData()
        tables.reflect(connection)
        for table in tables.sorted_tables:
            if table.name == "alembic_version":
                continue
            found = [dict(row) for row in source.execute(f'SELECT * FROM "{table.name}"')]  # noqa: S608 - of ours
            flags = [column.name for column in table.columns if isinstance(column.type, Boolean)]
            for row in found:
                row.update({name: bool(row[name]) for name in flags if row[name] is not None})
            if found:
                connection.execute(insert(table), found)
    engine.dispose()
