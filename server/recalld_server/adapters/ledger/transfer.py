"""Copies a ledger to another engine, table by table in the order of the primary keys, and compares both afterwards.

The copy keeps the identity of the original, so API keys, page tokens and request ids stay valid. It is marked as
unfinished until the comparison succeeds, and servers refuse to open an unfinished copy. An interrupted copy resumes
after the last row of each table.
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

BATCH = 500  # rows per transaction
HEAVY = {t.export_chunks.name: 16}  # rows of 1 MiB each, so fewer per transaction
Say = Callable[[str, int, int], None]  # progress: stage, done, total
TABLES = tuple(table for table in t.metadata.sorted_tables if table is not t.ledger)


@dataclass(frozen=True, slots=True)
class Contents:
    """The number of rows of a table and the hexadecimal SHA-256 over all rows in key order."""

    rows: int
    digest: str


async def begin(source: SqlEngine, target: SqlEngine) -> bool:
    """Mark `target` as an unfinished copy of `source`. Returns False if it is a finished copy already.

    Raises SettingMissing if `target` holds another ledger.
    """
    original = await source.read(lambda c: c.execute(select(t.ledger)).one())

    def claim(connection: Connection) -> bool:
        there = connection.execute(select(t.ledger)).one()
        if there.id == original.id:
            return bool(there.unfinished)
        for table in TABLES:
            if connection.execute(select(literal(1)).select_from(table).limit(1)).first():
                raise SettingMissing("The target ledger holds something else; name an empty one.")
        connection.execute(update(t.ledger).values({**original._mapping, "unfinished": True}))
        return True

    return await target.write(claim)


async def finish(target: SqlEngine) -> None:
    """Mark the copy as finished, so that servers open it."""
    await target.write(lambda c: c.execute(update(t.ledger).values(unfinished=False)))


async def count(engine: SqlEngine, table: Table) -> int:
    """The number of rows of a table."""
    return await engine.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one())


async def copied(source: SqlEngine, target: SqlEngine, table: Table) -> AsyncIterator[int]:
    """Copy the rows after the last one that `target` has. Yields the number of rows of each transaction."""
    newest = select(*_key(table)).order_by(*(column.desc() for column in _key(table))).limit(1)
    last = await target.read(lambda c: c.execute(newest).first())
    async for rows in _batches(source, table, last):
        given = [dict(row._mapping) for row in rows]
        await target.write(lambda c, given=given: c.execute(insert(table), given))  # type: ignore[misc]
        yield len(rows)


async def contents(engine: SqlEngine, table: Table) -> Contents:
    """Read the whole table and return its row count and digest."""
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
    """Copy a ledger, or resume a copy, and compare both. Returns the number of rows.

    `say` receives the progress. Raises SettingMissing if the two differ, or if `target` holds another ledger.
    """
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
            state = "changed during the copy" if unfinished else "has changed since it was copied"
            raise SettingMissing(
                f"The two ledgers differ in the table {table.name}: one of them {state}. Copy again to an empty ledger."
            )
        rows += found.rows
        say("compare tables", number, len(TABLES))
    await finish(target)
    return rows
