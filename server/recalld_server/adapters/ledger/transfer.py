"""A ledger copied into another engine, table by table in the order of the primary keys, and compared afterwards.

The copy has the original's identity, so keys, tokens and request ids stay good. Until it is finished it is marked, and
no server opens it. A copy that was broken off goes on behind the last row of each table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, insert, literal, select, tuple_, update

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.errors import SettingMissing

BATCH = 500  # rows in one transaction: of the largest, chunks of exports, 500 MiB would be too many
HEAVY = {t.export_chunks.name: 16}
Say = Callable[[str, int, int], None]  # a stage, how much of it is done, and of how much
TABLES = tuple(table for table in t.metadata.sorted_tables if table is not t.ledger)


@dataclass(frozen=True, slots=True)
class Contents:
    """What a table holds: its rows, and the SHA-256 over all of them in order, hexadecimal."""

    rows: int
    digest: str


async def begin(source: SqlEngine, target: SqlEngine) -> bool:
    """Make `target` a copy of `source` that is not finished. False when it is a finished one already.

    Raises SettingMissing when it holds another ledger.
    """
    original = await source.read(lambda c: c.execute(select(t.ledger)).one())

    def claim(connection: Connection) -> bool:
        there = connection.execute(select(t.ledger)).one()
        if there.id == original.id:
            return bool(there.unfinished)
        for table in TABLES:
            if connection.execute(select(literal(1)).select_from(table).limit(1)).first():
                raise SettingMissing("The ledger to copy to holds something else; name an empty one.")
        connection.execute(update(t.ledger).values({**original._mapping, "unfinished": True}))
        return True

    return await target.write(claim)


async def finish(target: SqlEngine) -> None:
    """Let servers open the copy."""
    await target.write(lambda c: c.execute(update(t.ledger).values(unfinished=False)))


async def count(engine: SqlEngine, table: Table) -> int:
    """The rows of a table."""
    return await engine.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one())


async def copied(source: SqlEngine, target: SqlEngine, table: Table) -> AsyncIterator[int]:
    """Copy what is missing at the end of a table; how many rows each transaction brought."""
    newest = select(*_key(table)).order_by(*(column.desc() for column in _key(table))).limit(1)
    last = await target.read(lambda c: c.execute(newest).first())
    async for rows in _batches(source, table, last):
        given = [dict(row._mapping) for row in rows]
        await target.write(lambda c, given=given: c.execute(insert(table), given))  # type: ignore[misc]
        yield len(rows)


async def contents(engine: SqlEngine, table: Table) -> Contents:
    """Read a table through."""
    digest, number = hashlib.sha256(), 0
    async for rows in _batches(engine, table, None):
        number += len(rows)
        for row in rows:
            digest.update(json.dumps([_plain(value) for value in row], ensure_ascii=False).encode() + b"\n")
    return Contents(number, digest.hexdigest())


async def _batches(engine: SqlEngine, table: Table, last: Sequence[Any] | None) -> AsyncIterator[Sequence[Row[Any]]]:
    size, key = HEAVY.get(table.name, BATCH), _key(table)
    statement: Select[Any] = select(table).order_by(*key).limit(size)
    places = [table.c.keys().index(column.name) for column in key]
    while True:
        following = statement if last is None else statement.where(tuple_(*key) > tuple_(*map(literal, last)))
        rows = await engine.read(lambda c, following=following: c.execute(following).all())  # type: ignore[misc]
        if rows:
            yield rows
        if len(rows) < size:
            return
        last = [rows[-1][place] for place in places]


def _key(table: Table) -> list[ColumnElement[Any]]:
    return list(table.primary_key.columns)


def _plain(value: Any) -> Any:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else value


async def copy(source: SqlEngine, target: SqlEngine, say: Say) -> int:
    """Copy a ledger, or resume that, and compare both. Returns their rows. Raises SettingMissing where they differ."""
    unfinished = await begin(source, target)
    for table in TABLES if unfinished else ():
        done, total = await count(target, table), await count(source, table)
        async for rows in copied(source, target, table):
            done += rows
            say(f"copy {table.name}", done, total)
    rows = 0
    for number, table in enumerate(TABLES, 1):
        found = await contents(target, table)
        if found != await contents(source, table):
            state = "has changed meanwhile" if unfinished else "is no longer what was copied"
            raise SettingMissing(
                f"The two differ in the table {table.name}: one of them {state}. Copy again, to an empty ledger."
            )
        rows += found.rows
        say("compare tables", number, len(TABLES))
    await finish(target)
    return rows
