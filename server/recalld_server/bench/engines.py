"""The engines of a measured server: its own in a new folder, or some that run already and are left as they were."""

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
    """Where ledger and index are, as `recalld serve` takes them. An index's key and TLS come from the environment.

    A ledger in PostgreSQL gets a schema of its own, so the database may hold others. Weaviate must have no tenant of
    the project that a new server has: its entries would be mixed with the measurement's, and dropped with them.
    """

    ledger: str = EMBEDDED
    index: str = EMBEDDED

    @asynccontextmanager
    async def server(self) -> AsyncIterator[tuple[LocalServer, Engine | None]]:
        """A new server with nothing in it, and its Weaviate if it has one. Raises BenchError, ServerError."""
        async with AsyncExitStack() as opened:
            environment = {"RECALLD_LEDGER": await opened.enter_async_context(_ledger(self.ledger))}
            engine = None
            if self.index != EMBEDDED:
                from recalld_server.bench.legs import empty  # weaviate-client is an extra, and slow to import

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
    """The URL of an empty ledger."""
    if url == EMBEDDED:
        yield url
        return
    try:
        import psycopg
    except ModuleNotFoundError:
        raise BenchError("a ledger in PostgreSQL needs more than is installed: pip install '.[fleet]'") from None
    schema = SCHEMA + uuid.uuid4().hex[:12]
    try:
        own = _in_schema(url, schema)
    except ValueError:  # its text may quote the URL
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
        raise BenchError(f"--ledger can't be used: {told}") from None


def _in_schema(url: str, schema: str) -> str:
    """The URL with a search path of this schema alone. Raises ValueError for what is no URL of PostgreSQL."""
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("not a URL of PostgreSQL")
    query = dict(parse_qsl(parts.query))
    query["options"] = f"{query.get('options', '')} -c search_path={schema}".strip()
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))
