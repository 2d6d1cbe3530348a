"""Runs computations whose duration grows with the request outside the event loop.

A single thread runs all of them in turn, one time slice each. More threads would not help: Python runs one thread at a
time, and others would wait longer for the interpreter lock. With time slices, a large request delays another one by a
few milliseconds instead of its whole duration.
"""

from __future__ import annotations

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from recalld_server.domain.steps import Steps, advanced

T = TypeVar("T")

LARGE = 4_000  # characters or bytes; reading this much text takes some 4 ms
INLINE = 0.002  # seconds of CPU time on the event loop: enough for most requests, which then need no thread switch
SLICE = 0.005  # seconds of CPU time per slice
REST = 0.001  # seconds of sleep after each slice, for threads that need the interpreter lock for every row of a query

# The switch interval of the interpreter, in seconds. `serve` sets it at its start, other processes with the first
# computation in the thread.
SWITCH = 0.001

_THREAD = ThreadPoolExecutor(1, "recalld-slices", sys.setswitchinterval, (SWITCH,))


async def sliced(steps: Steps[T], size: int = 0) -> T:
    """Run the steps and return their result. Starts on the event loop and moves to the thread after INLINE seconds.

    `size` is the size of the input in characters or bytes; above LARGE the computation starts in the thread. A
    cancelled caller returns at once, and the computation ends with its current slice. Raises the error of the steps.
    """
    ended = advanced(steps, INLINE) if size <= LARGE else None
    loop = asyncio.get_running_loop()
    while ended is None:
        ended = await loop.run_in_executor(_THREAD, _slice, steps)
    return ended[0]


def _slice(steps: Steps[T]) -> tuple[T] | None:
    ended = advanced(steps, SLICE)
    if ended is None:
        time.sleep(REST)
    return ended
