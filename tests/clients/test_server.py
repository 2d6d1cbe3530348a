"""Features of the clients beyond the guide, against a real server."""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

import recalld
from recalld import MemoryClient, testing

TEXT = "Hi, I'm Alex. I'm a vegetarian and I'm allergic to nuts."


def test_stream_search_finds_what_search_finds(client: MemoryClient) -> None:
    client.add(TEXT, user_id="alex")
    query = "What should I cook for dinner today?"
    with client.stream_search(query, user_id="alex") as stream:
        hits = list(stream)
        assert stream.done is not None
        assert stream.done.hit_count == len(hits)
    assert [each["id"] for each in hits] == [each["id"] for each in client.search(query, user_id="alex")]


def test_a_stream_goes_on_after_a_crash() -> None:
    with testing.start_local() as server:
        client = server.client()
        padding = "x" * 3000  # more than the transport holds, so the crash comes before the server has sent all
        items = [
            {"text": f"Locker {number} holds a hat", "user_id": "alex", "metadata": {"padding": padding}}
            for number in range(300)
        ]
        *_, progress = client.import_memories(items)
        assert progress.stored == len(items)
        expected = [each["id"] for each in client.search("locker hat", user_id="alex", limit=len(items))]
        with client.stream_search("locker hat", user_id="alex", limit=len(items)) as stream:
            ids = [next(stream)["id"] for _ in range(5)]
            server.kill()
            restarting = threading.Thread(target=server.restart)
            restarting.start()
            ids += [each["id"] for each in stream]
            restarting.join()
        assert ids == expected
        assert stream.done is not None


def test_a_write_repeated_with_its_request_id_is_done_once(client: MemoryClient) -> None:
    first = client.add("My locker is 12.", user_id="alex", infer=False, request_id="one")
    assert client.add("My locker is 12.", user_id="alex", infer=False, request_id="one") == first
    assert len(client.get_all(user_id="alex")) == 1
    with pytest.raises(recalld.InvalidRequest) as caught:
        client.add("My locker is 13.", user_id="alex", infer=False, request_id="one")
    assert caught.value.reason == "REQUEST_ID_REUSED"


def test_import_of_what_get_all_returns(client: MemoryClient) -> None:
    client.add(TEXT, user_id="alex", metadata={"food": "vegan"})
    exported = client.get_all(user_id="alex")
    client.reset()
    moved = [each | {"id": f"{number:08x}-0000-4000-8000-000000000000"} for number, each in enumerate(exported, 1)]
    *_, progress = client.import_memories(iter(moved))
    assert (progress.stored, progress.failed) == (3, ())
    assert {each["id"]: each["created_at"] for each in client.get_all(user_id="alex")} == {
        each["id"]: each["created_at"] for each in moved
    }
    *_, repeated = client.import_memories(moved)
    assert (repeated.stored, repeated.unchanged) == (0, 3)


def test_an_agents_conversation_goes_in_with_a_verdict_on_each_message(client: MemoryClient) -> None:
    conversation = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "I live in Oslo."}, {"type": "image_url"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "{}"},
        {"role": "user", "content": [{"type": "tool_result", "content": "9"}]},
    ]
    added: Any = client.add(conversation, user_id="agents", output_format="v1.1")
    assert [each["memory"] for each in added["results"]] == ["Lives in Oslo"]
    assert [(each["index"], each["reason"]) for each in added["verdicts"]] == [
        (0, "ROLE_NOT_REMEMBERED"),
        (1, "STORED"),
        (2, "ROLE_NOT_REMEMBERED"),
        (3, "ROLE_NOT_REMEMBERED"),
        (4, "EMPTY"),
    ]
    assert added["add_id"]
    hits = client.search("Oslo", user_id="agents", at_least_as_fresh=added["consistency_token"])
    assert [hit["memory"] for hit in hits] == ["Lives in Oslo"]


def test_who_said_it_and_when_come_back(client: MemoryClient) -> None:
    said = [
        {"role": "user", "name": "Alice", "content": "I love tea", "timestamp": "2024-05-01T10:00:00Z"},
        {"role": "user", "name": "Bob", "content": "I hate tea"},
    ]
    client.add(said, user_id="family", infer=False)
    assert {each["speaker"] for each in client.get_all(user_id="family")} == {"Alice", "Bob"}
    (first, *_) = client.search("love tea", user_id="family", limit=1)
    assert first["input"] == [{**said[0], "timestamp": "2024-05-01T10:00:00.000000+00:00"}]


def test_when_something_was_said_can_be_asked_for(client: MemoryClient, tmp_path: Path) -> None:
    client.add("I read the book Extraordinaires", user_id="reader", timestamp=1437630248)
    client.add("I read the book Middlemarch", user_id="reader", timestamp="2024-03-02T10:00:00Z")
    client.add("I moved to Rome on 2020-05-05", user_id="reader")

    def told(test: dict[str, Any]) -> set[str]:
        filters = {"AND": [{"user_id": "reader"}, test]}
        listed = {each["memory"] for each in client.get_all(filters=filters)}
        assert {each["memory"] for each in client.search("book Rome", filters=filters, limit=100)} == listed
        return {text.rpartition(" ")[2] for text in listed}

    assert told({"timestamp": {"lte": "2020-07-23"}}) == {"Extraordinaires"}
    assert told({"timestamp": {"gte": "2015-01-01"}}) == {"Extraordinaires", "Middlemarch", "2020-05-05"}
    assert told({"said_time": {"gte": "2015-08-01"}}) == {"Middlemarch"}
    assert told({"NOT": {"said_time": "*"}}) == {"2020-05-05"}
    assert told({"event_date": "2020-05-05"}) == {"2020-05-05"}
    path = tmp_path / "out.jsonl"
    list(client.export(path, user_id="reader"))
    before = {each["memory"]: each for each in client.get_all(user_id="reader")}
    assert {each.get("timestamp", "")[:10] for each in before.values()} == {"2015-07-23", "2024-03-02", ""}
    client.reset()
    rows = [json.loads(line) | {"id": str(uuid.uuid4())} for line in path.read_text().splitlines()]
    list(client.import_memories(rows))
    after = {each["memory"]: each for each in client.get_all(user_id="reader")}
    for text, each in before.items():
        for name in ("timestamp", "event_date", "speaker"):
            assert after[text].get(name) == each.get(name), (text, name)


def test_reset_deletes_however_many_users_there_are(client: MemoryClient) -> None:
    vector = [1.0] + [0.0] * 383
    items = [
        {"memory": f"Owns hat {n}", "user_id": f"u{n}", "vector": vector, "vector_model": "minilm-l6-v2-int8"}
        for n in range(5_000)
    ]
    *_, last = client.import_memories(items)
    assert last.stored == 5_000
    client.reset()
    assert client.users()["results"] == []
