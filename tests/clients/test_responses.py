"""Conversion of answers to the guide's shapes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from recalld import responses, structs
from recalld.v1 import entity_service_pb2, memory_pb2
from recalld.v1.memory_service_pb2 import AddResponse, AddResult

WHEN = datetime(2024, 7, 20, 8, 30, 36, 275141, UTC)
ISO = "2024-07-20T08:30:36.275141+00:00"


def stored(**fields: Any) -> memory_pb2.Memory:
    memory = memory_pb2.Memory(id="m1", text="Is a vegetarian", user_id="alex", revision=2, **fields)
    memory.create_time.FromDatetime(WHEN)
    memory.update_time.FromDatetime(WHEN)
    return memory


PLAIN = {
    "id": "m1",
    "memory": "Is a vegetarian",
    "user_id": "alex",
    "metadata": None,
    "categories": None,
    "created_at": ISO,
    "updated_at": ISO,
    "revision": 2,
}


def test_memory_without_extras() -> None:
    shown = responses.memory(stored())
    shown.pop("hash")
    assert shown == PLAIN


def test_hash_is_the_md5_of_the_text() -> None:
    assert (
        responses.memory(memory_pb2.Memory(text="abc"))["hash"] == "900150983cd24fb0d6963f7d28e17f72"
    )  # RFC 1321, A.5


def test_memory_with_everything() -> None:
    memory = stored(run_id="r", immutable=True, categories=["food"])
    memory.metadata.update({"food": "vegan", "n": 3, "x": 2.5})
    memory.expire_time.FromDatetime(datetime(2030, 2, 1, tzinfo=UTC))
    shown = responses.memory(memory)
    assert shown["metadata"] == {"food": "vegan", "n": 3, "x": 2.5}
    assert isinstance(shown["metadata"]["n"], int)
    assert shown["categories"] == ["food"]
    assert (shown["run_id"], shown["immutable"], shown["expiration_date"]) == ("r", True, "2030-01-31")
    memory.expire_time.FromDatetime(WHEN)
    assert responses.memory(memory)["expiration_date"] == ISO


def test_metadata_comes_back_as_it_was() -> None:
    given = {"a": [1, 2.5, "x", None, True, {"b": []}], "c": {"d": {}}, "e": -(2**53), "": "empty key"}
    holder = memory_pb2.Memory()
    structs.fill(holder.metadata, given)
    assert structs.read(memory_pb2.Memory.FromString(holder.SerializeToString()).metadata) == given


def test_hit() -> None:
    hit = memory_pb2.Hit(memory=stored(), score=1.7, relevance=0.6)
    hit.memory.sources.add(role="user", content="I'm a vegetarian")
    hit.memory.sources.add(role="user", content="Me too", name="Sam")
    shown = responses.hit(hit)
    assert shown["input"] == [
        {"role": "user", "content": "I'm a vegetarian"},
        {"role": "user", "content": "Me too", "name": "Sam"},
    ]
    assert (shown["score"], shown["rank_score"]) == (0.6, 1.7)
    assert "explanation" not in shown
    hit.explanation.keyword_raw = 3.0
    explanation = responses.hit(hit)["explanation"]
    assert explanation["keyword_raw"] == 3.0
    assert "vector_raw" not in explanation  # that leg did not nominate it
    assert explanation["speaker"] == 0.0


def result(change: Any, text: str = "Is a vegetarian", previous: str = "") -> AddResult:
    return AddResult(memory_id="m1", change=change, memory=memory_pb2.Memory(text=text), previous_text=previous)


def test_added() -> None:
    answer = AddResponse(
        results=[
            result(memory_pb2.CHANGE_ADD),
            result(memory_pb2.CHANGE_NONE),
            result(memory_pb2.CHANGE_UPDATE, "Eats fish", "Is a vegetarian"),
        ],
        verdicts=[
            memory_pb2.Verdict(message_index=0, reason=memory_pb2.VERDICT_REASON_STORED, memory_ids=["m1"]),
            memory_pb2.Verdict(message_index=1, reason=memory_pb2.VERDICT_REASON_QUOTED, detail="Not extracted."),
        ],
        add_id="a1",
        consistency_token="t",
        index_state=memory_pb2.INDEX_STATE_APPLIED,
    )
    assert responses.added(answer, "v1.0") == [
        {"id": "m1", "data": {"memory": "Is a vegetarian"}, "event": "ADD"},
        {"id": "m1", "data": {"memory": "Eats fish"}, "event": "UPDATE"},
    ]
    assert responses.added(answer, "v1.1") == {
        "results": [
            {"id": "m1", "memory": "Is a vegetarian", "event": "ADD"},
            {"id": "m1", "memory": "Eats fish", "event": "UPDATE", "previous_memory": "Is a vegetarian"},
        ],
        "verdicts": [
            {"index": 0, "reason": "STORED", "memory_ids": ["m1"]},
            {"index": 1, "reason": "QUOTED", "memory_ids": [], "detail": "Not extracted."},
        ],
        "add_id": "a1",
        "consistency_token": "t",
        "index_state": "APPLIED",
    }


def test_deletion_in_words() -> None:
    answer = AddResponse(results=[result(memory_pb2.CHANGE_DELETE)])
    assert responses.added(answer, "v1.0") == {"message": "ok"}
    assert responses.added(answer, "v1.1")["results"] == [{"id": "m1", "memory": "Is a vegetarian", "event": "DELETE"}]
    assert responses.added(AddResponse(), "v1.0") == []
    assert responses.added(AddResponse(results=[result(memory_pb2.CHANGE_NONE)]), "v1.0") == []


@pytest.mark.parametrize(
    ("count", "number", "size", "following", "previous"),
    [
        (204, 1, 50, "2", None),
        (204, 5, 50, None, "4"),
        (100, 2, 50, None, "1"),
        (0, 1, 50, None, None),
        (101, 2, 50, "3", "1"),
    ],
)
def test_pages(count: int, number: int, size: int, following: str | None, previous: str | None) -> None:
    page = responses.page([{"id": "m"}], count, number, size, "v1.0")
    assert page == {"count": count, "next": following, "previous": previous, "results": [{"id": "m"}]}
    assert responses.page([], 0, 1, 50, "v1.1")["results"] == {"results": []}


def test_history() -> None:
    event = memory_pb2.Event(sequence=9, memory_id="m1", kind=memory_pb2.KIND_UPDATED)
    event.memory_before.CopyFrom(stored())
    event.memory_after.CopyFrom(stored())
    event.memory_after.text = "Eats fish"
    event.memory_after.revision = 3
    event.sources.add(role="user", content="I eat fish now")
    event.time.FromDatetime(WHEN)
    assert responses.event(event) == {
        "id": "9",
        "memory_id": "m1",
        "input": [{"role": "user", "content": "I eat fish now"}],
        "old_memory": "Is a vegetarian",
        "new_memory": "Eats fish",
        "user_id": "alex",
        "event": "UPDATE",
        "metadata": None,
        "categories": None,
        "created_at": ISO,
        "updated_at": ISO,
        "revision": 3,
    }
    event.kind = memory_pb2.KIND_DELETED
    event.ClearField("memory_after")
    deleted = responses.event(event)
    assert (deleted["event"], deleted["old_memory"], deleted["new_memory"]) == ("DELETE", "Is a vegetarian", None)
    event.kind = memory_pb2.KIND_FORGOTTEN
    event.ClearField("memory_before")
    assert (responses.event(event)["event"], responses.event(event)["old_memory"]) == ("FORGET", None)


def test_entities() -> None:
    entity = memory_pb2.Entity(type=memory_pb2.ENTITY_TYPE_RUN, id="trip", number=4, memory_count=5)
    entity.first_seen_time.FromDatetime(WHEN)
    entity.last_seen_time.FromDatetime(WHEN)
    shown = responses.entities([entity_service_pb2.ListEntitiesResponse(entities=[entity])])
    assert shown == {
        "results": [
            {
                "id": "4",
                "name": "trip",
                "type": "run",
                "total_memories": 5,
                "created_at": ISO,
                "updated_at": ISO,
                "owner": None,
                "metadata": None,
            }
        ]
    }
