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
_observer: ContextVar[Observer | None] = ContextVar("observer", default=None)


def observe(observer: Observer) -> Token[Observer | None]:
    """From here on, and in tasks made from here, stages are reported to `observer`."""
    return _observer.set(observer)


@contextmanager
def stages() -> Iterator[dict[str, float]]:
    """Collect the stages of what runs inside: name → wall seconds, summed."""
    collected: dict[str, float] = {}
    token = _stages.set(collected)
    try:
        yield collected
    finally:
        _stages.reset(token)


@contextmanager
def span(name: str) -> Iterator[None]:
    """Time one stage; see names.py for the names."""
    collected, observer = _stages.get(), _observer.get()
    start = perf_counter()
    try:
        if observer is None:
            yield
        else:
            with observer.stage(name):
                yield
    finally:
        if collected is not None:
            collected[name] = collected.get(name, 0.0) + perf_counter() - start


def current() -> dict[str, float]:
    """What was collected so far; empty where nobody collects."""
    return dict(_stages.get() or {})
