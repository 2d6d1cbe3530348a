"""The engines of a measured server: embedded ones in a temporary folder, or running ones, which are cleaned up."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from recalld.testing import LocalServer, start_local
from recalld_server.bench import BenchError
from recalld_server.wiring.settings import Settings

if TYPE_CHECKING:
    from recalld_server.bench.legs import Engine

EMBEDDED = "embedded"
SCHEMA = "recalld_bench_"


@dataclass(frozen=True, slots=True)
class Engines:
    """Ledger and index, as for `recalld serve`. The index's key and TLS settings come from the environment.

    A ledger in PostgreSQL is created in a temporary schema, so the database may contain other data. Weaviate must not
    have a tenant of the project `default`: its entries would mix with the benchmark's and be deleted with them.
    """

    ledger: str = EMBEDDED
    index: str = EMBEDDED

    @asynccontextmanager
    async def server(self) -> AsyncIterator[tuple[LocalServer, Engine | None]]:
        """Start a new, empty server; yields it and its Weaviate, if any. Raises BenchError, ServerError."""
        async with AsyncExitStack() as opened:
            environment = {"RECALLD_LEDGER": await opened.enter_async_context(_ledger(self.ledger))}
            engine = None
            if self.index != EMBEDDED:
                from recalld_server.bench.legs import empty  # weaviate-client is optional and slow to import

                given = Settings.read({"index": self.index})
                engine = await opened.enter_async_context(empty(given))
                environment |= {
                    "RECALLD_INDEX": given.index,
                    "RECALLD_INDEX_KEY": given.index_key,
                    "RECALLD_INDEX_TLS": str(given.index_tls).lower(),
                }
            yield await opened.enter_async_context(start_local(env=environment)), engine


@asynccontextmanager
async def _ledger(url: str) -> AsyncIterator[str]:
    """Yield the URL of an empty ledger; in PostgreSQL in a temporary schema, which is dropped at the end."""
    if url == EMBEDDED:
        yield url
        return
    try:
        import psycopg
    except ModuleNotFoundError:
        raise BenchError("PostgreSQL needs the extra `fleet`: pip install '.[fleet]'") from None
    schema = SCHEMA + uuid.uuid4().hex[:12]
    try:
        own = _in_schema(url, schema)
    except ValueError:  # its message may quote the URL with the password
        raise BenchError("--ledger must be embedded or postgresql://user:password@host:port/database") from None
    try:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(f"CREATE SCHEMA {schema}".encode())
            try:
                yield own
            finally:
                await connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
    except psycopg.Error as error:
        told = str(error).partition("\n")[0] if isinstance(error, psycopg.OperationalError) else type(error).__name__
        raise BenchError(f"cannot use the database of --ledger: {told}") from None


def _in_schema(url: str, schema: str) -> str:
    """The URL with only this schema in its search path. Raises ValueError if it is not a PostgreSQL URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("not a URL of PostgreSQL")
    query = dict(parse_qsl(parts.query))
    query["options"] = f"{query.get('options', '')} -c search_path={schema}".strip()
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))
