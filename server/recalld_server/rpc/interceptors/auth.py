"""Authentication: determines the API key of each call and the project and pin that the call may access."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote, urlsplit

import grpc

from recalld_server.domain.errors import (
    KeyExpired,
    KeyInvalid,
    KeyMissing,
    KeyRevoked,
    OriginRefused,
    RecalldError,
    RoleInsufficient,
)
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access
from recalld_server.domain.projects import DEFAULT_PROJECT
from recalld_server.rpc.interceptors.base import Continuation, Details, Handler, Interceptor, metadata, wrapped

# Called with the method and the metadata of a call. Returns its API key (in development mode one without an id) or
# raises the reason for the refusal.
Authenticator = Callable[[str, Mapping[str, str]], Awaitable[ApiKey]]

RECHECK = 5.0  # seconds between checks of the key of a running call: the calls of a revoked key end within 15 s
ENDED = (KeyMissing, KeyInvalid, KeyExpired, KeyRevoked, RoleInsufficient)  # an unavailable ledger ends no call
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")  # any web page can send these
OPEN = ("/grpc.health.v1.", "/grpc.reflection.")  # need no key, because they reveal no data
_key: ContextVar[ApiKey | None] = ContextVar("key", default=None)
_access: ContextVar[Access] = ContextVar("access")


def access() -> Access:
    """The project, pin and principal of the running call."""
    return _access.get()


def caller() -> ApiKey | None:
    """The key of the running call. It has no id in development mode; None if the call needs no key or is refused."""
    return _key.get()


class Auth(Interceptor):
    """Authenticates a call before its request is received, and again every RECHECK seconds while it runs."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler | None:
        """See grpc.aio.ServerInterceptor. It runs in the call's own task, so the context variables are the call's."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN):
            return handler
        given = metadata(details)
        try:
            key = await self._authenticator(details.method, given)
        except Exception as refusal:  # noqa: BLE001 - the Errors interceptor converts it
            return _refusing(handler, refusal)
        _key.set(key)
        _access.set(Access(key.project, key.pin, key.id))
        return wrapped(handler, lambda context: self._around(details.method, given, key, context))

    @asynccontextmanager
    async def _around(self, method: str, given: Mapping[str, str], key: ApiKey, context: Any) -> AsyncIterator[None]:
        if not key.id and not _own(context.peer()):
            raise OriginRefused
        standing = _Standing(lambda: self._authenticator(method, given))
        try:
            yield
        except asyncio.CancelledError:
            standing.raise_refusal()
            raise
        finally:
            standing.end()


class _Standing:
    """Authenticates a running call again and again, and cancels it when its key is no longer valid."""

    def __init__(self, ask: Callable[[], Awaitable[ApiKey]]) -> None:
        self._ask = ask
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task(self._loop)
        self._asking: asyncio.Task[None] | None = None
        self._refusal: RecalldError | None = None
        self._timer = self._loop.call_later(RECHECK, self._look)

    def end(self) -> None:
        """Stop the checks."""
        self._timer.cancel()
        if self._asking:
            self._asking.cancel()

    def raise_refusal(self) -> None:
        """Raise the refusal if this object cancelled the call and its caller did not cancel it as well."""
        if self._refusal is not None and self._task is not None and not self._task.uncancel():
            raise self._refusal from None

    def _look(self) -> None:
        self._asking = self._loop.create_task(self._asked())

    async def _asked(self) -> None:
        try:
            await self._ask()
        except ENDED as refusal:
            self._refusal = refusal
            if self._task is not None:
                self._task.cancel()
            return
        except RecalldError:
            pass  # the ledger is unavailable; the call itself notices that when it reads the ledger
        self._timer = self._loop.call_later(RECHECK, self._look)


def _refusing(handler: Handler, refusal: Exception) -> Handler:
    """A handler that raises at once. It takes a request stream, because gRPC receives no message before that runs."""

    async def refuse(requests: Any, context: Any) -> Any:
        raise refusal

    make = grpc.stream_stream_rpc_method_handler if handler.response_streaming else grpc.stream_unary_rpc_method_handler
    return make(refuse, response_serializer=handler.response_serializer)


async def development(method: str, given: Mapping[str, str]) -> ApiKey:
    """The authenticator of development mode: admits callers on this machine, but no web pages and no proxies.

    Development mode lasts until the first key is created. `Auth` refuses peers on other machines. gRPC does not expose
    `:authority`, so only a `host` header can be checked; web pages, which the check is for, cannot use HTTP/2 without
    TLS. Raises OriginRefused.
    """
    host = given.get("host")
    if host is not None and not _local(_host(f"//{host}")):
        raise OriginRefused(header="host")
    origin = given.get("origin")
    if origin is not None and not _local(_host(origin)):
        raise OriginRefused(header="origin")
    if proxied := [key for key in given if key in ("forwarded", "via") or key.startswith("x-forwarded-")]:
        raise OriginRefused("While no API key exists, this server refuses calls through a proxy.", header=proxied[0])
    if given.get("content-type", "").partition(";")[0] in FORMS:
        raise OriginRefused(header="content-type")
    return ApiKey("", DEFAULT_PROJECT, Role.ADMIN)


def _own(peer: str) -> bool:
    """Whether a peer is on this machine. Peers have the forms ipv4:127.0.0.1:5000, ipv6:%5B::1%5D:5000 and unix:…"""
    kind, _, address = unquote(peer).partition(":")
    return kind == "unix" or _local(address.rpartition(":")[0].strip("[]"))


def _host(url: str) -> str:
    if "," in url:  # several headers, joined by commas
        return ""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
