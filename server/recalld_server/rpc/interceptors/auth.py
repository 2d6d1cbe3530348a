"""Who is calling, and what they may touch."""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any
from urllib.parse import unquote, urlsplit

from recalld_server.domain.errors import OriginRefused
from recalld_server.domain.memory import Access, Scope
from recalld_server.rpc.interceptors.around import Details, Interceptor, metadata

Authenticator = Callable[[str, Mapping[str, str], str], Awaitable[Access | None]]  # method, metadata, peer

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
    """Asks the authenticator before the call and keeps its answer for the handler."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        if details.method.startswith(OPEN):
            yield
            return

        async def ask() -> Access:
            return await self._authenticator(details.method, metadata(details), context.peer()) or Access("")

        token, again = _access.set(await ask()), _again.set(ask)
        try:
            yield
        finally:
            _again.reset(again)
            _access.reset(token)


async def development(method: str, given: Mapping[str, str], peer: str) -> Access:
    """While no key was ever created: anyone on this machine, but no web page and nobody behind a proxy."""
    origin = given.get("origin")
    if origin is not None and not _local(urlsplit(origin).hostname or ""):
        raise OriginRefused(origin=origin[:100])
    if any(key in ("forwarded", "via") or key.startswith("x-forwarded-") for key in given):
        raise OriginRefused("Without API keys this server does not answer through a proxy.")
    if not _own(peer):
        raise OriginRefused
    return Access("default", Scope(), "anonymous")


def _own(peer: str) -> bool:
    """Peers look like ipv4:127.0.0.1:5000, ipv6:%5B::1%5D:5000 or unix:…"""
    kind, _, address = unquote(peer).partition(":")
    return kind == "unix" or _local(address.rpartition(":")[0].strip("[]"))


def _local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
