"""Two ways to end a call with a status other than OK."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from time import monotonic
from typing import Any

import grpc

KEPT = 64  # aborted calls after which we run the garbage collector; a connection has 256 streams
PAUSE = 0.1  # shortest time between two of these collections, in seconds

_aborted = 0
_collected = 0.0


async def abort(context: Any, code: grpc.StatusCode, details: str, trailing: Sequence[tuple[str, str | bytes]]) -> None:
    """End the call from an inner interceptor. Always raises: gRPC's exception ends the handler.

    gRPC keeps the exception in the call's state, and the exception's traceback refers to the call: a cycle, which only
    the garbage collector frees. Until then the call counts as a stream of its connection. gRPC itself refuses the calls
    of a connection with too many streams, and then no allocation triggers the collector. So we run it here.
    """
    global _aborted, _collected
    _aborted += 1
    if _aborted >= KEPT and (now := monotonic()) - _collected >= PAUSE:
        gc.collect()
        _aborted, _collected = 0, now
    await context.abort(code, details, trailing)


def refuse(context: Any, code: grpc.StatusCode, details: str, trailing: Sequence[tuple[str, str | bytes]]) -> None:
    """Set the status with which the call ends when its handler returns, which must be at once.

    Only the outermost interceptor may use it, because any later call of `set_trailing_metadata` would replace the
    trailers. Unlike `abort` it creates no reference cycle.
    """
    context.set_code(code)
    context.set_details(details)
    context.set_trailing_metadata(tuple(trailing))
