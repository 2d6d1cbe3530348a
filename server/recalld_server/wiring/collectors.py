"""Figures that nobody reports because they are states, not events: read when metrics are asked for."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from recalld_server.domain.errors import RecalldError
from recalld_server.domain.revision import IndexLag
from recalld_server.rpc.server import GrpcServer
from recalld_server.telemetry import metric_names
from recalld_server.telemetry.instruments import Instruments
from recalld_server.wiring.parts import Recalld

PROJECTS = 100  # with figures of their own: each is a time series for whoever collects them
NONE = IndexLag(0, 0)
PAUSE = 10.0  # seconds between looks at the ledger
STATM = Path("/proc/self/statm")  # sizes in pages; the second is what is resident


class Collectors:
    """Brings the gauges up to date: `sample` those of this process, `run` those that the ledger has to be asked for."""

    def __init__(self, recalld: Recalld, server: GrpcServer, instruments: Instruments) -> None:
        self._recalld = recalld
        self._server = server
        self._instruments = instruments

    async def sample(self) -> None:
        """Read what this process knows. Asks no store: anybody may scrape as often as they like."""
        self._calls()
        self._stores()
        self._stalls()
        self._instruments.set(metric_names.MEMORY, resident())

    async def run(self) -> None:
        """Until cancelled: look at the ledger. Raises LedgerUnavailable; the figures of projects are then absent."""
        while True:
            await self.look()
            await asyncio.sleep(PAUSE)

    async def look(self) -> None:
        """Two statements: those projects that are furthest behind have figures, then others by their ids."""
        try:
            projects, lags = await self._recalld.ledger.projects(), await self._recalld.ledger.lags()
        except RecalldError:
            self._clear()
            raise
        self._clear()
        behind = sorted(lags, key=lambda project: -lags[project].pending)
        for project in list(dict.fromkeys([*behind, *projects]))[:PROJECTS]:
            lag = lags.get(project, NONE)
            self._instruments.set(metric_names.LAG, lag.changes, project)
            self._instruments.set(metric_names.PENDING, lag.pending, project)

    def _clear(self) -> None:
        for metric in (metric_names.LAG, metric_names.PENDING):
            self._instruments.clear(metric)

    def _stalls(self) -> None:
        """Also of the projects beyond those named, how many there are."""
        self._instruments.clear(metric_names.STALLED)
        recalld = self._recalld
        stalls = {"projection": recalld.projector.stalled, "expiry": recalld.retention.stalled}
        if recalld.reconciler:
            stalls["repair"] = recalld.reconciler.stalled
        for work, projects in stalls.items():
            self._instruments.set(metric_names.STALLS, len(projects), work)
            for project in projects[:PROJECTS]:
                self._instruments.set(metric_names.STALLED, 1, project, work)

    def _calls(self) -> None:
        admission = self._server.admission
        for name, gate in admission.gates.items():
            self._instruments.set(metric_names.RUNNING, gate.running, name)
            self._instruments.set(metric_names.WAITING, gate.waiting, name)
        self._instruments.set(metric_names.OPEN, admission.open)
        self._instruments.set(metric_names.STREAMS, self._server.quota.open)

    def _stores(self) -> None:
        for (metric, label), level in self._recalld.levels.items():
            self._instruments.set(metric, level(), label)


def resident() -> float:
    """Bytes of memory this process occupies; NaN where there is no /proc."""
    try:
        return float(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return float("nan")
