"""Where the time of a call goes: stages, collected while a call runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

_stages: ContextVar[dict[str, float] | None] = ContextVar("stages", default=None)


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
    collected = _stages.get()
    start = perf_counter()
    try:
        yield
    finally:
        if collected is not None:
            collected[name] = collected.get(name, 0.0) + perf_counter() - start


def current() -> dict[str, float]:
    """What was collected so far; empty where nobody collects."""
    return dict(_stages.get() or {})
