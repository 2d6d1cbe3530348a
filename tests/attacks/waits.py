"""That an attack harms nobody else: how long others wait while it runs, and what memory the server holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.attacks.conftest import MIB

from recalld import testing

WAIT = 0.25  # seconds of somebody else's read
RESIDENT = 1024 * MIB
TRIES = 3  # the machine has other work: one quiet run is enough
QUIET = 1.0  # seconds without an attack, to see how long reads wait for that other work


def unharmed(server: testing.LocalServer, bystander: Any, attack: Callable[[], None]) -> None:
    """Runs an attack up to TRIES times, until somebody else's read has waited at most WAIT longer than without it."""
    waits = []
    for _ in range(TRIES):
        with bystander(server.target, server.pid) as before:
            time.sleep(QUIET)
        with bystander(server.target, server.pid) as seen:
            attack()
        assert not seen.failures
        assert seen.resident < RESIDENT, f"{seen.megabytes:.0f} MiB"
        waits.append(seen.longest - before.longest)
        if waits[-1] < WAIT:
            return
    pytest.fail(f"somebody else waited {', '.join(f'{wait:.2f}' for wait in waits)} s longer than without it")
