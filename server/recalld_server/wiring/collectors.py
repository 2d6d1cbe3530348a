"""Updates the gauges, whose values are states and not events."""

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

PROJECTS = 100  # projects with gauges of their own, because each is a time series in the collector
NONE = IndexLag(0, 0)
PAUSE = 10.0  # seconds between queries of the ledger
STATM = Path("/proc/self/statm")  # memory sizes in pages; the second value is the resident size


class Collectors:
    """Updates the gauges: `sample` those of this process, `run` those that need the ledger."""

    def __init__(self, recalld: Recalld, server: GrpcServer, instruments: Instruments) -> None:
        self._recalld = recalld
        self._server = server
        self._instruments = instruments

    async def sample(self) -> None:
        """Update the gauges of this process. It calls no store, because /metrics may be scraped at any rate."""
        self._calls()
        self._stores()
        self._stalls()
        self._instruments.set(metric_names.MEMORY, resident())

    async def run(self) -> None:
        """Call `look` periodically until cancelled. Raises LedgerUnavailable."""
        while True:
            await self.look()
            await asyncio.sleep(PAUSE)

    async def look(self) -> None:
        """Update the index gauges: of the projects that are furthest behind, then of others by id, PROJECTS in total.

        Takes two statements. Raises LedgerUnavailable after it has removed the gauges.
        """
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
        """Update the gauges of stalled projects: up to PROJECTS by name, and the number of all."""
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
    """The resident memory of this process in bytes; NaN without /proc."""
    try:
        return float(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return float("nan")
