"""Withdraws exports that may hold forgotten memories, so that nobody can read them any more.

The chunks of an export cannot be searched. So its scope and sequence number decide, and an export is withdrawn even if
its own filter excluded the memory.
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
# The columns that are needed here, without `command`, which may have megabytes.
_KNOWN = [_E[name] for name in ("id", "state", "memories", "seq", "expire_time", "operation", *SCOPE_FIELDS)]
_FILLED = (ExportState.PENDING.value, ExportState.READY.value)


def holding(connection: Connection, access: Access, scope: Scope, filter: Filter | None) -> list[str]:
    """The ids of exports that may hold, or whose command may name, a memory that matches."""
    return [
        row.id for row in _standing(connection, access.project) if _may_hold(connection, access, scope, filter, row)
    ]


def withdraw(connection: Connection, project: str, ids: Sequence[str], now: int) -> int:
    """Withdraw exports: from now on nobody can read or write them. Returns how many of them may have held memories.

    The command and the scope are erased too, even for empty exports, because ids and filter values in them may name
    forgotten memories.
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
        # A worker that still writes this export loses its lease, so it cannot write any more.
        stop(connection, project, row.operation, ExportWithdrawn(export_id=row.id), now)
    return withdrawn


def withdraw_holding(connection: Connection, project: str, rows: Sequence[Row[Any]], now: int) -> int:
    """Withdraw exports that may hold the memories whose revisions are `rows`, and that began after `holding` ran."""
    begun: dict[str, tuple[Scope, int]] = {}
    for row in reversed(rows):  # the first revision of each memory comes last and wins
        known_since = row.seq_from if row.revision == 1 else 0  # 0: trimmed, so its begin is unknown
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
    """The exports that may hold memories, or whose command or scope is not erased yet."""
    named = or_(_E.command != b"", *(_E[name] != "" for name in SCOPE_FIELDS))
    statement = select(*_KNOWN).where(_E.project == project, _E.state != ExportState.WITHDRAWN.value)
    return connection.execute(statement.where(or_(_E.state.in_(_FILLED), named))).all()


def _may_hold(connection: Connection, access: Access, scope: Scope, filter: Filter | None, export: Row[Any]) -> bool:
    both = scope.narrowed(scope_of(export))
    if both is None:
        return False
    # An empty export may be older than the memory and still name it in its command.
    upto = 2**62 if _empty(export) else export.seq
    return last_revisions.any_before(connection, access, both, filter, upto)


def _empty(export: Row[Any]) -> bool:
    return export.state == ExportState.FAILED.value or (export.state == ExportState.READY.value and not export.memories)
