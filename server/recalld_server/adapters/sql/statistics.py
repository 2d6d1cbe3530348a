"""Runs ANALYZE once in a PostgreSQL database that has no planner statistics yet.

Autovacuum runs about once a minute. Until then the planner assumes that every project has a few rows and reads the
whole project again for each candidate of a search. With 10,000 new memories a search took half a second before ANALYZE
and ten milliseconds after it.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

log = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between two checks
# Whether any table has statistics, and whether any table is larger than a few rows (64 KiB).
LOOK = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_stats WHERE schemaname = current_schema()),
        EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
            AND pg_relation_size(oid) >= 65536)"""
TABLES = "SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = current_schema()"


class Statistics:
    """Runs ANALYZE once, as soon as a table has grown. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._made = False
        self._next = 0.0

    def look(self) -> None:
        """Run ANALYZE if it is needed. Call it after each change.

        Queries the database at most once a second, and no more once statistics exist.
        """
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
                    log.info("planner statistics collected", extra={"store": "ledger"})
                self._made = known or grown
        except DBAPIError as error:  # harmless: autovacuum collects them later
            log.info("planner statistics not collected", extra={"store": "ledger", "error": type(error.orig).__name__})
