"""How a call ends with a status that is not OK."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from time import monotonic
from typing import Any

import grpc

KEPT = 64  # aborted calls that may wait for the garbage collector; a connection has 256 streams
PAUSE = 0.1  # seconds between two collections of ours

_aborted = 0
_collected = 0.0


async def abort(context: Any, code: grpc.StatusCode, details: str, trailing: Sequence[tuple[str, str | bytes]]) -> None:
    """End the call from within its interceptors. Raises what ends its handler.

    The library keeps the exception in the call's state, and the exception's traceback keeps the call: a cycle, which
    only the garbage collector frees. Until then the call counts among its connection's streams. A connection that has
    too many is refused by the library itself, and then nothing happens that would make the collector run.
    """
    global _aborted, _collected
    _aborted += 1
    if _aborted >= KEPT and (now := monotonic()) - _collected >= PAUSE:
        gc.collect()
        _aborted, _collected = 0, now
    await context.abort(code, details, trailing)


def refuse(context: Any, code: grpc.StatusCode, details: str, trailing: Sequence[tuple[str, str | bytes]]) -> None:
    """End the call when its handler returns, which it does at once. For the outermost interceptor alone: whoever sets
    trailing metadata afterwards would take these away. It leaves no cycle, however many calls are refused.
    """
    context.set_code(code)
    context.set_details(details)
    context.set_trailing_metadata(tuple(trailing))
