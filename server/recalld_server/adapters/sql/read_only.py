"""Reads a database without any change to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlean
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from recalld_server.domain.errors import LedgerUnavailable, SettingMissing

T = TypeVar("T")
CONNECT_SECONDS = 3


def open_read_only(place: Path | str, work: Callable[[Connection], T]) -> T:
    """Run `work` on a read-only connection to a SQLite file (a path) or a PostgreSQL database (a URL).

    Blocks. Raises LedgerUnavailable with the driver's message, in which a password is masked, and SettingMissing for an
    invalid URL or a missing driver.
    """
    options: dict[str, Any]
    try:
        if isinstance(place, Path):
            url = make_url("sqlite://")
            address = f"file:{quote(str(place.absolute()))}?mode=ro"
            options = {"module": sqlean.dbapi2, "creator": lambda: sqlean.connect(address, uri=True)}
        else:
            url = make_url(place).set(drivername="postgresql+psycopg")
            options = {"connect_args": {"connect_timeout": CONNECT_SECONDS}}
        engine = create_engine(url, poolclass=NullPool, hide_parameters=True, **options)
    except ModuleNotFoundError:
        raise SettingMissing("The PostgreSQL driver is not installed: pip install '.[fleet]'.") from None
    except (ArgumentError, ValueError):
        raise SettingMissing("--ledger is not of the form postgresql://user:password@host:port/database.") from None
    try:
        with engine.connect() as connection:
            return work(connection.execution_options(postgresql_readonly=True))
    except DBAPIError as error:
        raise LedgerUnavailable(_said(error, url.password)) from None
    finally:
        engine.dispose()


def _said(error: DBAPIError, password: str | None) -> str:
    words = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    return words[0].replace(password, "***") if password else words[0]
