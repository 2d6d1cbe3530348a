"""The HTTP routes for operators: liveness, readiness and metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

Ready = Callable[[], Awaitable[Mapping[str, bool]]]
Figures = Callable[[], Awaitable[bytes]]

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def routes(ready: Ready, figures: Figures) -> list[Route]:
    """The routes `/healthz` (liveness), `/readyz` (readiness as JSON, 503 if anything is missing) and `/metrics`."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        found = await ready()
        return JSONResponse(dict(found), 200 if all(found.values()) else 503)

    async def metrics(_: Request) -> Response:
        return Response(await figures(), media_type=PROMETHEUS)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
