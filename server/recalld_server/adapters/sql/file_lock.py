"""Locks that allow one server per database file, whichever path leads to the file."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

BYTE = 2**62  # offset of the locked byte: never written, and far from the bytes that SQLite locks


class FileTaken(Exception):
    """Another process holds the lock of the file."""


@contextmanager
def held(path: Path, *, make: bool) -> Iterator[None]:
    """Hold both locks of a database file. With `make` a missing file is created empty. Raises FileTaken, OSError.

    Neither lock is enough alone. The first is a lock file beside the database, derived from the real path, so symbolic
    links and relative paths lead to the same lock on every system. The second locks a byte of the database itself,
    which also covers hard links and bind mounts. It exists only on Linux: only open file description locks are
    independent of SQLite's own locks.
    Leave the context only after all connections to the file are closed: when this descriptor is closed, the process
    loses the POSIX locks of those connections.
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
    """Whether a server holds the file. Creates nothing. False for a file that cannot be opened for writing."""
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
    """The path of the lock file beside a database file, with symbolic links resolved."""
    real = path.resolve()
    return real.with_name(real.name + ".lock")


def _lock_byte(file: int) -> None:
    """Lock one byte until the file is closed. Raises FileTaken. Does nothing on systems other than Linux."""
    if sys.platform == "linux":
        import fcntl

        # struct flock: type, whence, start, length, pid. The lock belongs to the open file, not to the process.
        wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, BYTE, 1, 0)
        try:
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, wanted)
        except BlockingIOError:
            raise FileTaken from None
        except OSError:
            return  # the file system lacks such locks: rely on the lock file
