"""Computations that grow with a request, kept away from the event loop.

One thread computes all of them in turn, a slice of time each. One, because Python runs one thread at a time: more of
them would only make everybody else wait longer for the interpreter. Slices, so that a large request delays another
large one by a few milliseconds and not until it has ended.
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
INLINE = 0.002  # seconds of processor time on the event loop: most requests need no more, and no change of threads
SLICE = 0.005  # seconds of processor time
REST = 0.001  # seconds after each slice: threads that wait for the interpreter at every row of a query get on in it

# Seconds after which Python lets another thread on: in `serve` from the start, else from the first such computation.
SWITCH = 0.001

_THREAD = ThreadPoolExecutor(1, "recalld-slices", sys.setswitchinterval, (SWITCH,))


async def sliced(steps: Steps[T], size: int = 0) -> T:
    """Compute. Starts on the event loop, and goes on in the thread unless it ends within INLINE.

    `size` is how much there is to read, in characters or bytes: beyond LARGE nothing is done on the event loop.
    A caller that is cancelled leaves at once; the computation ends with its slice. Raises what the steps raise.
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
