"""The guide's Python programs, sections 3.1 to 4.10, print what the guide says, against a real server.

Ids and times differ. The texts are those of the rules extractor, which is modelled on the guide's.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

import pytest

import recalld
from recalld import AsyncMemoryClient, MemoryClient, testing

ALEX = [
    {"role": "user", "content": "Hi, I'm Alex. I'm a vegetarian and I'm allergic to nuts."},
    {
        "role": "assistant",
        "content": "Hello Alex! I've noted that you're a vegetarian and have a nut allergy. I'll keep this in mind for "
        "any food-related recommendations or discussions.",
    },
]
JAPAN = [
    {"role": "user", "content": "I'm planning a trip to Japan next month."},
    {
        "role": "assistant",
        "content": "That's exciting, Alex! A trip to Japan next month sounds wonderful. Would you like some "
        "recommendations for vegetarian-friendly restaurants in Japan?",
    },
    {"role": "user", "content": "Yes, please! Especially in Tokyo."},
    {
        "role": "assistant",
        "content": "Great! I'll remember that you're interested in vegetarian restaurants in Tokyo for your upcoming "
        "trip. I'll prepare a list for you in our next interaction.",
    },
]
TUTOR = [
    {"role": "system", "content": "You are an AI tutor with a personality. Give yourself a name for the user."},
    {"role": "assistant", "content": "Understood. I'm an AI tutor with a personality. My name is Alice."},
]
FACTS = ["Name is Alex", "Is a vegetarian", "Is allergic to nuts"]
MEMORY_KEYS = {"id", "memory", "user_id", "hash", "metadata", "categories", "created_at", "updated_at"}
TODAY = datetime.now(UTC).date().isoformat()


def texts(items: list[dict[str, Any]]) -> list[str]:
    return [each["memory"] for each in items]


def test_3_1_async_client(server: testing.LocalServer, client: MemoryClient) -> None:
    asynchronous = AsyncMemoryClient(server.target)

    async def main() -> Any:
        async with asynchronous:
            return await asynchronous.add("I'm travelling to SF", user_id="john")

    (event,) = asyncio.run(main())
    assert event["event"] == "ADD"
    assert "SF" in event["data"]["memory"]
    assert texts(client.get_all(user_id="john")) == [event["data"]["memory"]]


def test_4_1_long_term_memory_of_a_user(client: MemoryClient) -> None:
    first = client.add(ALEX, user_id="alex", output_format="v1.0")
    assert [each["data"]["memory"] for each in first] == FACTS
    assert {each["event"] for each in first} == {"ADD"}
    again = client.add(ALEX, user_id="alex", output_format="v1.1", metadata={"food": "vegan"})
    assert {each["id"] for each in again["results"]} == {each["id"] for each in first}  # merged, not stored twice
    stored = client.get_all(user_id="alex")
    assert sorted(texts(stored)) == sorted(FACTS)
    assert all(each["metadata"] == {"food": "vegan"} for each in stored)


def test_4_1_short_term_memory_of_a_session(client: MemoryClient) -> None:
    events = client.add(JAPAN, user_id="alex123", run_id="trip-planning-2024", output_format="v1.1")["results"]
    assert "Planning a trip to Japan next month" in texts(events)
    assert "Interested in vegetarian restaurants in Tokyo" in texts(events)
    assert client.add(JAPAN, user_id="alex123", run_id="trip-planning-2024") == []  # nothing is new


def test_4_1_memory_of_an_agent(client: MemoryClient) -> None:
    events = client.add(TUTOR, agent_id="ai-tutor", output_format="v1.0")
    assert any("Alice" in each["data"]["memory"] for each in events)
    assert all(each["event"] == "ADD" for each in events)


def test_4_2_search(client: MemoryClient) -> None:
    client.add(ALEX, user_id="alex", metadata={"food": "vegan"})
    query = "What should I cook for dinner today?"
    hits = client.search(query, user_id="alex", output_format="v1.0")
    assert hits[0]["memory"] == "Is a vegetarian"
    assert hits[0].keys() >= MEMORY_KEYS | {"input", "score"}
    assert hits[0]["input"][0] == ALEX[0]
    assert "food_preferences" in hits[0]["categories"]
    assert re.fullmatch("[0-9a-f]{32}", hits[0]["hash"])
    assert datetime.fromisoformat(hits[0]["created_at"]).tzinfo
    assert client.search(query, user_id="alex", output_format="v1.1") == {"results": hits}
    assert client.search(query, user_id="nobody") == []


def test_4_2_search_by_category_and_metadata(client: MemoryClient) -> None:
    client.add(ALEX, user_id="alex", metadata={"food": "vegan"})
    client.add(ALEX, user_id="sam", metadata={"food": "any"})
    hits = client.search("What do you know about me?", categories=["food_preferences"], metadata={"food": "vegan"})
    assert hits
    assert {each["user_id"] for each in hits} == {"alex"}
    assert all("food_preferences" in each["categories"] for each in hits)


def test_4_2_search_by_custom_filters(client: MemoryClient) -> None:
    client.add("I prefer window seats", user_id="alex", agent_id="travel-assistant")
    client.add("I prefer tea", user_id="alex", agent_id="barista")
    query = "What do you know about me?"
    filters: dict[str, Any] = {
        "AND": [{"user_id": "alex"}, {"agent_id": {"in": ["travel-assistant", "customer-support"]}}]
    }
    hits = client.search(query, version="v2", filters=filters)
    assert [each["agent_id"] for each in hits] == ["travel-assistant"]
    filters = {"AND": [{"created_at": {"gte": TODAY, "lte": TODAY}}, {"user_id": "alex"}]}
    assert len(client.search(query, version="v2", filters=filters)) == 2
    reversed_range = {"AND": [{"created_at": {"gte": "2024-07-20", "lte": "2024-07-10"}}, {"user_id": "alex"}]}
    assert client.search(query, version="v2", filters=reversed_range) == []


def test_4_3_users(client: MemoryClient) -> None:
    client.add(ALEX, user_id="alex")
    client.add(TUTOR, agent_id="ai-tutor")
    listed = {each["name"]: each for each in client.users()["results"]}
    assert listed.keys() == {"alex", "ai-tutor"}
    assert (listed["alex"]["type"], listed["alex"]["total_memories"]) == ("user", len(FACTS))
    assert listed["ai-tutor"]["type"] == "agent"
    assert listed["alex"]["id"].isdigit()


def test_4_4_get_all_paged(client: MemoryClient) -> None:
    client.add(
        [{"role": "user", "content": f"My locker number is {n}."} for n in range(7)], user_id="alex", infer=False
    )
    page = client.get_all(user_id="alex", page=1, page_size=3)
    assert (page["count"], page["next"], page["previous"], len(page["results"])) == (7, "2", None, 3)
    assert page["results"][0].keys() >= MEMORY_KEYS
    wrapped = client.get_all(user_id="alex", page=3, page_size=3, output_format="v1.1")
    assert (wrapped["next"], wrapped["previous"], len(wrapped["results"]["results"])) == (None, "2", 1)
    walked = [each["id"] for n in (1, 2, 3) for each in client.get_all(user_id="alex", page=n, page_size=3)["results"]]
    assert walked == [each["id"] for each in client.get_all(user_id="alex")]
    assert len(set(walked)) == 7


def test_4_4_get(client: MemoryClient) -> None:
    (event, *_) = client.add(ALEX, user_id="alex")
    memory = client.get(memory_id=event["id"])
    assert memory["memory"] == event["data"]["memory"]
    assert memory["metadata"] is None
    with pytest.raises(recalld.NotFound):
        client.get("582bbe6d-506b-48c6-a4c6-5df3b1e63428")


def test_4_4_get_all_by_category_keyword_and_filter(client: MemoryClient) -> None:
    client.add("I like to play chess.", user_id="alex123", infer=False, categories=["likes"])
    client.add("I am a vegetarian.", user_id="alex123", infer=False, categories=["food_preferences"])
    assert texts(client.get_all(user_id="alex123", categories=["likes"])) == ["I like to play chess."]
    assert len(client.get_all(user_id="alex123", categories=["likes", "food_preferences"])) == 2
    assert client.get_all(user_id="alex123", categories=["likes"], page=1, page_size=50)["count"] == 1
    assert client.get_all(user_id="alex123", keywords="to play", page=1, page_size=50)["count"] == 1
    filters = {
        "AND": [
            {"user_id": "alex123"},
            {"created_at": {"gte": TODAY, "lte": TODAY}},
            {"categories": {"contains": "food_preferences"}},
        ]
    }
    assert texts(client.get_all(version="v2", filters=filters)) == ["I am a vegetarian."]
    assert client.get_all(version="v2", filters=filters, page=1, page_size=50)["count"] == 1
    with pytest.raises(recalld.FilterError):
        client.get_all(version="v2", filters={"colour": "red"})


def test_4_5_history(client: MemoryClient) -> None:
    tried = "I recently tried chicken and I loved it. I'm thinking of trying more non-vegetarian dishes.."
    messages = [{"role": "user", "content": tried}]
    first = client.add(messages, user_id="alex")
    messages.append({"role": "user", "content": "I turned vegetarian now."})
    second = client.add(messages, user_id="alex")
    for event in (*first, *second):
        history = client.history(event["id"])
        assert history[0]["event"] == "ADD"
        assert history[0]["old_memory"] is None
        assert history[-1]["new_memory"] == client.get(event["id"])["memory"]
        assert {each["memory_id"] for each in history} == {event["id"]}
        assert {each["user_id"] for each in history} == {"alex"}
        assert all(each["content"] in (tried, "I turned vegetarian now.") for each in history[0]["input"])
    assert any("vegetarian" in each["data"]["memory"].lower() for each in second)


def test_4_6_update(client: MemoryClient) -> None:
    (event, *_) = client.add(ALEX, user_id="alex")
    message = "I recently tried chicken and I loved it. I'm thinking of trying more non-vegetarian dishes.."
    updated = client.update(event["id"], message)
    assert (updated["id"], updated["memory"], updated["revision"]) == (event["id"], message, 2)
    assert updated["updated_at"] > updated["created_at"]
    last = client.history(event["id"])[-1]
    assert (last["event"], last["old_memory"], last["new_memory"]) == ("UPDATE", event["data"]["memory"], message)
    assert client.search("Which meat did I try?", user_id="alex")[0]["id"] == event["id"]


def test_4_7_delete(client: MemoryClient) -> None:
    (event, *_) = client.add(ALEX, user_id="alex")
    assert client.delete(event["id"]) == {"message": "Memory deleted successfully"}
    with pytest.raises(recalld.NotFound):
        client.delete(event["id"])
    assert event["id"] not in [each["id"] for each in client.search("name", user_id="alex")]
    assert client.history(event["id"])[-1]["event"] == "DELETE"
    assert client.restore(event["id"])["memory"] == event["data"]["memory"]
    assert client.delete_all(user_id="alex") == {"message": "Memories deleted successfully!"}
    assert client.get_all(user_id="alex") == []
    client.add(ALEX, user_id="alex")
    assert client.delete_users() == {"message": "All users, agents, and runs deleted."}
    assert client.users() == {"results": []}


def test_4_8_reset(client: MemoryClient) -> None:
    client.add(ALEX, user_id="alex")
    client.add(TUTOR, agent_id="ai-tutor", run_id="lesson")
    assert client.reset() == {"message": "Client reset successful. All users and memories deleted."}
    assert client.get_all() == []
    assert client.users() == {"results": []}


def test_4_9_and_4_10_batches(client: MemoryClient) -> None:
    one, two, three = (event["id"] for event in client.add(ALEX, user_id="alex"))
    updates = [{"memory_id": one, "text": "Watches football"}, {"memory_id": two, "text": "Loves to travel"}]
    assert client.batch_update(updates) == {"message": "Successfully updated 2 memories"}
    assert [client.get(each)["memory"] for each in (one, two)] == ["Watches football", "Loves to travel"]
    unknown = "582bbe6d-506b-48c6-a4c6-5df3b1e63428"
    with pytest.raises(recalld.NotFound):
        client.batch_delete([{"memory_id": one}, {"memory_id": unknown}])
    assert client.get(one)["memory"] == "Watches football"  # all or none
    deletes = [{"memory_id": one}, {"memory_id": two}]
    assert client.batch_delete(deletes) == {"message": "Successfully deleted 2 memories"}
    assert [each["id"] for each in client.get_all(user_id="alex")] == [three]
