"""kill -9 at random moments: operations continue, end in a terminal state, with the result of an undisturbed run."""

from __future__ import annotations

import numpy as np
import pytest
from sqlean import dbapi2 as sqlite
from tests.faults.victim import Victim, items

from recalld.v1 import export_service_pb2, memory_service_pb2, operation_pb2, project_service_pb2

LARGE, SMALL = 3_000, 250
SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED


@pytest.mark.parametrize("victim", [LARGE], indirect=True)
@pytest.mark.parametrize("format", ["JSONL", "PARQUET"])
def test_an_export_survives(victim: Victim, format: str, kills: int) -> None:
    wanted = getattr(export_service_pb2, f"EXPORT_FORMAT_{format}")
    options = {"format": wanted, "with_vectors": True, "with_history": True}
    asked = export_service_pb2.CreateExportRequest(scope={"user_id": "u"}, request_id="once", **options)
    name = victim.export.CreateExport(asked).name
    operation, _ = victim.killed_until_done(name, kills, 0.8)
    assert victim.export.CreateExport(asked).name == name
    disturbed, quiet = victim.exported(operation), victim.snapshot(**options)
    assert (disturbed.sha256, disturbed.size_bytes) == (quiet.sha256, quiet.size_bytes)
    assert disturbed.memory_count == LARGE


@pytest.mark.parametrize("victim", [LARGE], indirect=True)
def test_a_rebuild_survives(victim: Victim, kills: int) -> None:
    numbered = [item.memory for item in items(LARGE, vectors=False)][100:]  # nothing else counts to a hundred
    asked = victim.random.sample(numbered, 5)
    assert all(memory.id in victim.searched(memory.text) for memory in asked)
    quiet = features(victim, 1)
    name = victim.project.RebuildIndex(project_service_pb2.RebuildIndexRequest()).name
    operation, known = victim.killed_until_done(name, kills, 1.0)
    answer = project_service_pb2.RebuildIndexResponse()
    assert operation.response.Unpack(answer)
    assert (answer.index_status.generation, known.completed_count) == (2, LARGE)
    assert all(memory.id in victim.searched(memory.text) for memory in asked)
    assert features(victim, 2) == quiet
    assert features(victim, 1) == {}
    assert victim.sound() == (LARGE, LARGE)


@pytest.mark.parametrize("victim", [SMALL], indirect=True)
def test_a_reembedding_survives(victim: Victim, kills: int) -> None:
    asked = project_service_pb2.ReembedProjectRequest(model="minilm-l6-v2-int8")
    operation, _ = victim.killed_until_done(victim.project.ReembedProject(asked).name, kills, 1.0)
    answer = project_service_pb2.ReembedProjectResponse()
    assert operation.response.Unpack(answer)
    assert answer.index_status.generation == 2
    disturbed = features(victim, 2)
    _, known = victim.ended(victim.project.ReembedProject(asked).name)
    assert known.state == SUCCEEDED
    quiet = features(victim, 3)
    assert disturbed.keys() == quiet.keys()
    assert len(quiet) == SMALL
    for key, (terms, vector) in quiet.items():
        assert disturbed[key][0] == terms
        # A model's last bits depend on what is embedded together.
        assert np.allclose(np.frombuffer(disturbed[key][1], "<f2"), np.frombuffer(vector, "<f2"), atol=2e-3)
    assert victim.sound() == (SMALL, SMALL)


@pytest.mark.parametrize("victim", [0], indirect=True)
def test_asynchronous_adds_survive_and_happen_once(victim: Victim) -> None:
    names = []
    for number in range(30):
        asked = memory_service_pb2.AddRequest(
            scope={"user_id": "u"}, text=f"Drawer {number} is open", infer=False, request_id=str(number)
        )
        names.append(victim.memory.AddAsync(asked).name)
        if number in (9, 19):
            victim.killed(0.1)
    for name in names:
        operation, known = victim.ended(name)
        answer = memory_service_pb2.AddResponse()
        assert operation.response.Unpack(answer), operation.error
        assert (known.subject, len(answer.results)) == (answer.add_id, 1)
    texts = sorted(row["memory"] for row in victim.rows())
    assert texts == sorted(f"Drawer {number} is open" for number in range(30))


def features(victim: Victim, generation: int) -> dict[tuple[str, int], tuple[bytes, bytes]]:
    """Read from the file: no call shows them."""
    sql = "SELECT memory_id, text_revision, terms, vector FROM features WHERE generation = ?"
    connection = sqlite.connect(f"file:{victim.server.data_dir / 'ledger.db'}?mode=ro", uri=True)
    try:
        return {(row[0], row[1]): (row[2], row[3]) for row in connection.execute(sql, (generation,))}
    finally:
        connection.close()
