"""Which errors of a database can go away by themselves, and which will come again at every try."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from recalld_server.domain.errors import RecalldError

# SQLite's primary result codes: an error in the statement, too big, a wrong type, misuse, a parameter out of range.
SQLITE = frozenset({1, 18, 20, 21, 25})
# PostgreSQL's classes: feature not supported, cardinality, data, syntax or access rule, limits of the program.
POSTGRES = ("0A", "21", "22", "42", "54")
CANCELED = "57014"  # by statement_timeout, as nobody else cancels what runs here


class StatementRefused(RecalldError):
    """The database refuses a statement of this server, and would again. The log has its words."""


def refused_by_sqlite(error: DBAPIError) -> bool:
    """Whether it is the statement that is wrong, by SQLite or by its driver before SQLite was asked."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is None or code & 0xFF in SQLITE


def refused_by_postgres(error: DBAPIError) -> bool:
    """Whether it is the statement that is wrong, by PostgreSQL or by the driver, on a connection that still works."""
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return error.statement is not None and not error.connection_invalidated
    return str(state).startswith(POSTGRES)


def canceled(error: DBAPIError) -> bool:
    """Whether PostgreSQL ended the statement because it took too long."""
    return getattr(error.orig, "sqlstate", None) == CANCELED
