"""`recalld bench idle`, and that the cost of an idle server does not grow with its projects."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from recalld_server.bench import bench


def test_an_idle_server_does_little_however_many_projects_it_has() -> None:
    done = CliRunner().invoke(bench, ["idle", "--projects=400", "--seconds=22", "--json"])  # a round of every loop
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["projects"] == 400
    assert 0 < report["statements"] < 35
    assert report["spans"] == 0
    assert report["cpu"] < 0.5


def test_too_many_projects_are_refused() -> None:
    assert CliRunner().invoke(bench, ["idle", "--projects=0"]).exit_code == 2
