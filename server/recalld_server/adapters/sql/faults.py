"""Tells permanent database errors, which a retry would repeat, from transient ones."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from recalld_server.domain.errors import RecalldError

# SQLite's primary result codes SQLITE_ERROR, TOOBIG, MISMATCH, MISUSE and RANGE.
SQLITE = frozenset({1, 18, 20, 21, 25})
# SQLSTATE classes: feature not supported, cardinality, data, syntax or access rule, program limit exceeded.
POSTGRES = ("0A", "21", "22", "42", "54")
CANCELED = "57014"  # query_canceled; here statement_timeout is the only cause that reaches a caller


class StatementRefused(RecalldError):
    """The database refused a statement of this server and would refuse it again. The log has its message."""


def refused_by_sqlite(error: DBAPIError) -> bool:
    """Whether the statement itself is wrong. An error without a code comes from the driver, before SQLite ran it."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is None or code & 0xFF in SQLITE


def refused_by_postgres(error: DBAPIError) -> bool:
    """Whether the statement itself is wrong.

    An error without SQLSTATE comes from the driver; it counts if the connection still works.
    """
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return error.statement is not None and not error.connection_invalidated
    return str(state).startswith(POSTGRES)


def canceled(error: DBAPIError) -> bool:
    """Whether PostgreSQL cancelled the statement because it ran too long."""
    return getattr(error.orig, "sqlstate", None) == CANCELED
