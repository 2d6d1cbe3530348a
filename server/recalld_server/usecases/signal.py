"""Word of commits inside this process, so that who follows the ledger need not wait for the next look."""

from __future__ import annotations

import asyncio


class Committed:
    """Wakes those who follow a project. A hint only: other servers commit too, so waiters look by themselves as well.

    Take `next` before reading and wait for it afterwards; then no commit falls between the two.
    """

    def __init__(self) -> None:
        self._waited: dict[str, asyncio.Event] = {}

    def next(self, project: str) -> asyncio.Event:
        """Set by the next `notify` of the project."""
        return self._waited.setdefault(project, asyncio.Event())

    def notify(self, project: str) -> None:
        """Something was committed."""
        if event := self._waited.pop(project, None):
            event.set()

    def notify_all(self) -> None:
        """Wake everybody."""
        for project in list(self._waited):
            self.notify(project)
