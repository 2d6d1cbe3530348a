"""One server for each database file, by whatever path it is named."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

BYTE = 2**62  # which byte of the file is locked: far from those that SQLite locks, and never written


class FileTaken(Exception):
    """Another process holds the file."""


@contextmanager
def held(path: Path, *, make: bool) -> Iterator[None]:
    """Hold a database file, which may have to be made, empty, to be held whole. Raises FileTaken, OSError.

    Two locks, as neither is enough. One is a file beside the database, named by its real path, so a symbolic link or a
    relative path leads to the same lock on every system. The other is a byte of the database itself, which also keeps
    a hard link or a bind mount of the file apart; only Linux has locks that SQLite's own use of the file leaves alone.
    Let go only after every connection to the file is closed: to close the file drops the locks of its connections.
    """
    real = lock_path(path)
    with ExitStack() as locks:
        try:
            lock = FileLock(real)
            lock.acquire(timeout=0)
        except Timeout:
            raise FileTaken from None
        locks.callback(lock.release)
        if make or path.exists():
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            locks.callback(os.close, file)
            _lock_byte(file)
        yield


def taken(path: Path) -> bool:
    """Whether a server holds the file. Makes nothing; what can't be opened for writing is nobody's."""
    lock = lock_path(path)
    if lock.exists():
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            return True
    if not path.exists() or not os.access(path, os.W_OK):
        return False
    file = os.open(path, os.O_RDWR)
    try:
        _lock_byte(file)
    except FileTaken:
        return True
    finally:
        os.close(file)
    return False


def lock_path(path: Path) -> Path:
    """The lock beside a database file, whose own links are followed."""
    real = path.resolve()
    return real.with_name(real.name + ".lock")


def _lock_byte(file: int) -> None:
    """Lock a byte for as long as the file stays open. Raises FileTaken. Elsewhere than on Linux it does nothing."""
    if sys.platform == "linux":
        import fcntl

        # struct flock: type, whence, start, length, pid. The lock belongs to the open file, not to the process.
        wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, BYTE, 1, 0)
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            raise FileTaken from None
        except OSError:
            return  # a file system without such locks: the lock beside the file stands
