"""Exports that may hold what is forgotten are withdrawn: nobody reads them any more.

What an export holds is told by what was asked for, as its chunks can't be searched: one whose filter left the memory
out goes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, or_, select, update

from recalld_server.adapters.ledger.erasure import last_revisions
from recalld_server.adapters.ledger.operations import KEPT, stop
from recalld_server.adapters.ledger.rows import scope_of
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.array_params import in_list
from recalld_server.domain.errors import ExportWithdrawn
from recalld_server.domain.exports import ExportState
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Scope

_E = t.exports.c
# What is looked at here; `command` may have megabytes.
_KNOWN = [_E[name] for name in ("id", "state", "memories", "seq", "expire_time", "operation", *SCOPE_FIELDS)]
_FILLED = (ExportState.PENDING.value, ExportState.READY.value)


def holding(connection: Connection, access: Access, scope: Scope, filter: Filter | None) -> list[str]:
    """Exports that may hold, or name, a memory that matches."""
    return [
        row.id for row in _standing(connection, access.project) if _may_hold(connection, access, scope, filter, row)
    ]


def withdraw(connection: Connection, project: str, ids: Sequence[str], now: int) -> int:
    """Nobody reads these from now on, and nobody goes on writing them. Returns how many could have held something.

    What was asked for names the forgotten, too, by their ids and by words in the filter, so it goes; it also goes from
    those that hold nothing.
    """
    blank = {"command": b"", **dict.fromkeys(SCOPE_FIELDS, "")}
    named = select(*_KNOWN).where(_E.project == project, in_list(_E.id, "ids"))
    withdrawn = 0
    for row in connection.execute(named, {"ids": list(ids)}).all():
        this = update(t.exports).where(_E.project == project, _E.id == row.id)
        if row.state not in _FILLED or _empty(row):
            connection.execute(this.values(blank))
            continue
        withdrawn += 1
        until = {} if row.expire_time else {"expire_time": now + KEPT}
        connection.execute(this.values(state=ExportState.WITHDRAWN.value, **blank, **until))
        # A worker that still writes it loses its lease, and with it every way to write more.
        stop(connection, project, row.operation, ExportWithdrawn(export_id=row.id), now)
    return withdrawn


def withdraw_holding(connection: Connection, project: str, rows: Sequence[Row[Any]], now: int) -> int:
    """Withdraw what holds memories of which all revisions are given: exports that were begun since `holding` looked."""
    begun: dict[str, tuple[Scope, int]] = {}
    for row in reversed(rows):  # the first revision of each comes last
        known_since = row.seq_from if row.revision == 1 else 0  # trimmed: nobody knows any more
        begun[row.memory_id] = (scope_of(row), known_since)
    meant = [
        export.id
        for export in _standing(connection, project)
        if any(
            scope_of(export).admits(scope) and (_empty(export) or since <= export.seq)
            for scope, since in begun.values()
        )
    ]
    return withdraw(connection, project, meant, now)


def _standing(connection: Connection, project: str) -> Sequence[Row[Any]]:
    """Those that hold something, or still say what was asked for."""
    named = or_(_E.command != b"", *(_E[name] != "" for name in SCOPE_FIELDS))
    statement = select(*_KNOWN).where(_E.project == project, _E.state != ExportState.WITHDRAWN.value)
    return connection.execute(statement.where(or_(_E.state.in_(_FILLED), named))).all()


def _may_hold(connection: Connection, access: Access, scope: Scope, filter: Filter | None, export: Row[Any]) -> bool:
    both = scope.narrowed(scope_of(export))
    if both is None:
        return False
    # One that holds nothing may be from before the memory and names it all the same.
    upto = 2**62 if _empty(export) else export.seq
    return last_revisions.any_before(connection, access, both, filter, upto)


def _empty(export: Row[Any]) -> bool:
    return export.state == ExportState.FAILED.value or (export.state == ExportState.READY.value and not export.memories)
