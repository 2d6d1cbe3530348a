"""The stages of a call: their time is collected while the call runs, and an observer measures and traces them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from time import perf_counter
from typing import Protocol


class Observer(Protocol):
    """Receives the stages; `telemetry.instruments.Instruments` implements it."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """A context manager that measures one stage. It must not raise exceptions of its own."""
        ...


_stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)
_inside: ContextVar[list[float] | None] = ContextVar("inside", default=None)  # seconds of the current stage's children
_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


def observe(observer: Observer) -> Token[Observer | None]:
    """Report stages to `observer`, in the current context and in tasks created from it."""
    return _observer.set(observer)


@contextmanager
def stages() -> Iterator[dict[str, float]]:
    """Collect the stages within the context: name → sum of wall-clock seconds, without the time of nested stages."""
    collected: dict[str, float] = {}
    token = _stages.set(collected)
    try:
        yield collected
    finally:
        _stages.reset(token)


@contextmanager
def span(name: str) -> Iterator[None]:
    """Measure one stage. `metric_names.STAGES` lists the names."""
    collected, observer, around = _stages.get(), _observer.get(), _inside.get()
    if collected is not None:
        collected.setdefault(name, 0.0)  # keeps the stages in the order in which they start
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
    """The stages collected so far; empty outside of `stages`."""
    return dict(_stages.get() or {})
