"""Signals to the worker of this server that the queue of operations has changed. Other servers find out by polling."""

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
    """Connects the use cases that change the queue of operations with the worker of the same process."""

    def __init__(self) -> None:
        self.added = asyncio.Event()  # the worker clears it
        self._held: set[_Held] = set()

    def add(self) -> None:
        """Signal new operations."""
        self.added.set()

    def recheck(self, project: str, subject: str = "") -> None:
        """Tell running work on a subject, or all work of a project, to check whether it has to stop."""
        for held in self._held:
            if held.project == project and subject in ("", held.subject):
                held.recheck.set()

    @contextmanager
    def holding(self, project: str, subject: str) -> Iterator[asyncio.Event]:
        """Register running work; the event is set when it must check whether to stop. The waiter clears the event."""
        held = _Held(project, subject)
        self._held.add(held)
        try:
            yield held.recheck
        finally:
            self._held.remove(held)
