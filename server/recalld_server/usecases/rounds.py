"""Work that goes on in the background for as long as a server runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from recalld_server.domain.errors import RecalldError
from recalld_server.ports.clock import Clock


async def forever(
    work: Callable[[], Awaitable[None]], clock: Clock, pause: float, log: logging.Logger, broken: str
) -> None:
    """Until cancelled: one round, then a pause of so many seconds. What a round raises is logged under `broken`."""
    while True:
        try:
            await work()
        except Exception as error:  # whatever it is, the next round may go better
            known = isinstance(error, RecalldError)
            log.warning(broken, extra={"error": type(error).__name__}, exc_info=not known)
        await clock.sleep(pause)
