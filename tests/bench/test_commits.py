"""`recalld bench commits`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recalld_server.bench import bench
from recalld_server.bench.commits import CROWDS


def measured(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(bench, ["commits", "--seconds=0.3", *arguments])
    assert done.exit_code == code, done.output
    return done.stdout


def test_a_file_is_measured() -> None:
    rates = json.loads(measured("--json"))["rates"]
    assert [(rate["engine"], rate["projects"], rate["callers"]) for rate in rates] == [
        ("SQLite", *crowd) for crowd in CROWDS
    ]
    for rate in rates:
        assert rate["commits"] >= rate["callers"]
        assert 0 < rate["per_second"] <= rate["commits"] / 0.3
        assert 0 < rate["p50"] <= rate["p99"]


@pytest.mark.needs_postgres
def test_both_are_measured_in_one_run_and_a_used_one_is_refused(postgres_url: str) -> None:
    rows = [line.split() for line in measured("--ledger", postgres_url).splitlines() if line.startswith("│")]
    told = [cell for row in rows for cell in row if cell in ("SQLite", "PostgreSQL")]
    assert told == ["SQLite"] * len(CROWDS) + ["PostgreSQL"] * len(CROWDS)
    measured("--ledger", postgres_url, code=1)
    measured("--ledger", str(Path("nowhere") / "ledger.db"), code=1)
