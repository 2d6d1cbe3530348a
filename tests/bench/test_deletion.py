"""`recalld bench deletion`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from recalld_server.bench import bench


def measured(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(bench, ["deletion", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_tenth_is_deleted_and_told_by_steps() -> None:
    [run] = json.loads(measured("--memories=3000", "--json"))["runs"]
    assert (run["engine"], run["memories"], run["deleted"], len(run["steps"])) == ("SQLite", 3000, 300, 1)
    assert run["steps"][0] > 0
    measured("--memories=0", code=2)


@pytest.mark.needs_postgres
def test_both_are_measured_and_a_used_one_is_refused(postgres_url: str) -> None:
    shown = measured("--memories=2000", "--ledger", postgres_url)
    assert "SQLite" in shown
    assert "PostgreSQL" in shown
    measured("--memories=2000", "--ledger", postgres_url, code=1)
    measured("--memories=2000", "--ledger=./ledger.db", code=1)
