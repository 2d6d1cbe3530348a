"""Requests checked and made into commands; large ones away from the event loop."""

from __future__ import annotations

from typing import Any, TypeVar

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.steps import Steps
from recalld_server.rpc.parse.validate import checking

T = TypeVar("T")


async def parsed(request: Any, command: Steps[T], *, unary: bool = False) -> T:
    """What `command` makes of a request that has passed its checks; raises as `validate.check` does."""
    return await sliced(_parsing(request, command, unary), request.ByteSize())


def _parsing(request: Any, command: Steps[T], unary: bool) -> Steps[T]:
    yield from checking(request, unary=unary)
    yield
    return (yield from command)
