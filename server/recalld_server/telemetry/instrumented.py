"""Wrappers that time and trace the calls of a port. The wiring puts them around the adapters."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

from recalld_server.telemetry.instruments import Instruments

P = TypeVar("P")


def instrumented(adapter: P, store: str, instruments: Instruments) -> P:
    """Wrap an adapter: each coroutine method is timed as an operation of `store`; everything else is unchanged."""
    return cast(P, _Store(adapter, store, instruments))


def instrumented_embedder(embedder: P, instruments: Instruments) -> P:
    """Wrap an embedder: each `embed` is timed as a call of its model."""
    return cast(P, _Embedder(embedder, instruments))


class _Store:
    def __init__(self, adapter: Any, store: str, instruments: Instruments) -> None:
        self._adapter = adapter
        self._store = store
        self._instruments = instruments

    def __getattr__(self, name: str) -> Any:
        """Wrap a coroutine method and store the wrapper on the instance, so that each name is looked up once."""
        found = getattr(self._adapter, name)
        if not inspect.iscoroutinefunction(found):
            return found  # not stored, because it may be a property
        timed = self._timed(name, found)
        setattr(self, name, timed)
        return timed

    def _timed(self, name: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @wraps(call)
        async def timed(*args: Any, **kwargs: Any) -> Any:
            with self._instruments.store(self._store, name):
                return await call(*args, **kwargs)

        return timed


class _Embedder:
    def __init__(self, embedder: Any, instruments: Instruments) -> None:
        self._embedder = embedder
        self._instruments = instruments

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    async def embed(self, texts: Sequence[str], **options: Any) -> Any:
        with self._instruments.model(self._embedder.model, len(texts)):
            return await self._embedder.embed(texts, **options)
