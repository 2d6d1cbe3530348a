"""All access to Weaviate: its address, a connection on demand, deadlines, and the mapping of errors."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

import httpx
from grpc.aio import AioRpcError, Channel
from weaviate import WeaviateAsyncClient, use_async_with_custom
from weaviate.auth import Auth
from weaviate.classes.init import AdditionalConfig, Timeout
from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateBaseError
from weaviate.proto.v1 import search_get_pb2, weaviate_pb2_grpc

from recalld_server.adapters.index.weaviate.connection import ConnectionMonitor
from recalld_server.domain.errors import IndexUnavailable, SettingMissing

T = TypeVar("T")
log = logging.getLogger(__name__)

FORM = "weaviate://HOST[:PORT][?grpc_port=PORT&replication=COPIES]"
NEEDED = (1, 38)  # the oldest supported version of Weaviate
CHECK = 5.0  # seconds for each request of `check`
QUIET = 60.0  # seconds for which a failure of the same kind is not logged again
OPENING = 2.0  # seconds for the driver's first request to the server
LONGEST = 60.0  # upper limit of the driver for any call, in seconds; each call has its own shorter deadline
# Parts of Weaviate's messages for a missing collection or tenant. It has no error code for this.
ABSENT = ("tenant not found", "could not find class", "not present in schema", "class not found")


class Absent(Exception):
    """The collection or the tenant does not exist."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of Weaviate. `replication` is the replication factor of new collections."""

    host: str
    port: int = 8080
    grpc_port: int = 50051
    replication: int = 1
    tls: bool = False
    key: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str, key: str = "", *, tls: bool = False) -> Address:
        """Parse a URL of the form `FORM`. Raises SettingMissing if it is invalid."""
        try:
            parts = urlsplit(url)
            given = {name: int(value) for name, value in parse_qsl(parts.query, strict_parsing=bool(parts.query))}
            if not given.keys() <= {"grpc_port", "replication"}:
                raise ValueError
            if parts.scheme != "weaviate" or not parts.hostname or parts.path.strip("/") or parts.username:
                raise ValueError
            found = cls(parts.hostname, parts.port or 8080, tls=tls, key=key, **given)
            ports = (found.port, found.grpc_port)  # the driver requires two different ports
            if not (0 < found.grpc_port < 65536 and len(set(ports)) == 2 and found.replication > 0):
                raise ValueError
        except ValueError:
            raise SettingMissing(f"--index must be embedded or {FORM}; keys go into RECALLD_INDEX_KEY.") from None
        return found

    def __str__(self) -> str:
        return f"weaviate://{self.host}:{self.port}?grpc_port={self.grpc_port}"


class Client:
    """Calls Weaviate. Must be created inside the event loop that uses it."""

    def __init__(self, address: Address) -> None:
        # The driver logs whole objects, memory texts included, when one of them is refused.
        logging.getLogger("weaviate-client").setLevel(logging.CRITICAL + 1)
        self.address = address
        self._driver = use_async_with_custom(
            http_host=address.host,
            http_port=address.port,
            http_secure=address.tls,
            grpc_host=address.host,
            grpc_port=address.grpc_port,
            grpc_secure=address.tls,
            auth_credentials=Auth.api_key(address.key) if address.key else None,
            additional_config=AdditionalConfig(timeout=Timeout(init=OPENING, query=LONGEST, insert=LONGEST)),
            skip_init_checks=True,  # one of them looks up the newest version on the internet
        )
        self._credentials = (("authorization", f"Bearer {address.key}"),) if address.key else ()
        self._link = ConnectionMonitor(f"{address.host}:{address.grpc_port}", tls=address.tls)
        self._stub: Any = None
        self._opening = asyncio.Lock()
        self._logged: dict[tuple[str, str], float] = {}  # (kind, code) of a failure: when it was logged last

    @property
    def outage_count(self) -> int:
        """How many times the connection was lost so far."""
        return self._link.outage_count

    @property
    def away(self) -> bool:
        """Whether the connection is known to be down."""
        return self._link.away

    async def call(self, work: Callable[[WeaviateAsyncClient], Awaitable[T]], seconds: float) -> T:
        """Run `work` with the driver, for at most `seconds`. Raises only IndexUnavailable and Absent."""
        async with self._reaching(seconds):
            return await work(await self._opened())

    async def search(
        self, request: search_get_pb2.SearchRequest, seconds: float
    ) -> Sequence[search_get_pb2.SearchResult]:
        """Send a search without the driver, whose layers take as long as the search itself. Raises like `call`."""
        async with self._reaching(seconds) as channel:
            if self._stub is None:  # created once, because there is only one channel
                self._stub = weaviate_pb2_grpc.WeaviateStub(channel)  # type: ignore[no-untyped-call]
            reply = await self._stub.Search(request, metadata=self._credentials)
            return cast(Sequence[search_get_pb2.SearchResult], reply.results)

    @asynccontextmanager
    async def _reaching(self, seconds: float) -> AsyncIterator[Channel]:
        try:
            async with asyncio.timeout(seconds):
                channel = await self._link.up()
                if channel is None:
                    raise IndexUnavailable
                yield channel
        except (TimeoutError, OSError, httpx.HTTPError) as error:
            raise self._unavailable(error) from None
        except (AioRpcError, WeaviateBaseError) as error:
            if _absent(str(error)):
                raise Absent from None
            raise self._unavailable(error) from None

    async def check(self) -> None:
        """Check HTTP, the key, the version and gRPC, in this order.

        Raises SettingMissing and IndexUnavailable with a message about the cause; see ports.index.Index.check.
        """
        version = await self._version()
        try:
            numbers = tuple(int(part) for part in version.split(".")[:2])
        except ValueError:
            raise SettingMissing(f"{self._http} answers, but not as Weaviate does; check --index.") from None
        needed = ".".join(map(str, NEEDED))
        if numbers < NEEDED:
            raise SettingMissing(f"Weaviate at {self._http} is version {version}; {needed} or later is needed.")
        channel = None
        with suppress(TimeoutError):
            async with asyncio.timeout(CHECK):
                channel = await self._link.up()
        if channel is None:
            raise SettingMissing(
                f"Weaviate answers HTTP at {self._http}, but nothing answers gRPC at {self._link.target}. "
                "Set the port with ?grpc_port=PORT in --index; the default is 50051."
            )

    @property
    def _http(self) -> str:
        return f"{'https' if self.address.tls else 'http'}://{self.address.host}:{self.address.port}"

    async def _version(self) -> str:
        """The version that Weaviate reports; empty if the response is not Weaviate's. Raises like `check`."""
        headers = {"authorization": f"Bearer {self.address.key}"} if self.address.key else {}
        try:
            async with httpx.AsyncClient(timeout=CHECK) as http:
                answer = await http.get(f"{self._http}/v1/meta", headers=headers)
        except (httpx.HTTPError, OSError) as error:
            raise IndexUnavailable(f"Nothing answers at {self._http} ({type(error).__name__}).") from None
        if answer.status_code in (401, 403):
            key = "refuses the key in RECALLD_INDEX_KEY" if self.address.key else "needs a key in RECALLD_INDEX_KEY"
            raise SettingMissing(f"Weaviate at {self._http} {key} (HTTP {answer.status_code}).")
        if answer.status_code >= 500:
            raise IndexUnavailable(f"Weaviate at {self._http} is not ready (HTTP {answer.status_code}).")
        try:
            return str(answer.json()["version"])
        except (ValueError, KeyError, TypeError):
            return ""

    def _unavailable(self, error: Exception) -> IndexUnavailable:
        """Log a failure, at most once a minute per kind and code, and return the error for the caller.

        The message of Weaviate is not logged, because it may quote texts of a request.
        """
        code = error.status_code if isinstance(error, UnexpectedStatusCodeError) else None
        if isinstance(error, AioRpcError):
            code = error.code().name
        kind, now = (type(error).__name__, str(code)), time.monotonic()
        if now - self._logged.get(kind, -QUIET) >= QUIET:
            self._logged[kind] = now
            log.warning("weaviate failed", extra={"error": kind[0], "status": code})
        return IndexUnavailable()

    async def close(self) -> None:
        await self._link.close()
        await self._driver.close()

    async def _opened(self) -> WeaviateAsyncClient:
        if not self._driver.is_connected():
            async with self._opening:
                if not self._driver.is_connected():
                    await self._driver.connect()
        return self._driver


def refuse(messages: Iterable[str]) -> NoReturn:
    """Raise the error for a request with refused objects: Absent if the collection or tenant is missing, else
    IndexUnavailable."""
    if any(map(_absent, messages)):
        raise Absent
    log.warning("weaviate refused objects")
    raise IndexUnavailable


def _absent(message: str) -> bool:
    return any(sign in message for sign in ABSENT)
