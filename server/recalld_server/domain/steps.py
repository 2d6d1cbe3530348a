"""Long computations as steps: generators that yield where they can be paused, and return the result."""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import thread_time
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""A generator that yields between steps of at most a few milliseconds and returns the result."""


def once(work: Callable[[], T]) -> Steps[T]:
    """Wrap work that is short enough for a single step."""
    yield from ()
    return work()


def completed(steps: Steps[T]) -> T:
    """Run all steps without a pause and return the result."""
    while (ended := advanced(steps, 3600.0)) is None:
        pass
    return ended[0]


def advanced(steps: Steps[T], seconds: float) -> tuple[T] | None:
    """Run steps for about `seconds` of CPU time, at least one; return (result,), or None if steps are left."""
    until = thread_time() + seconds
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return (end.value,)
        if thread_time() >= until:
            return None
