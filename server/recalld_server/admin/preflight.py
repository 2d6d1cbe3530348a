"""`recalld serve --check`: validate the configuration of a server without starting it.

The checks create and change nothing: no folder, ledger, migration or index. Only SQLite may leave its -wal and -shm
files. The checks are independent of each other, so one run reports every problem.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from recalld_server.domain.errors import IndexUnavailable, RecalldError, SettingMissing
from recalld_server.telemetry.instruments import Instruments
from recalld_server.telemetry.setup import check_protocol, wanted
from recalld_server.wiring.instance_lock import folder_taken
from recalld_server.wiring.ledger_store import LedgerStatus, ledger_name, ledger_status, ledger_taken
from recalld_server.wiring.network import certificates_of, refuse_open, require_ports
from recalld_server.wiring.settings import Settings
from recalld_server.wiring.stores import EMBEDDED, index_opener, open_embedder

WITHIN = 10.0  # time limit of each check, in seconds


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `words` is for the operator and contains no secret."""

    subject: str
    good: bool
    words: str


@dataclass(slots=True)
class Inspection:
    """The checks, in the order of `findings`. Later checks use the state of the ledger."""

    settings: Settings
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _state: LedgerStatus | None = None

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield one finding per check. Each check takes at most WITHIN seconds."""
        checks: dict[str, Callable[[], Awaitable[str]]] = {
            "data folder": self._data_folder,
            "ledger": self._ledger,
            "index": self._index,
            "embedder": self._embedder,
            "tls": self._tls,
            "address": self._address,
            "ports": self._ports,
            "telemetry": self._telemetry,
        }
        for subject, check in checks.items():
            yield await _finding(subject, check())

    async def _data_folder(self) -> str:
        folder = self.settings.data_dir
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
        if not there.is_dir():
            raise SettingMissing(f"{folder}: {there} is not a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise SettingMissing(f"{folder}: this user has no write permission in {there}")
        if there != folder:
            return f"{folder}, created at the first start"
        if folder_taken(folder):
            raise SettingMissing(f"{folder} is in use by another recalld")
        return f"{folder}, writable and free"

    async def _ledger(self) -> str:
        name = ledger_name(self.settings)
        if ledger_taken(self.settings):
            raise SettingMissing(f"{name} is in use by another recalld")
        try:
            self._state = await asyncio.to_thread(ledger_status, self.settings)
        except RecalldError as error:
            raise SettingMissing(f"{name}: {error}") from None
        if self._state.version is None:
            return f"{name}, created at the first start"
        migrates = "" if self._state.current else ", migrated at the next start"
        return f"{name}, version {self._state.version}{migrates}"

    async def _index(self) -> str:
        opening = index_opener(self.settings)
        if self.settings.index == EMBEDDED:
            return "embedded, in the data folder"
        index = await opening("")
        try:
            await index.check()
        except IndexUnavailable as error:
            raise SettingMissing(f"{self.settings.index}: {error} A server would start but refuse searches.") from None
        finally:
            await index.close()
        return f"{self.settings.index}, reachable"

    async def _embedder(self) -> str:
        embedder = await open_embedder(self.settings, Instruments())
        try:
            await embedder.embed(["Is a check"])
            lacking = (self._state.models if self._state else frozenset()) - {embedder.model}
            if lacking:
                raise SettingMissing(
                    f"the ledger uses the model {', '.join(sorted(lacking))}; configured: {embedder.model}"
                )
            return f"{self.settings.embedder}, model {embedder.model}, {embedder.dimension} dimensions"
        finally:
            await embedder.close()

    async def _tls(self) -> str:
        settings = self.settings
        if certificates_of(settings) is None:
            return "none"
        return f"{settings.tls_cert}" + (", client certificates required" if settings.tls_client_ca else "")

    async def _address(self) -> str:
        refuse_open(self.settings, keys=self._state is None or self._state.keyed)
        if self._state is None:
            return f"{self.settings.host}, provided that the ledger has keys"
        return f"{self.settings.host}, {'with keys' if self._state.keyed else 'no keys yet: this machine only'}"

    async def _ports(self) -> str:
        require_ports(self.settings)
        wished = {"gRPC": self.settings.grpc_port, "HTTP": self.settings.http_port}
        return ", ".join(f"{name} {port or 'any'}" for name, port in wished.items()) + ", free"

    async def _telemetry(self) -> str:
        signals = [name for name in ("TRACES", "METRICS") if wanted(self.environ, name)]
        if signals:
            check_protocol(self.environ)
        return f"{' and '.join(signals).lower()} via OTLP" if signals else "/metrics only"


async def _finding(subject: str, check: Awaitable[str]) -> Finding:
    try:
        async with asyncio.timeout(WITHIN):
            return Finding(subject, True, await check)
    except TimeoutError:
        return Finding(subject, False, f"no answer within {WITHIN:.0f} s")
    except RecalldError as error:
        detail = f" ({error.metadata['detail']})" if "detail" in error.metadata else ""
        return Finding(subject, False, f"{error}{detail}")
    except ValueError as error:
        return Finding(subject, False, str(error))
