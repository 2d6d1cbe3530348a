"""Measures the effect of an attack on others: their latency, and the memory of the server."""

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
IDLE = 0.05  # seconds that such a read waits on a machine without other work, at most


def unharmed(server: testing.LocalServer, bystander: Any, attack: Callable[[], None]) -> None:
    """Runs an attack up to TRIES times, until somebody else's read has waited less than WAIT.

    Where reads wait for other work of the machine already without the attack, it may be WAIT longer than that.
    """
    waits = []
    for _ in range(TRIES):
        with bystander(server.target, server.pid) as before:
            time.sleep(QUIET)
        with bystander(server.target, server.pid) as seen:
            attack()
        assert not seen.failures
        assert seen.resident < RESIDENT, f"{seen.megabytes:.0f} MiB"
        allowed = WAIT + (before.longest if before.longest > IDLE else 0)
        waits.append(f"{seen.longest:.2f} s, where {before.longest:.2f} s without it allow {allowed:.2f} s")
        print(f"somebody else waited {waits[-1]}; the server held {seen.megabytes:.0f} MiB")  # noqa: T201 - `pytest -rP`
        if seen.longest < allowed:
            return
    pytest.fail(f"somebody else waited {'; '.join(waits)}")
