"""kill -9 during the deletion of a project: nothing of it is left, and other projects lose nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
from sqlean import dbapi2 as sqlite
from tests.faults.victim import Victim, items

from recalld.v1 import project_service_pb2 as pb

COUNT, KEPT = 3_000, 250


@pytest.mark.parametrize("victim", [KEPT], indirect=True)
def test_a_project_is_gone_after_all(
    victim: Victim, kills: int, recalld: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    def key(*options: str) -> str:
        made = recalld("keys", "create", *options, f"--data-dir={victim.server.data_dir}")
        assert not made.returncode, made.stderr
        return made.stdout.split()[0]

    operator = key("--role=operator")
    victim.become(operator)
    victim.project.CreateProject(pb.CreateProjectRequest(project={"project_id": "other"}), metadata=victim.metadata)
    victim.become(key("--role=writer", "--project=other"))
    *_, last = victim.memory.ImportMemories(items(COUNT), metadata=victim.metadata)
    assert last.stored == COUNT
    assert counts(victim, "ledger.db")["features"] == COUNT
    victim.become(operator)
    asked = pb.DeleteProjectRequest(project_id="other", confirm_project_id="other")
    begun = victim.project.DeleteProject(asked, metadata=victim.metadata)
    operation, _ = victim.killed_until_done(begun.name, kills, 0.5)
    assert operation.response.Unpack(pb.DeleteProjectResponse())
    assert victim.sound() == (KEPT, KEPT)
    assert counts(victim, "ledger.db") == {"deleted_projects": 1}
    assert counts(victim, "index.db").keys() <= {"spaces"}


def counts(victim: Victim, file: str) -> dict[str, int]:
    """How many rows of each table belong to the project, where any do."""
    connection = sqlite.connect(f"file:{victim.server.data_dir / file}?mode=ro", uri=True)
    try:
        tables = "SELECT m.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type='table' AND c.name=?"
        names = [name for (name,) in connection.execute(tables, ("project",))]
        assert names
        found = {
            name: connection.execute(f"SELECT count(*) FROM {name} WHERE project='other'").fetchone()[0]  # noqa: S608
            for name in names
        }
        return {name: count for name, count in found.items() if count}
    finally:
        connection.close()
