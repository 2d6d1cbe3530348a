"""Watches the SQLite file of a running server: whether it still exists, is intact and can be written."""

from __future__ import annotations

import os
import time
from pathlib import Path

import sqlean

from recalld_server.adapters.sql.store_health import StoreFault, StoreHealth
from recalld_server.domain.errors import RecalldError

CORRUPT, NOT_A_DATABASE = 11, 26
FULL, FAILED, READ_ONLY, NOT_OPENED = 13, 10, 8, 14
TROUBLES = {
    **dict.fromkeys((CORRUPT, NOT_A_DATABASE), StoreFault.DAMAGED),
    **dict.fromkeys((FULL, FAILED, READ_ONLY, NOT_OPENED), StoreFault.UNWRITABLE),
}
ROOM = 4 * 1024 * 1024  # bytes that a probe file must be able to take before the disk counts as writable again
LATELY = 0.05  # seconds for which `require_there_lately` trusts the last check
PAUSE = 1.0  # minimum seconds between two probe files

Identity = tuple[int, int]  # device and inode


class DatabaseFile:
    """The database file opened at `path` and its write-ahead log, identified by device and inode, not by name.

    `health` holds the known faults. `unchecked` is True after an unclean shutdown until the integrity check has passed.
    """

    def __init__(self, path: Path, unavailable: type[RecalldError]) -> None:
        self.path = path
        self.health = StoreHealth(str(path), unavailable)
        self.unchecked = False
        self._opened: dict[str, Identity] = {}
        self._looked = float("-inf")
        self._seen = float("-inf")

    def opened(self) -> None:
        """Remember the identity of the files at the path. Call it once a connection is open; later calls do nothing."""
        if not self._opened:
            names = (str(self.path), f"{self.path}-wal")
            self._opened = {name: found for name in names if (found := _identity(name))}

    def require_there(self) -> None:
        """Raise `unavailable` if the path no longer leads to the open files: writes to them would be lost.

        Costs two stat calls.
        """
        if all(_identity(name) == known for name, known in self._opened.items()):
            self.health.over(StoreFault.GONE)
        else:
            raise self.health.found(StoreFault.GONE)

    def require_there_lately(self) -> None:
        """Like `require_there`, for reads: one check is valid for LATELY seconds."""
        now = time.monotonic()
        if now - self._seen >= LATELY or self.health.has(StoreFault.GONE):
            self.require_there()
            self._seen = now

    def translated(self, error: BaseException) -> RecalldError | None:
        """Map an error of SQLite to the error for the caller; None if it is not a fault of the file."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code; the higher bits give details
        trouble = TROUBLES.get(code)
        if trouble is None or not isinstance(error, sqlean.Error):
            return None
        return self.health.found(trouble, str(error))

    def has_room(self) -> bool:
        """Whether the disk accepts writes, tested with a temporary file of ROOM bytes beside the database.

        Returns False without a test if the last one was less than PAUSE seconds ago. Blocks.
        """
        if time.monotonic() - self._looked < PAUSE:
            return False
        self._looked = time.monotonic()
        beside = self.path.with_name(f"{self.path.name}.room")
        try:
            with beside.open("wb") as file:
                file.write(bytes(ROOM))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return False
        finally:
            beside.unlink(missing_ok=True)
        return True


def _identity(name: str) -> Identity | None:
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_dev, found.st_ino
