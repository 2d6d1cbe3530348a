"""The job behind AddAsync."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.commands import add_command
from recalld_server.domain.operations import Operation
from recalld_server.domain.steps import once
from recalld_server.usecases.add import Add


class AddJob:
    """Runs a queued add.

    The commit stores the outcome under the request id of the operation, so an add that was interrupted after its commit
    is not repeated, and the result of the operation holds no text of a memory.
    """

    def __init__(self, add: Add) -> None:
        self._add = add

    async def run(self, held: Operation) -> Mapping[str, Any]:
        """Run the add; see background.worker.Job. Raises the errors of Add."""
        command = await sliced(once(lambda: add_command(held.payload)), len(held.payload))
        await self._add.add(held.access, replace(command, add_id=held.subject, request=held.request))
        return {}
