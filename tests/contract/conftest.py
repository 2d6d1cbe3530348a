"""What the contract suites share: asserts that explain themselves, and time that tests own."""

from __future__ import annotations

from pathlib import Path

import pytest

SUITES = [f"tests.contract.{path.stem}" for path in Path(__file__).parent.glob("*_*.py")]
pytest.register_assert_rewrite(*(name for name in SUITES if ".test_" not in name))

from tests.contract.ledger_world import FakeClock  # noqa: E402 - rewriting must be asked for before the first import


@pytest.fixture
def clock() -> FakeClock:
    """Stands still until a test moves it."""
    return FakeClock()
