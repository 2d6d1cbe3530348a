"""Commit notifications: they wake readers of the ledger before their next poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class CommitNotifications:
    """Wakes the waiters of a project on this server and announces its commits to other servers.

    Notifications are hints and may be lost, so waiters also poll. Call `next` before reading the ledger and wait for
    the returned event afterwards, so that no commit is missed in between.
    """

    def __init__(self, announce: Callable[[str], None] = lambda project: None) -> None:
        self._announce = announce
        self._waited: dict[str, asyncio.Event] = {}

    def next(self, project: str) -> asyncio.Event:
        """Return the event that the next notification of the project sets."""
        return self._waited.setdefault(project, asyncio.Event())

    def notify(self, project: str) -> None:
        """Wake the waiters after a commit on this server and announce it to the other servers."""
        self.wake(project)
        self._announce(project)

    def wake(self, project: str) -> None:
        """Wake the waiters of the project after a commit on this or another server."""
        if event := self._waited.pop(project, None):
            event.set()

    def wake_all(self) -> None:
        """Wake the waiters of all projects: notifications may have been lost, or the server stops."""
        for project in list(self._waited):
            self.wake(project)
