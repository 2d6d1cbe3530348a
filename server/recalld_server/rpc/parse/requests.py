"""Check requests and convert them to commands, large ones in time slices that do not block the event loop."""

from __future__ import annotations

from typing import Any, TypeVar

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.steps import Steps
from recalld_server.rpc.parse.validate import checking

T = TypeVar("T")


async def parsed(request: Any, command: Steps[T], *, unary: bool = False) -> T:
    """Check the request and return the result of `command`. Raises the errors of `validate.check`."""
    return await sliced(_parsing(request, command, unary), request.ByteSize())


def _parsing(request: Any, command: Steps[T], unary: bool) -> Steps[T]:
    yield from checking(request, unary=unary)
    yield
    return (yield from command)
