"""An export of a whole project with history gives the same project on another server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recalld import MemoryClient, testing
from recalld.v1 import memory_pb2, memory_service_pb2

OWN = ("sequence", "time", "principal", "request_id", "consistency_token")  # the import's, not the memory's


def lived(client: MemoryClient) -> list[str]:
    """Memories of every kind of past; their ids."""
    said = [{"role": "user", "content": "I live in Lisbon. I am a vegetarian.", "name": "Mara"}]
    client.add(said, user_id="mara", run_id="r", metadata={"a": 1}, expiration_date="2090-01-01")
    client.add("The hat is blue", user_id="mara", infer=False, immutable=True)
    client.add("The cat is grey", user_id="mara", agent_id="helper", infer=False)
    client.add("The dog is old", user_id="mara", infer=False)
    found = {each["memory"]: each["id"] for each in client.get_all(user_id="mara")}
    moved = next(id for text, id in found.items() if "Lisbon" in text)
    client.update(moved, "Lives in Porto")
    client.update(moved, metadata={"a": 2, "b": ["x"]})
    client.delete(found["The cat is grey"])
    client.restore(found["The cat is grey"])
    client.delete(found["The dog is old"])
    return sorted(found.values())


def told(client: MemoryClient, id: str) -> list[dict[str, Any]]:
    """Without the places of the entries, and without the times of deletions: those are the import's."""
    return [
        {key: value for key, value in each.items() if key != "id" and (key, each["event"]) != ("updated_at", "DELETE")}
        for each in client.history(id)
    ]


def run(command: str, file: Path, *options: str, target: str) -> str:
    words = [sys.executable, "-m", "recalld_server", command, str(file), *options, "--target", target]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_what_was_is_again(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"all.{ending}"
    asked = ("--history", "--vectors", "--format", ending)
    with testing.start_local() as server, testing.start_local() as other:
        with server.client() as mine, other.client() as theirs:
            ids = lived(mine)
            assert len(ids) == 5
            run("export", file, *asked, target=server.target)
            assert run("import", file, target=other.target).startswith("5 stored, 0 known already, 0 refused")
            assert run("import", file, target=other.target).startswith("0 stored, 5 known already, 0 refused")
            for id in ids:
                assert told(theirs, id) == told(mine, id)
                assert len(told(mine, id)) in (1, 2, 3)
            listed = [{each["id"]: each for each in client.get_all(user_id="mara")} for client in (mine, theirs)]
            assert listed[0] == listed[1]
            for question in ("where does Mara live?", "what colour is the cat?", "vegetarian", "dog"):
                ours, hits = ([(h["id"], round(h["score"], 3)) for h in search(c, question)] for c in (mine, theirs))
                assert ours == hits
        back = tmp_path / f"back.{ending}"
        run("export", back, *asked, target=other.target)
        again = tmp_path / f"again.{ending}"
        run("export", again, *asked, target=server.target)
    assert rows(back) == rows(again)


def search(client: MemoryClient, question: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.search(question, user_id="mara", limit=10)
    return found


def rows(file: Path) -> list[dict[str, Any]]:
    from recalld_server.cli.rows import Rows

    found = [{name: value for name, value in row.items() if name not in OWN} for row in Rows(file)]
    for row in found:  # as exact as what is stored of it
        row["vector"] = [round(number, 3) for number in row["vector"]]
    return found


def revision(id: str, number: int, kind: str, text: str = "The boat is red", **fields: Any) -> Any:
    made = {"id": id, "text": text, "user_id": "boats", "revision": number} | fields
    return memory_service_pb2.ImportRevision(memory=memory_pb2.Memory(**made), kind=kind)


def item(*revisions: Any) -> Any:
    return memory_service_pb2.ImportItem(history={"revisions": revisions})


ID = "0198c0de-0000-7000-8000-00000000000"


@pytest.mark.parametrize(
    ("revisions", "field"),
    [
        ([], "history.revisions"),
        ([revision(ID + "1", 1, "KIND_FORGOTTEN")], "history.revisions[0].kind"),
        ([revision(ID + "1", 0, "KIND_ADDED")], "history.revisions[0].memory.revision"),
        ([revision("", 1, "KIND_ADDED")], "history.revisions[0].memory.id"),
        (
            [revision(ID + "1", 2, "KIND_ADDED"), revision(ID + "1", 2, "KIND_UPDATED")],
            "history.revisions[1].memory.revision",
        ),
        (
            [revision(ID + "1", 1, "KIND_ADDED"), revision(ID + "2", 2, "KIND_UPDATED")],
            "history.revisions[1].memory.id",
        ),
        (
            [revision(ID + "1", 1, "KIND_ADDED"), revision(ID + "1", 2, "KIND_UPDATED", agent_id="x")],
            "history.revisions[1].memory",
        ),
        (
            [revision(ID + "1", 1, "KIND_DELETED"), revision(ID + "1", 2, "KIND_UPDATED")],
            "history.revisions[1].kind",
        ),
    ],
)
async def test_a_history_that_can_not_be_is_named(api: Any, revisions: list[Any], field: str) -> None:
    fine = item(revision(ID + "9", 1, "KIND_ADDED", text="The boat is sound"))
    *_, last = await api.imported([item(*revisions), fine])
    assert last.stored + last.unchanged == 1
    assert [failure.index for failure in last.failed] == [0]
    assert field in str(last.failed[0].status)


async def test_an_import_over_what_is_there(api: Any) -> None:
    user = api.user()
    [live] = await api.remember(user, "The kite is green")

    def with_end(text: str, *kinds: str) -> Any:
        same = {"user_id": user, "categories": live.categories}
        return item(*(revision(live.id, n, kind, text, **same) for n, kind in enumerate(kinds, 1)))

    *_, last = await api.imported([with_end("The kite is green", "KIND_ADDED", "KIND_UPDATED")])
    assert (last.stored, last.unchanged) == (0, 1)  # and its history is not merged
    assert len(await api.events(user)) == 1
    for refused in (with_end("Other", "KIND_ADDED"), with_end("The kite is green", "KIND_ADDED", "KIND_DELETED")):
        *_, last = await api.imported([refused])
        assert "MEMORY_EXISTS" in str(last.failed[0].status)
    await api.memory.DeleteMemory(memory_service_pb2.DeleteMemoryRequest(memory_id=live.id))
    *_, last = await api.imported([with_end("The kite is green", "KIND_ADDED", "KIND_DELETED")])
    assert (last.stored, last.unchanged) == (0, 1)
    *_, last = await api.imported([with_end("The kite is green", "KIND_ADDED")])
    assert last.stored == 1
    assert await api.texts(user) == ["The kite is green"]
