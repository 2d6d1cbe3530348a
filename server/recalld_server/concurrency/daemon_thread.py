"""Runs work in a daemon thread, which does not delay the exit of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def detached(work: Callable[[], T]) -> T:
    """Run `work` in a daemon thread and return its result. Raises the error of `work`.

    If the caller is cancelled, the thread continues, at most until the process exits. The threads of
    `asyncio.to_thread`, in contrast, delay the exit.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def answer(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - goes to the caller
            failure = error
        with suppress(RuntimeError):  # the event loop is closed, so no caller waits
            loop.call_soon_threadsafe(answer, result, failure)

    threading.Thread(target=run, name="detached", daemon=True).start()
    return await future
