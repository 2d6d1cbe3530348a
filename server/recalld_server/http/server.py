"""The HTTP server, which runs in the event loop of the gRPC server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from recalld_server.http.connection import CONNECTIONS, Connection
from recalld_server.http.guard import Guard, Keyed

GRACE = 1  # seconds that running requests get when the server stops


class _Quiet(uvicorn.Server):
    """A uvicorn server that leaves signals to the application, which stops its servers in order.

    `up` is set when the server listens.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """A listening server. `port` is the actual port, also if it was started with port 0."""

    def __init__(self, server: uvicorn.Server, task: asyncio.Task[None], port: int) -> None:
        self._server = server
        self._task = task
        self.port = port

    @classmethod
    async def start(
        cls, host: str, port: int, routes: Sequence[BaseRoute], keyed: Keyed, *, tls: ssl.SSLContext | None = None
    ) -> HttpServer:
        """Start to listen, with HTTPS if `tls` is given. `Guard` applies while `keyed` returns False.

        Raises OSError if the port cannot be bound.
        """
        listening = _bind(host, port)
        app: Any = Guard(Starlette(routes=list(routes)), keyed)
        config = uvicorn.Config(
            app,
            http=Connection,
            access_log=False,
            log_config=None,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            ws="none",
            ssl_context_factory=(lambda *_: tls) if tls else None,
            limit_concurrency=CONNECTIONS + 1,  # beyond it uvicorn answers 503, which happens only if none is idle
            timeout_graceful_shutdown=GRACE,
        )
        server = _Quiet(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        await server.up.wait()
        return cls(server, task, listening.getsockname()[1])

    async def stop(self) -> None:
        """Accept no more connections and give running requests GRACE seconds."""
        self._server.should_exit = True
        await self._task


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening
