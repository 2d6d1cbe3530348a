"""Work in a thread that the end of the program does not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def detached(work: Callable[[], T]) -> T:
    """What `work` gives or raises. When the caller is cancelled the thread goes on, and ends with the program at last.

    The threads of `asyncio.to_thread` do hold up the end of a program.
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
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(answer, result, failure)

    threading.Thread(target=run, name="telemetry", daemon=True).start()
    return await future
