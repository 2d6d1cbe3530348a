"""Makes a ledger large quickly: SQL copies of a memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Table

from recalld_server.adapters.ledger.schema import tables as t

Run = Callable[[str], Any]  # runs one statement and commits it

SERIES = "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count})"


def project(run: Run, name: str) -> None:
    """An empty project like `default`."""
    row = _columns(t.projects, {"project": f"'{name}'", "head": "0"})
    run(f"INSERT INTO projects ({row[0]}) SELECT {row[1]} FROM projects r WHERE project = 'default'")  # noqa: S608


def copy(run: Run, memory_id: str, count: int, user: str, project: str = "default") -> None:
    """`count` memories of a user in a project like one of `default` that has a single revision, with its features.

    The index is not told of them, and each came of an add of its own.
    """
    id = f"'{project}-{user}-' || CAST(10000000 + n AS text)"
    made = {"project": f"'{project}'", "memory_id": id, "seq_from": "head + n", "add_id": "'add' || n"}
    for table in (t.revisions, t.features):
        names, values = _columns(table, made | ({"user_id": f"'{user}'"} if table is t.revisions else {}))
        run(
            f"INSERT INTO {table.name} ({names}) {SERIES.format(count=count)} SELECT {values} FROM {table.name} r, "  # noqa: S608
            f"series, (SELECT head FROM projects WHERE project = '{project}') AS p "
            f"WHERE r.project = 'default' AND r.memory_id = '{memory_id}'"
        )
    run(f"UPDATE projects SET head = head + {count} WHERE project = '{project}'")  # noqa: S608


def _columns(table: Table, made: dict[str, str]) -> tuple[str, str]:
    names = [column.name for column in table.columns]
    return ", ".join(names), ", ".join(made.get(name, f"r.{name}") for name in names)
