"""Who is calling, and what they may touch."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit

from recalld_server.domain.errors import OriginRefused
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.projects import DEFAULT_PROJECT
from recalld_server.rpc.interceptors.around import Continuation, Details, Handler, Interceptor, metadata, run, wrapped

Authenticator = Callable[[str, Mapping[str, str], str], Awaitable[Access | None]]  # method, metadata, peer

RECHECK = 5.0  # seconds after which a stream that goes on asks again: a key ends its streams within 15 s
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")  # what any web page may send
OPEN = ("/grpc.health.v1.", "/grpc.reflection.")  # answered to anybody: they tell nothing of anybody
_access: ContextVar[Access] = ContextVar("access")
_again: ContextVar[Callable[[], Awaitable[Access]]] = ContextVar("again")


def access() -> Access:
    """What the running call may touch."""
    return _access.get()


def recheck() -> Callable[[], Awaitable[Access]]:
    """What asks the authenticator again about the running call, for streams that outlive keys."""
    return _again.get()


class Auth(Interceptor):
    """Asks the authenticator before the call and keeps its answer for the handler; a stream's sender is asked again."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler | None:
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN):
            return handler
        return wrapped(self._rechecked(handler, details), lambda context: self.around(details, context))

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        async def ask() -> Access:
            return await self._authenticator(details.method, metadata(details), context.peer()) or Access("")

        token, again = _access.set(await ask()), _again.set(ask)
        try:
            yield
        finally:
            _again.reset(again)
            _access.reset(token)

    def _rechecked(self, handler: Handler, details: Details) -> Handler:
        """The handler, whose incoming stream ends with the caller's right to it: each message is a chance to ask.

        What goes out for long, a watch, asks by itself at its checkpoints (see `recheck`).
        """
        if not handler.request_streaming:
            return handler
        inner = handler.stream_unary or handler.stream_stream

        async def checked(messages: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            due = monotonic() + RECHECK
            async for message in messages:
                if monotonic() >= due:
                    await self._authenticator(details.method, metadata(details), context.peer())
                    due = monotonic() + RECHECK
                yield message

        async def asked(requests: AsyncIterator[Any], context: Any) -> Any:
            return await run(inner, checked(requests, context), context)

        answered: Handler = handler._replace(**{"stream_unary" if handler.stream_unary else "stream_stream": asked})
        return answered


async def development(method: str, given: Mapping[str, str], peer: str) -> Access:
    """While no key was ever created: anyone on this machine, but no web page and nobody behind a proxy.

    The library keeps `:authority` to itself, so only a `host` header can be looked at; web pages, against whom it
    matters, can't speak HTTP/2 without TLS.
    """
    host = given.get("host")
    if host is not None and not _local(_host(f"//{host}")):
        raise OriginRefused(header="host")
    origin = given.get("origin")
    if origin is not None and not _local(_host(origin)):
        raise OriginRefused(header="origin")
    if proxied := [key for key in given if key in ("forwarded", "via") or key.startswith("x-forwarded-")]:
        raise OriginRefused("Without API keys this server does not answer through a proxy.", header=proxied[0])
    if given.get("content-type", "").partition(";")[0] in FORMS:
        raise OriginRefused(header="content-type")
    if not _own(peer):
        raise OriginRefused
    return Access(DEFAULT_PROJECT, Scope(), "")


def _own(peer: str) -> bool:
    """Peers look like ipv4:127.0.0.1:5000, ipv6:%5B::1%5D:5000 or unix:…"""
    kind, _, address = unquote(peer).partition(":")
    return kind == "unix" or _local(address.rpartition(":")[0].strip("[]"))


def _host(url: str) -> str:
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
