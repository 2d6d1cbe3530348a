"""Statistics for PostgreSQL's planner, in a database it has not looked at yet.

Autovacuum comes by about once a minute. Until then the planner takes every project for a few rows, and reads all of it
again for each candidate of a search: among 10,000 new memories that took half a second, afterwards ten milliseconds.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between looks
# Whether any table has statistics, and whether any has more than a few rows.
LOOK = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_stats WHERE schemaname = current_schema()),
        EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
            AND pg_relation_size(oid) >= 65536)"""
TABLES = "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = current_schema()"


class Statistics:
    """Has them made once, as soon as there is something to count. For use by many threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._made = False
        self._next = 0.0

    def look(self) -> None:
        """After a change: make what is missing. Blocks a moment, at most once a second, until that is done."""
        with self._lock:
            now = time.monotonic()
            if self._made or now < self._next:
                return
            self._next = now + PAUSE
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                known, grown = connection.exec_driver_sql(LOOK).one()
                if grown and not known:
                    connection.exec_driver_sql("ANALYZE " + connection.exec_driver_sql(TABLES).scalar_one())
                    log.info("statistics made", extra={"store": "ledger"})
                self._made = known or grown
        except DBAPIError as error:  # autovacuum makes them as well, later
            log.info("statistics not made", extra={"store": "ledger", "error": type(error.orig).__name__})
