"""Figures that nobody reports because they are states, not events: read when metrics are asked for."""

from __future__ import annotations

import os
from pathlib import Path

from recalld_server.bootstrap import Recalld
from recalld_server.domain.errors import RecalldError
from recalld_server.domain.memory import Access
from recalld_server.rpc.server import GrpcServer
from recalld_server.telemetry import names
from recalld_server.telemetry.instruments import Instruments

PROJECTS = 100  # with figures of their own: each is a time series for whoever collects them
STATM = Path("/proc/self/statm")  # sizes in pages; the second is what is resident


class Gauges:
    """Brings the gauges up to date."""

    def __init__(self, recalld: Recalld, server: GrpcServer, instruments: Instruments) -> None:
        self._recalld = recalld
        self._server = server
        self._instruments = instruments

    async def sample(self) -> None:
        """Read all. A ledger that does not answer leaves out the figures of projects, whose absence tells."""
        self._calls()
        self._stores()
        self._instruments.set(names.MEMORY, resident())
        for metric in (names.LAG, names.PENDING):
            self._instruments.clear(metric)
        try:
            for project in list(await self._recalld.ledger.projects())[:PROJECTS]:
                positions = await self._recalld.ledger.positions(Access(project))
                self._instruments.set(names.LAG, positions.head - positions.applied, project)
                self._instruments.set(names.PENDING, await self._recalld.ledger.backlog(project), project)
        except RecalldError:
            return

    def _calls(self) -> None:
        admission = self._server.admission
        for name, gate in admission.gates.items():
            self._instruments.set(names.RUNNING, gate.running, name)
            self._instruments.set(names.WAITING, len(gate.waiting), name)
        self._instruments.set(names.OPEN, admission.open)
        self._instruments.set(names.STREAMS, self._server.quota.open)

    def _stores(self) -> None:
        for (metric, label), level in self._recalld.levels.items():
            self._instruments.set(metric, level(), label)


def resident() -> float:
    """Bytes of memory this process occupies; NaN where there is no /proc."""
    try:
        return float(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return float("nan")
