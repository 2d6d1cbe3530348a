"""How the calls of one class share the server: so many at once, and projects take turns.

In calm a class works on some calls at once (`crowd`) and lets others wait, `most` together. One call too many proves
that more is asked than can be done: the project with the longest queue pays. It is *tight* from then on: as many of its
calls run as keep the processors busy, nobody of it waits, and those that waited are refused, for they would only have
got late answers. It is calm again CALM seconds after its last refusal. While several projects call, each runs no more
than that at once either, so that another's call finds room; who waits is served project by project.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from time import monotonic

from recalld_server.domain.errors import Overloaded

log = logging.getLogger(__name__)

CALM = 1.0  # seconds; as long as refused callers are asked to wait
MOST = 64  # running and waiting, in calm


@dataclass(slots=True)
class Contention:
    """Whether several projects call: classes differ, but their calls share the processors."""

    latest: str = ""
    until: float = 0.0

    def called(self, project: str, now: float) -> None:
        """Note a call of a project."""
        if project != self.latest:
            self.until = now + CALM if self.latest else 0.0
            self.latest = project


@dataclass(slots=True)
class Share:
    """The calls of one project. `refused` counts since it became tight."""

    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    refused: int = 0
    calm_at: float = 0.0


@dataclass(slots=True)
class ConcurrencyLimiter:
    """Calls of one class: how many at once of a tight project (`tight`), in calm (`crowd`), and with those waiting."""

    name: str
    tight: int
    crowd: int
    most: int = MOST
    contention: Contention = field(default_factory=Contention)
    running: int = 0
    waiting: int = 0
    _shares: dict[str, Share] = field(default_factory=dict)
    _queues: OrderedDict[str, Share] = field(default_factory=OrderedDict)  # with somebody waiting, whose turn is first
    _tight: dict[str, Share] = field(default_factory=dict)

    async def enter(self, project: str) -> None:
        """Return when the project's call may run; pair with `leave`. Raises Overloaded."""
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
        """The call is over: its place goes to whoever waits and has the next turn."""
        share = self._shares[project]
        share.running -= 1
        self.running -= 1
        self._serve()
        self._forget(project, share)

    def _limit(self, share: Share, now: float) -> int:
        """How many calls of a project may run."""
        if share.refused:
            return max(1, self.tight // len(self._tight))
        return self.tight if now < self.contention.until else self.crowd

    def _serve(self) -> None:
        """Let those run who wait and have room, one project after the other."""
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
                self.leave(project)  # it got the place and is no longer there to use it
            elif turn in share.waiting:
                share.waiting.remove(turn)
                self.waiting -= 1
                if not share.waiting:
                    del self._queues[project]
                self._forget(project, share)
            raise

    def _relieve(self, project: str, share: Share, now: float) -> None:
        """Refuse all who wait of the project with most of them. Raises Overloaded if that is the caller's."""
        pays, longest = project, share
        for name, other in self._queues.items():
            if len(other.waiting) > len(longest.waiting) + (longest is share):  # the caller would wait as well
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
        """Forget of which projects too much was asked some time ago."""
        for project in [project for project, share in self._tight.items() if now >= share.calm_at]:
            share = self._tight.pop(project)
            log.info("no longer overloaded", extra={"class": self.name, "refused": share.refused, "project": project})
            share.refused = 0
            if project != caller:
                self._forget(project, share)

    def _forget(self, project: str, share: Share) -> None:
        if not (share.running or share.waiting or share.refused):
            self._shares.pop(project, None)
