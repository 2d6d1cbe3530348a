"""The guard of development mode: until the first API key exists, the HTTP server refuses web pages and proxies."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
Keyed = Callable[[], Awaitable[bool]]  # returns whether an API key was ever created

# Web pages may send these content types to other origins without a preflight request.
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")


class Guard:
    """ASGI middleware for the time without API keys.

    It answers 403 to requests for another host than this machine, from a foreign origin or through a proxy, and 415 to
    simple forms. Once an API key exists it passes everything, because probes and scrapers may use any host name.
    """

    def __init__(self, app: App, keyed: Keyed) -> None:
        self._app = app
        self._keyed = keyed

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (refusal := _refusal(scope)) and not await self._keyed():
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _refusal(scope: Scope) -> PlainTextResponse | None:
    headers = [(key.decode("latin-1").lower(), value.decode("latin-1")) for key, value in scope["headers"]]
    hosts = [value for key, value in headers if key == "host"]
    origins = [value for key, value in headers if key == "origin"]
    if len(hosts) != 1 or not local(_name(f"//{hosts[0]}")):
        return PlainTextResponse("While no API key exists, the Host header must name localhost.\n", 403)
    if any(not local(_name(origin)) for origin in origins):
        return PlainTextResponse("While no API key exists, this server refuses web pages of other origins.\n", 403)
    if any(key in ("forwarded", "via") or key.startswith("x-forwarded-") for key, _ in headers):
        return PlainTextResponse("While no API key exists, this server refuses requests through a proxy.\n", 403)
    if any(key == "content-type" and value.split(";")[0].strip().lower() in FORMS for key, value in headers):
        return PlainTextResponse("The content type of a request body must be application/json.\n", 415)
    return None


def _name(url: str) -> str:
    """The host of a URL without its port; empty if the URL is invalid or has no host."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def local(host: str) -> bool:
    """Whether a host name is `localhost` or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
