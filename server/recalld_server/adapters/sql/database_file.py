"""A SQLite file under a running server: whether it is still there, whole, and can be written."""

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
ROOM = 4 * 1024 * 1024  # bytes that must fit on a disk for it to count as having room again
LATELY = 0.05  # seconds
PAUSE = 1.0  # seconds between two looks whether there is

Identity = tuple[int, int]  # device and inode


class DatabaseFile:
    """The file that was opened at `path` and its write-ahead log, by their identity and not by their name.

    `unchecked`: its last server ended uncleanly, and whether it is sound is not known yet.
    """

    def __init__(self, path: Path, unavailable: type[RecalldError]) -> None:
        self.path = path
        self.health = StoreHealth(str(path), unavailable)
        self.unchecked = False
        self._opened: dict[str, Identity] = {}
        self._looked = float("-inf")
        self._seen = float("-inf")

    def opened(self) -> None:
        """There is a connection, so what is at the path now is what is open. Only the first call counts."""
        if not self._opened:
            names = (str(self.path), f"{self.path}-wal")
            self._opened = {name: found for name in names if (found := _identity(name))}

    def require_there(self) -> None:
        """Raises when the path leads elsewhere than to what is open, which would be lost. Costs two calls of stat."""
        if all(_identity(name) == known for name, known in self._opened.items()):
            self.health.over(StoreFault.GONE)
        else:
            raise self.health.found(StoreFault.GONE)

    def require_there_lately(self) -> None:
        """As `require_there`, for what reads only: one look serves LATELY seconds."""
        now = time.monotonic()
        if now - self._seen >= LATELY or self.health.has(StoreFault.GONE):
            self.require_there()
            self._seen = now

    def translated(self, error: BaseException) -> RecalldError | None:
        """The error for the caller of what SQLite raised; None where it is no trouble of the file."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says where it happened
        trouble = TROUBLES.get(code)
        if trouble is None or not isinstance(error, sqlean.Error):
            return None
        return self.health.found(trouble, str(error))

    def has_room(self) -> bool:
        """Whether the disk takes more, by a file written beside the database. False, too, when asked again at once."""
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
