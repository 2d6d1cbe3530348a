"""`recalld projects rebuild-index` and `reembed` while a server runs, for one project and for all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.test_keys import run

from recalld import testing

PROJECTS = ("default", "garden", "kitchen")


@pytest.fixture(params=["embedded", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Where the ledger is, as the commands and the server take it."""
    if request.param == "embedded":
        return [f"--data-dir={tmp_path}"]
    return [f"--ledger={request.getfixturevalue('postgres_url')}", f"--data-dir={tmp_path}"]


def server(place: list[str], tmp_path: Path) -> testing.LocalServer:
    return testing.start_local(tmp_path, arguments=[each for each in place if each.startswith("--ledger")])


def test_all_projects_are_rebuilt_while_searches_go_on(place: list[str], tmp_path: Path) -> None:
    with server(place, tmp_path) as running:
        operator = run("keys", "create", *place, "--role=operator").strip()
        clients = {}
        for project in PROJECTS:
            if project != "default":
                run("projects", "create", project, f"--target={running.target}", key=operator)
            clients[project] = running.client(run("keys", "create", *place, f"--project={project}").strip())
            clients[project].add(f"The {project} is warm", user_id="ann", infer=False)
        lines = run("projects", "rebuild-index", "--wait", *place).splitlines()
        assert sorted(line.split()[:2] for line in lines) == [[project, "succeeded"] for project in PROJECTS]
        for project, client in clients.items():
            assert [hit["memory"] for hit in client.search("warm", user_id="ann")] == [f"The {project} is warm"]
        [line] = run("projects", "rebuild-index", "garden", "--wait", *place).splitlines()
        assert line.split()[:2] == ["garden", "succeeded"]
        [line] = run("projects", "reembed", "unheard-of", "kitchen", "--wait", *place, code=1).splitlines()
        assert line.split()[:2] == ["kitchen", "failed"]
        assert "minilm" in line.lower()  # what is allowed


def test_what_is_begun_without_a_server_waits_for_one(place: list[str], tmp_path: Path) -> None:
    with server(place, tmp_path) as running:
        running.client().add("Bees hum", user_id="ann", infer=False)
    [line] = run("projects", "rebuild-index", *place).splitlines()
    name, state, operation = line.split()
    assert (name, state) == ("default", "pending")
    assert run("projects", "rebuild-index", *place).split()[2] == operation  # joined
    assert "refused" in run("projects", "reembed", "other", *place, code=1)
    assert "Project not found" in run("projects", "rebuild-index", "cellar", *place, code=1)
    with server(place, tmp_path) as running:
        [line] = run("projects", "rebuild-index", "--wait", *place).splitlines()
        assert line.split()[:2] == ["default", "succeeded"]
        assert [hit["memory"] for hit in running.client().search("bees", user_id="ann")] == ["Bees hum"]
