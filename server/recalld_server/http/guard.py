"""While no API key exists: its own machine is answered, web pages and proxies are not (design, section 10)."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
Keyed = Callable[[], Awaitable[bool]]  # whether an API key was ever created

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")  # what a page may send unasked


class Guard:
    """Answers 403 to what does not come straight from this machine, 415 to simple forms, until there are keys.

    From then on probes and scrapers ask by whatever name the server has for them.
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
        return PlainTextResponse("Without API keys this server answers to localhost only.\n", 403)
    if any(not local(_name(origin)) for origin in origins):
        return PlainTextResponse("Without API keys this server answers no web page of another origin.\n", 403)
    if any(key in ("forwarded", "via") or key.startswith("x-forwarded-") for key, _ in headers):
        return PlainTextResponse("Without API keys this server does not answer through a proxy.\n", 403)
    if any(key == "content-type" and value.split(";")[0].strip().lower() in FORMS for key, value in headers):
        return PlainTextResponse("A body must be application/json.\n", 415)
    return None


def _name(url: str) -> str:
    """The host of a URL without its port; empty if it has none or is no URL."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def local(host: str) -> bool:
    """Whether a name means this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
