"""Long computations in steps: a generator that yields where it may pause, and returns what was computed."""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import thread_time
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Yields between steps of a few milliseconds at most; returns the result."""


def once(work: Callable[[], T]) -> Steps[T]:
    """Work that is short enough for one step."""
    yield from ()
    return work()


def completed(steps: Steps[T]) -> T:
    """The result, computed at once."""
    while (ended := advanced(steps, 3600.0)) is None:
        pass
    return ended[0]


def advanced(steps: Steps[T], seconds: float) -> tuple[T] | None:
    """Compute for about `seconds` of processor time, one step at least: (the result,), or None if steps are left."""
    until = thread_time() + seconds
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return (end.value,)
        if thread_time() >= until:
            return None
