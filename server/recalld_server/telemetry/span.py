"""Where the time of a call goes: stages, collected while a call runs, and the observer that counts and traces them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from time import perf_counter
from typing import Protocol


class Observer(Protocol):
    """Whoever keeps figures of stages."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Around one stage. Must not raise anything of its own."""
        ...


_stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)
_inside: ContextVar[list[float] | None] = ContextVar("inside", default=None)  # seconds of stages in the running one
_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


def observe(observer: Observer) -> Token[Observer | None]:
    """From here on, and in tasks made from here, stages are reported to `observer`."""
    return _observer.set(observer)


@contextmanager
def stages() -> Iterator[dict[str, float]]:
    """Collect the stages of what runs inside: name → wall seconds, summed, without those of stages inside a stage."""
    collected: dict[str, float] = {}
    token = _stages.set(collected)
    try:
        yield collected
    finally:
        _stages.reset(token)


@contextmanager
def span(name: str) -> Iterator[None]:
    """Time one stage; see names.py for the names."""
    collected, observer, around = _stages.get(), _observer.get(), _inside.get()
    if collected is not None:
        collected.setdefault(name, 0.0)  # in the order they began
    within = [0.0]
    token = _inside.set(within)
    start = perf_counter()
    try:
        if observer is None:
            yield
        else:
            with observer.stage(name):
                yield
    finally:
        took = perf_counter() - start
        _inside.reset(token)
        if around is not None:
            around[0] += took
        if collected is not None:
            collected[name] += took - within[0]


def current() -> dict[str, float]:
    """What was collected so far; empty where nobody collects."""
    return dict(_stages.get() or {})
