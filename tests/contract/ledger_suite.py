"""The contract of Ledger: `ports/ledger.py` as tests.

A test class inherits LedgerSuite and has a fixture `ledger`: an empty ledger of its engine on the fixture `clock`, with
the projects "default" and "other" of `GENERATION`. The suite uses only the port and does not depend on an engine.
"""

from __future__ import annotations

import pytest
from tests.contract.ledger_access import Pins, Projects
from tests.contract.ledger_answers import Conversations, Outcomes, Speakers
from tests.contract.ledger_claims import Claims
from tests.contract.ledger_clearing import Clearing
from tests.contract.ledger_commits import Commits, Order
from tests.contract.ledger_filters import LargeFilters
from tests.contract.ledger_forgetting import ForgetCommand
from tests.contract.ledger_guards import Guards
from tests.contract.ledger_histories import Restorations
from tests.contract.ledger_model import Histories
from tests.contract.ledger_reads import Entities, Events, Matching, Pages
from tests.contract.ledger_search import Pools, Projection
from tests.contract.ledger_world import START, FakeClock

from recalld_server.ports.ledger import Ledger


class LedgerSuite(
    Commits,
    Order,
    Guards,
    Outcomes,
    Restorations,
    Conversations,
    Speakers,
    Pages,
    Matching,
    LargeFilters,
    Events,
    Entities,
    Pools,
    Projection,
    Claims,
    Clearing,
    ForgetCommand,
    Pins,
    Projects,
    Histories,
):
    """All of it."""

    @pytest.fixture(autouse=True)
    def begin(self, ledger: Ledger, clock: FakeClock) -> None:
        """The projects are there, and then the test begins."""
        clock.time = START
