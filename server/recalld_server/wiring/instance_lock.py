"""The locks that prevent two servers on one machine from using the same files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from recalld_server.adapters.sql.file_lock import FileTaken, held
from recalld_server.domain.errors import SettingMissing
from recalld_server.wiring.ledger_store import ledger_file
from recalld_server.wiring.settings import Settings
from recalld_server.wiring.stores import EMBEDDED, index_file


class DataFolderBusy(SettingMissing):
    """Another recalld uses this data folder, ledger file or index file."""


@contextmanager
def acquire_instance_lock(settings: Settings) -> Iterator[None]:
    """Lock the data folder, and ledger and index if they are files, against all other servers on this machine.

    Hold the lock from before the files are opened until after they are closed. Raises DataFolderBusy, or SettingMissing
    for a folder or a file that cannot be used.
    """
    with ExitStack() as locks:
        locks.callback(_folder(settings.data_dir).release)
        if path := ledger_file(settings):
            locks.enter_context(_file(path, "--ledger", make=True))
        if settings.index == EMBEDDED:
            locks.enter_context(_file(index_file(settings), "--data-dir", make=False))
        yield


def _folder(path: Path) -> FileLock:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(path / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise DataFolderBusy(
            f"Another recalld uses {path}. Stop it, or choose another folder with --data-dir."
        ) from None
    except OSError as error:
        raise SettingMissing(f"The data folder {path} cannot be used: {error.strerror}.") from None
    return lock


@contextmanager
def _file(path: Path, option: str, *, make: bool) -> Iterator[None]:
    with ExitStack() as locks:
        try:
            locks.enter_context(held(path, make=make))
        except FileTaken:
            raise DataFolderBusy(f"Another recalld uses {path}. Stop it, or choose another with {option}.") from None
        except OSError as error:
            raise SettingMissing(f"{path} cannot be used: {error.strerror}.") from None
        yield


def folder_taken(folder: Path) -> bool:
    """Whether a server on this machine uses the data folder."""
    lock = folder / "lock"
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
