"""Search over one user with 3,000 memories: hits, order and explanations."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import uuid
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from recalld import testing
from recalld.v1 import memory_pb2, search_service_pb2, search_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.domain.ranking import DEPTH

COUNT = 3_000
WORDS = ["apple", "bread", "cheese", "dinner", "evening", "forest", "garden", "hotel", "island", "jacket", "kitchen"]
QUERY = "an apple in the garden"
MODES = ("SEARCH_MODE_HYBRID", "SEARCH_MODE_KEYWORD", "SEARCH_MODE_VECTOR")
SIMILARITY = CONTEXT = 0.4  # the formula's weights, as the proto states them
MIB = 1024 * 1024


@dataclass(frozen=True)
class Crowd:
    """A user with 3,000 memories of three words each, and for each mode everything that a search finds, explained."""

    user: str
    texts: list[str]
    whole: dict[str, list[memory_pb2.Hit]]


@pytest.fixture(scope="module")
def crowd(server: testing.LocalServer) -> Crowd:
    """Numbered in their metadata, with made-up vectors."""
    user, chance, noise = f"crowd-{uuid.uuid4()}", random.Random(3), np.random.default_rng(3)
    texts = [f"{' '.join(chance.choices(WORDS, k=3))} {number}" for number in range(COUNT)]
    items = [
        {
            "memory": text,
            "user_id": user,
            "metadata": {"number": number},
            "categories": ["even" if number % 2 == 0 else "odd"],
            "vector": noise.normal(size=384).tolist(),
            "vector_model": "minilm-l6-v2-int8",
        }
        for number, text in enumerate(texts)
    ]
    *_, last = server.client().import_memories(items)
    assert (last.stored, last.failed) == (COUNT, ())
    with grpc.insecure_channel(server.target) as channel:
        stub = search_service_pb2_grpc.SearchServiceStub(channel)
        requests = {mode: asked(user, mode=mode, limit=10_000, explain=True) for mode in MODES}
        found = {mode: list(stub.StreamSearch(request)) for mode, request in requests.items()}
    return Crowd(user, texts, {mode: [answer.hit for answer in answers[:-1]] for mode, answers in found.items()})


def asked(user: str, query: str = QUERY, **fields: Any) -> search_service_pb2.SearchRequest:
    return search_service_pb2.SearchRequest(query=query, scope={"user_id": user}, **fields)


async def hits(api: Any, request: search_service_pb2.SearchRequest) -> list[memory_pb2.Hit]:
    """All hits, by the stream: one answer may hold no more than 3 MiB."""
    return [answer.hit async for answer in api.search.StreamSearch(request) if answer.WhichOneof("event") == "hit"]


def compared(field: str, operator: str, **value: Any) -> dict[str, Any]:
    return {"comparison": {"field": field, "operator": f"OPERATOR_{operator}", "value": value}}


def numbers(found: list[memory_pb2.Hit]) -> list[int]:
    return [int(hit.memory.metadata["number"]) for hit in found]


def assert_in_order(found: list[memory_pb2.Hit]) -> None:
    """By score, then id; the tail below the head, and by relevance."""
    keys = [(-hit.score, hit.memory.id) for hit in found]
    assert keys == sorted(keys)
    assert len({hit.memory.id for hit in found}) == len(found)
    tails = [hit.explanation.tail for hit in found]
    assert tails == sorted(tails)
    tail = [hit.relevance for hit in found if hit.explanation.tail]
    assert all(above > below - 2e-6 for above, below in itertools.pairwise(tail))  # scores have six digits


@pytest.mark.parametrize("mode", MODES)
def test_everything_that_matches_is_found_in_order(crowd: Crowd, mode: str) -> None:
    found = crowd.whole[mode]
    assert_in_order(found)
    assert {hit.memory.user_id for hit in found} == {crowd.user}
    by_words = {number for number, text in enumerate(crowd.texts) if {"apple", "garden"} & set(text.split())}
    assert set(numbers(found)) == (by_words if mode == "SEARCH_MODE_KEYWORD" else set(range(COUNT)))
    assert sum(hit.explanation.tail for hit in found) > 100


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [1, 10, 100, 400])
async def test_a_limit_is_filled(api: Any, crowd: Crowd, mode: str, limit: int) -> None:
    found = await hits(api, asked(crowd.user, mode=mode, limit=limit, explain=True))
    assert len(found) == limit
    assert_in_order(found)
    head = [hit for hit in found if not hit.explanation.tail]
    assert head == crowd.whole[mode][: len(head)]  # however long the answer, it begins in the same way


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("rank", "limit"), [(2000, 100), (200, 300), (5, 100)])
async def test_a_threshold_takes_the_place_of_no_hit(api: Any, crowd: Crowd, mode: str, rank: int, limit: int) -> None:
    """The relevance of the result at a rank is the threshold."""
    relevances = sorted((hit.relevance for hit in crowd.whole[mode]), reverse=True)
    threshold = relevances[min(rank, len(relevances)) - 1]
    above = {hit.memory.id for hit in crowd.whole[mode] if hit.relevance >= threshold}
    assert len(above) >= min(rank, len(relevances))
    found = await hits(api, asked(crowd.user, mode=mode, limit=limit, threshold=threshold))
    assert {hit.memory.id for hit in found} <= above
    assert len(found) == min(limit, len(above))


async def test_filters_and_limits_together(api: Any, crowd: Crowd) -> None:
    low = compared("metadata.number", "LT", int64_value=1_000)
    even = compared("categories", "CONTAINS", string_value="even")
    both = {"all_of": {"filters": [low, even]}}
    assert set(numbers(await hits(api, asked(crowd.user, limit=10_000, filter=both)))) == set(range(0, 1_000, 2))
    last = compared("metadata.number", "GTE", int64_value=COUNT - 2)
    assert sorted(numbers(await hits(api, asked(crowd.user, limit=7, filter=last)))) == [COUNT - 2, COUNT - 1]
    none = compared("metadata.number", "LT", int64_value=0)
    assert await hits(api, asked(crowd.user, limit=7, filter=none)) == []


async def test_other_scopes_are_never_searched(api: Any, crowd: Crowd) -> None:
    user = api.user()
    await api.remember(user, "An apple in the garden")
    assert await api.found(user, QUERY, limit=100) == ["An apple in the garden"]
    assert await api.found(api.user(), QUERY, limit=100) == []
    both = search_service_pb2.SearchRequest(query=QUERY, scope={"user_id": user, "run_id": "no such run"})
    assert not (await api.search.Search(both)).hits
    everyone = search_service_pb2.SearchRequest(query=f"{QUERY} {user}", limit=10_000)
    found = await hits(api, everyone)
    assert {user, crowd.user} <= {hit.memory.user_id for hit in found}


async def test_what_is_gone_is_not_found(api: Any) -> None:
    user = api.user()
    kept, deleted, moved = await api.remember(user, "Paints boats", "Paints bridges", "Paints barns")
    soon = Timestamp()
    soon.FromMilliseconds(int(time.time() * 1000) + 700)
    await api.remember(user, "Paints benches", expire_time=soon)
    assert "Paints benches" in await api.found(user, "benches")
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=deleted.id))
    changed = memory_pb2.Memory(id=moved.id, text="Paints balconies")
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
    await asyncio.sleep(0.8)
    for mode in MODES:
        found = await api.found(user, "what is being painted: boats, bridges, barns?", mode=mode, limit=100)
        assert set(found) == {kept.text, "Paints balconies"}


@pytest.mark.parametrize("mode", MODES)
async def test_the_terms_add_up_to_the_score(api: Any, crowd: Crowd, mode: str) -> None:
    found = [hit for hit in crowd.whole[mode] if not hit.explanation.tail]
    assert len(found) >= DEPTH
    for hit in found:
        terms = hit.explanation
        words = terms.lexical if mode != "SEARCH_MODE_VECTOR" else 0.0
        near = SIMILARITY * terms.similarity_normalised + CONTEXT * terms.context_normalised
        near = near if mode != "SEARCH_MODE_KEYWORD" else 0.0
        assert hit.score == pytest.approx(words + near + terms.speaker + terms.date, abs=2e-6)
        assert terms.HasField("keyword_raw") or terms.HasField("vector_raw") or terms.neighbour
    assert not any(hit.HasField("explanation") for hit in await hits(api, asked(crowd.user, mode=mode)))


async def test_the_token_budget_ends_the_answer(api: Any) -> None:
    user = api.user()
    await api.remember(user, *(f"Collects {'x' * 90}{number:02}" for number in range(10)))  # 26 tokens each
    whole = await api.search.Search(asked(user, "What is collected?"))
    assert (len(whole.hits), whole.truncated) == (10, False)
    for budget, fit in ((1, 0), (26, 1), (27, 1), (52, 2), (259, 9), (260, 10)):
        answer = await api.search.Search(asked(user, "What is collected?", max_tokens=budget))
        assert (len(answer.hits), answer.truncated) == (fit, fit < 10)
        assert list(answer.hits) == list(whole.hits[:fit])


async def test_one_answer_is_cut_at_3_mib_and_the_stream_is_not(api: Any) -> None:
    user, text = api.user(), "A" + "h" * 16_000  # no source: an imported memory need not have one
    await api.imported([api.whole(user, f"{text} {number}", number) for number in range(200)])
    answer = await api.search.Search(asked(user, "Who screams?", limit=500))
    assert answer.truncated
    assert 3 * MIB - 17_000 < sum(hit.ByteSize() for hit in answer.hits) <= 3 * MIB
    assert answer.ByteSize() < 3 * MIB + 10_000
    streamed = await hits(api, asked(user, "Who screams?", limit=500))
    assert len(streamed) == 200
    assert streamed[: len(answer.hits)] == list(answer.hits)


async def test_a_neighbour_is_a_result_only_inside_the_filter(api: Any) -> None:
    user = api.user()
    for text, tag in (("Which zebra do you mean?", "question"), ("The one on the left.", "answer")):
        message = memory_pb2.Message(role="user", content=text)
        scope = {"user_id": user, "run_id": "talk"}
        await api.memory.Add(pb.AddRequest(scope=scope, messages=[message], infer=False, metadata={"tag": tag}))
    await api.remember(user, *(f"Zebra number {index} stands in the zoo" for index in range(60)))
    found = {hit.memory.text: hit.explanation for hit in await hits(api, asked(user, "zebra", explain=True, limit=70))}
    assert found["The one on the left."].neighbour  # 60 others are nearer: no leg has room for it
    assert found["The one on the left."].lexical > 0
    assert not found["Which zebra do you mean?"].neighbour
    filter = compared("metadata.tag", "EQ", string_value="question")
    [only] = await hits(api, asked(user, "zebra", filter=filter, limit=70))
    assert only.memory.text == "Which zebra do you mean?"


@pytest.mark.parametrize(("query", "by_meaning"), [("?!", 0), ("…", 0), ("the of and", 10), ("-- OR NOT *", 10)])
async def test_a_query_without_words_finds_nothing_by_words(
    api: Any, crowd: Crowd, query: str, by_meaning: int
) -> None:
    """Signs alone have no meaning either."""
    assert await hits(api, asked(crowd.user, query, mode="SEARCH_MODE_KEYWORD")) == []
    assert len(await hits(api, asked(crowd.user, query))) == by_meaning


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"query": " \n"}, "QUERY_EMPTY", "query"),
        ({"query": "x" * 8193}, "LIMIT_EXCEEDED", "query"),
        ({"limit": 0}, "FIELD_INVALID", "limit"),
        ({"limit": 10_001}, "LIMIT_EXCEEDED", "limit"),
        ({"threshold": 1.01}, "FIELD_INVALID", "threshold"),
        ({"threshold": float("nan")}, "FIELD_INVALID", "threshold"),
        ({"max_tokens": -1}, "FIELD_INVALID", "max_tokens"),
        ({"mode": 9}, "FIELD_INVALID", "mode"),
        ({"resume_token": "x"}, "FIELD_INVALID", "resume_token"),
        ({"at_least_as_fresh": "x"}, "CONSISTENCY_TOKEN_INVALID", "at_least_as_fresh"),
        ({"filter": compared("colour", "EQ", string_value="red")}, "FILTER_INVALID", "filter.comparison.field"),
    ],
)
async def test_refusals(api: Any, fields: dict[str, Any], reason: str, field: str) -> None:
    request = search_service_pb2.SearchRequest(**{"query": "x", "scope": {"user_id": "anyone"}} | fields)
    refusal = await api.refused(api.search.Search(request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, reason)
    assert field in refusal.fields


async def test_stages_and_figures_are_told(api: Any, crowd: Crowd) -> None:
    answer = await api.search.Search(asked(crowd.user))
    assert {"embed", "index", "ledger", "rank"} <= {stage.name for stage in answer.stages}
    assert all(stage.duration.ToNanoseconds() > 0 for stage in answer.stages)
    assert answer.candidate_count >= DEPTH
    assert answer.sequence >= COUNT
