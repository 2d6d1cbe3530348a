"""Word of commits, so that who follows the ledger need not wait for the next look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class CommitNotifications:
    """Wakes those who follow a project here, and has other servers told. A hint only: waiters look by themselves too.

    Take `next` before reading and wait for it afterwards; then no commit falls between the two.
    """

    def __init__(self, announce: Callable[[str], None] = lambda project: None) -> None:
        self._announce = announce
        self._waited: dict[str, asyncio.Event] = {}

    def next(self, project: str) -> asyncio.Event:
        """Set by the next word of the project."""
        return self._waited.setdefault(project, asyncio.Event())

    def notify(self, project: str) -> None:
        """Something was committed here."""
        self.wake(project)
        self._announce(project)

    def wake(self, project: str) -> None:
        """Something was committed, here or elsewhere."""
        if event := self._waited.pop(project, None):
            event.set()

    def wake_all(self) -> None:
        """Anything may have been committed, or waiting is over."""
        for project in list(self._waited):
            self.wake(project)
