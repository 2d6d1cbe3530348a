"""Limits the concurrent calls of one class, with a fair queue across projects.

Normally a class runs up to `crowd` calls at once and queues others, up to `most` running and waiting together. The next
call proves an overload. The project with the longest queue becomes *tight*: all its waiting calls are refused, because
their answers would only come late, and its running and waiting calls together are limited to as many as keep the
processors busy (tight projects share `tight`). It recovers CALM seconds after its last refusal. While several projects
call, each runs at most `tight` calls at once as well, so that a call of another project finds room. The queues of the
projects are served in turn.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from time import monotonic

from recalld_server.domain.errors import Overloaded

log = logging.getLogger(__name__)

CALM = 1.0  # seconds; equal to the retry delay that refused callers get
MOST = 64  # the default of `most`


@dataclass(slots=True)
class Contention:
    """Tells whether several projects call, until CALM seconds after the caller last changed.

    The classes share one instance, except `control`, because their calls share the processors.
    """

    latest: str = ""
    until: float = 0.0

    def called(self, project: str, now: float) -> None:
        """Note a call of a project."""
        if project != self.latest:
            self.until = now + CALM if self.latest else 0.0
            self.latest = project


@dataclass(slots=True)
class Share:
    """The calls of one project. `refused` counts the refusals since the project became tight; 0: it is not tight."""

    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    refused: int = 0
    calm_at: float = 0.0


@dataclass(slots=True)
class ConcurrencyLimiter:
    """Limits the calls of one class.

    `tight` is the number of concurrent calls of tight projects, `crowd` that of all projects, `most` the number of
    running and waiting calls.
    """

    name: str
    tight: int
    crowd: int
    most: int = MOST
    contention: Contention = field(default_factory=Contention)
    running: int = 0
    waiting: int = 0
    _shares: dict[str, Share] = field(default_factory=dict)
    _queues: OrderedDict[str, Share] = field(default_factory=OrderedDict)  # projects with waiting calls, next one first
    _tight: dict[str, Share] = field(default_factory=dict)

    async def enter(self, project: str) -> None:
        """Return when a call of the project may run; call `leave` when it ends. Raises Overloaded."""
        now = monotonic()
        share = self._shares.setdefault(project, Share())
        self.contention.called(project, now)
        if self._tight:
            self._calm(project, now)
        if share.refused and share.running + len(share.waiting) >= self._limit(share, now):
            raise self._refusal(project, share, now)
        if self.running < self.crowd and not share.waiting and share.running < self._limit(share, now):
            self.running += 1
            share.running += 1
            return
        if self.waiting >= self.most - self.crowd:
            self._relieve(project, share, now)
        await self._wait(project, share)

    def leave(self, project: str) -> None:
        """End a call: its slot goes to the next waiting call."""
        share = self._shares[project]
        share.running -= 1
        self.running -= 1
        self._serve()
        self._forget(project, share)

    def _limit(self, share: Share, now: float) -> int:
        """The number of calls of a project that may run at once."""
        if share.refused:
            return max(1, self.tight // len(self._tight))
        return self.tight if now < self.contention.until else self.crowd

    def _serve(self) -> None:
        """Start waiting calls while there are free slots, one project after the other."""
        now = monotonic()
        while self.running < self.crowd:
            room = (name for name, share in self._queues.items() if share.running < self._limit(share, now))
            project = next(room, None)
            if project is None:
                return
            share = self._queues[project]
            self._queues.move_to_end(project)
            turn = self._next(project, share)
            if not turn.done():
                turn.set_result(None)
                share.running += 1
                self.running += 1

    def _next(self, project: str, share: Share) -> asyncio.Future[None]:
        turn = share.waiting.popleft()
        self.waiting -= 1
        if not share.waiting:
            del self._queues[project]
        return turn

    async def _wait(self, project: str, share: Share) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        share.waiting.append(turn)
        self.waiting += 1
        self._queues.setdefault(project, share)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave(project)  # the call got a slot just before it was cancelled
            elif turn in share.waiting:
                share.waiting.remove(turn)
                self.waiting -= 1
                if not share.waiting:
                    del self._queues[project]
                self._forget(project, share)
            raise

    def _relieve(self, project: str, share: Share, now: float) -> None:
        """Refuse all waiting calls of the project that has the most. Raises Overloaded if it is the caller's."""
        pays, longest = project, share
        for name, other in self._queues.items():
            if len(other.waiting) > len(longest.waiting) + (longest is share):  # + 1 for the call that wants to wait
                pays, longest = name, other
        log.warning("overloaded", extra={"class": self.name, "running": self.running, "project": pays})
        while longest.waiting:
            turn = self._next(pays, longest)
            if not turn.done():
                turn.set_exception(self._refusal(pays, longest, now))
        if longest is share:
            raise self._refusal(pays, share, now)

    def _refusal(self, project: str, share: Share, now: float) -> Overloaded:
        share.refused += 1
        share.calm_at = now + CALM
        self._tight[project] = share
        return Overloaded(limit=self.tight, subject=self.name)

    def _calm(self, caller: str, now: float) -> None:
        """End the tight state of projects that had no refusal for CALM seconds."""
        for project in [project for project, share in self._tight.items() if now >= share.calm_at]:
            share = self._tight.pop(project)
            log.info("no longer overloaded", extra={"class": self.name, "refused": share.refused, "project": project})
            share.refused = 0
            if project != caller:
                self._forget(project, share)

    def _forget(self, project: str, share: Share) -> None:
        if not (share.running or share.waiting or share.refused):
            self._shares.pop(project, None)
