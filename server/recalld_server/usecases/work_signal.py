"""Tells the worker of this server what callers did to its queue. Other servers see it when they look."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(eq=False)
class _Held:
    project: str
    subject: str
    recheck: asyncio.Event = field(default_factory=asyncio.Event)


class WorkSignal:
    """Between the use cases that change the queue of operations and the worker that serves it, in one process."""

    def __init__(self) -> None:
        self.added = asyncio.Event()  # the worker clears it
        self._held: set[_Held] = set()

    def add(self) -> None:
        """There is new work."""
        self.added.set()

    def recheck(self, project: str, subject: str = "") -> None:
        """Work on a subject, or all work of a project, may have to stop."""
        for held in self._held:
            if held.project == project and subject in ("", held.subject):
                held.recheck.set()

    @contextmanager
    def holding(self, project: str, subject: str) -> Iterator[asyncio.Event]:
        """While work is under way: an event that is set when it may have to stop. Whoever waits for it clears it."""
        held = _Held(project, subject)
        self._held.add(held)
        try:
            yield held.recheck
        finally:
            self._held.remove(held)
