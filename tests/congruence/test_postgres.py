"""The test of a year with the ledger in PostgreSQL ends like the one on SQLite."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis.stateful import run_state_machine_as_test
from tests.congruence import test_stateful_model
from tests.postgres import PostgresServer

pytestmark = pytest.mark.needs_postgres


def test_a_year_on_postgres(postgres: PostgresServer) -> None:
    class YearOnPostgres(test_stateful_model.Year):
        """The same rules against the same model."""

        def new_ledger(self) -> str:
            self.dropping = ExitStack()
            return self.dropping.enter_context(postgres.database("ledger"))

        def teardown(self) -> None:
            super().teardown()
            self.dropping.close()

    run_state_machine_as_test(YearOnPostgres, settings=test_stateful_model.TestStatefulModel.settings)
