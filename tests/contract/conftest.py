"""What the contract suites share: time that tests own."""

from __future__ import annotations

import pytest

from tests.contract.ledger_world import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """Stands still until a test moves it."""
    return FakeClock()
