"""`recalld bench`: its calculations, its synthetic texts, and its commands against a real server."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from recalld.testing import start_local
from recalld_server.bench import BenchError, bench, retrieval
from recalld_server.bench.calls import Measurement, Sample, measure, server_timing
from recalld_server.bench.corpus import LONGEST, SHORTEST, Corpus
from recalld_server.bench.filling import Population

CONVERSATION: dict[str, Any] = {
    "id": "ana-ben",
    "sessions": [
        {
            "session": 1,
            "time": "9:05 am on 3 March, 2024",
            "turns": [
                {"id": "D1:1", "speaker": "Ana", "text": "I painted my canoe green."},
                {"id": "D1:2", "speaker": "Ben", "text": "Look at this!", "caption": "a lighthouse in the fog"},
                {"id": "D1:3", "speaker": "Ben", "text": "Look at this!", "caption": "a lighthouse in the fog"},
            ],
        },
        {
            "session": 2,
            "time": "12:48 am on 1 April, 2024",
            "turns": [{"id": "D2:1", "speaker": "Ben", "text": "My violin teacher moved to Porto."}],
        },
    ],
    "questions": [
        {"question": "Which colour has the canoe?", "category": "single-hop", "evidence": ["D1:1"], "answer": "green"},
        {"question": "Who saw a lighthouse?", "category": "multi-hop", "evidence": ["D1:2", "D1:3"], "answer": "both"},
        {"question": "Where is the violin teacher?", "category": "single-hop", "evidence": ["D2:1"], "answer": "Porto"},
        {"question": "Is there life on Mars?", "category": "open-domain", "evidence": [], "answer": ""},
    ],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "conversations.json"
    path.write_text(json.dumps([CONVERSATION]))
    return path


def test_conversations_are_read_with_captions_and_times(data: Path) -> None:
    [conversation] = retrieval.read(data)
    assert [turn.id for turn in conversation.turns] == ["D1:1", "D1:2", "D1:3", "D2:1"]
    assert conversation.turns[1].text == "Look at this! [shares a lighthouse in the fog]"
    assert conversation.turns[0].time == datetime(2024, 3, 3, 9, 5, tzinfo=UTC)
    assert conversation.turns[3].time == datetime(2024, 4, 1, 0, 48, tzinfo=UTC)
    assert len({turn.session for turn in conversation.turns}) == 2
    assert [question.category for question in conversation.questions] == ["single-hop", "multi-hop", "single-hop"]


@pytest.mark.parametrize("content", ["{", "[1]", '[{"id": "a"}]', '[{"id": "a", "sessions": [], "questions": []}]'])
def test_other_data_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(BenchError, match=r"other\.json"):
        retrieval.read(path)


def test_a_time_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    session = {**CONVERSATION["sessions"][0], "time": "2024-03-03"}
    path.write_text(json.dumps([{**CONVERSATION, "sessions": [session]}]))
    with pytest.raises(BenchError, match="2024-03-03"):
        retrieval.read(path)


def test_recall_is_the_share_of_evidence_in_the_first_hits() -> None:
    found = [*"abcde", *"fghij", *"klmno"]
    assert retrieval.recall(frozenset("ae"), found) == (1.0, 1.0, 1.0)
    assert retrieval.recall(frozenset("afkz"), found) == (0.25, 0.5, 0.75)
    assert retrieval.recall(frozenset("z"), []) == (0.0, 0.0, 0.0)


def test_server_timing_is_read() -> None:
    assert server_timing("embed;dur=3.1, index;desc=x;dur=1.25,cache") == {"embed": 3.1, "index": 1.25}
    assert server_timing("") == {}


def test_a_measurement_splits_time_by_call() -> None:
    samples = [Sample(10.0, {"embed": 4.0, "rank": 1.0}, 7.0), Sample(20.0, {"embed": 12.0, "rank": 3.0}, 9.0)]
    measured = Measurement.of("stream", 2, samples, 0.5)
    assert (measured.count, measured.throughput, measured.p50, measured.first_p50) == (2, 4.0, 15.0, 8.0)
    assert measured.p99 == pytest.approx(19.9)
    assert measured.stages == {"embed": 8.0, "rank": 2.0, "elsewhere": 5.0, "outside the embedder": 7.0}


async def test_callers_call_side_by_side_and_a_failure_ends_them() -> None:
    running, most = 0, 0

    async def call(caller: int) -> Sample:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return Sample(1.0, {})

    measured = await measure("call", call, 5, 0.05)
    assert most == 5
    assert measured.count >= 5
    assert measured.count == pytest.approx(measured.throughput * 0.05, rel=0.8)

    async def fail(caller: int) -> Sample:
        if caller == 3:
            raise BenchError("refused")
        await asyncio.sleep(60)
        return Sample(1.0, {})

    with pytest.raises(BenchError, match="refused"):
        await measure("call", fail, 5, 1.0)


def test_made_texts_repeat_with_their_seed_and_have_common_and_rare_words() -> None:
    texts = Corpus().texts(2000)
    assert texts == Corpus().texts(2000)
    assert texts != Corpus(1).texts(2000)
    assert {len(text.split()) for text in texts} == set(range(SHORTEST, LONGEST + 1))
    words, counts = np.unique(" ".join(texts).split(), return_counts=True)
    assert len(words) > 2000
    assert counts.max() > 100 * np.median(counts)


def test_no_question_is_asked_twice() -> None:
    corpus = Corpus()
    assert len(set(corpus.rare)) == len(corpus.rare)
    many = 3 * len(corpus.rare)  # the pairs go round three times
    assert len(set(islice(corpus.questions(), many))) == many


@pytest.mark.parametrize(("memories", "users"), [(70, 1), (10_000, 1), (20_000, 200)])
def test_a_population_shares_its_memories_evenly(memories: int, users: int) -> None:
    population = Population(memories)
    counts = np.unique([population.user(number) for number in range(memories)], return_counts=True)[1]
    assert counts.tolist() == [memories // users] * users
    ids = [population.memory_id(number) for number in range(memories)]
    assert ids == sorted(set(ids))
    assert {uuid.UUID(id).version for id in ids[:100]} == {7}


def test_a_population_brings_unit_vectors_and_whole_conversations() -> None:
    items = list(Population(50).items(Corpus(), "model", 8))
    assert [item.vector_model for item in items] == ["model"] * 50
    assert np.linalg.norm([list(item.vector) for item in items], axis=1) == pytest.approx(1.0, abs=1e-5)
    assert [item.memory.sources[0].position for item in items] == [*range(20), *range(20), *range(10)]
    assert len({item.memory.run_id for item in items}) == 3


def test_retrieval_prints_one_object(data: Path) -> None:
    result = CliRunner().invoke(bench, ["retrieval", "--data", str(data), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert list(report) == ["questions", "recall@5", "recall@10", "recall@20", "by_category", "search_ms"]
    assert report["questions"] == 3
    single, multi = report["by_category"]["single-hop"], report["by_category"]["multi-hop"]
    assert single == {"questions": 2, "recall@5": 1.0, "recall@10": 1.0, "recall@20": 1.0}
    assert multi == {"questions": 1, "recall@5": 0.5, "recall@10": 0.5, "recall@20": 0.5}  # D1:3 repeats D1:2
    assert report["recall@10"] == pytest.approx(5 / 6)
    assert 0 < report["search_ms"]["p50"] <= report["search_ms"]["p99"]


def test_overlap_is_of_the_first_ten_whatever_their_order() -> None:
    def answered(*found: list[str]) -> retrieval.RetrievalReport:
        return retrieval.RetrievalReport(0, 0, 0.0, [retrieval.Answer("", (0.0,), each, 0.0) for each in found])

    letters = list("abcdefghijkl")
    assert answered(letters).overlap(answered([*letters[9::-1], "z"])) == 1.0
    assert answered(letters).overlap(answered(letters[2:])) == pytest.approx(0.8)
    assert answered(["a", "b"], [], []).overlap(answered(["b"], [], ["c"])) == pytest.approx((0.5 + 1 + 0) / 3)


def test_a_target_has_its_engines(data: Path) -> None:
    given = ["retrieval", "--data", str(data), "--target", "localhost:1", "--index", "weaviate://localhost"]
    result = CliRunner().invoke(bench, given)
    assert result.exit_code == 2
    assert "--target" in result.stderr


def test_retrieval_leaves_a_target_as_it_was(data: Path) -> None:
    with start_local() as server:
        server.client().add("I keep bees", user_id="ana-ben", infer=False)
        result = CliRunner().invoke(
            bench, ["retrieval", "--data", str(data), "--target", server.target], catch_exceptions=False
        )
        assert result.exit_code == 0, result.stderr
        assert "single-hop" in result.stdout
        assert "1 turns repeat" in result.stdout
        [user] = [entity for entity in server.client().users()["results"] if entity["type"] == "user"]
        assert (user["name"], user["total_memories"]) == ("ana-ben", 1)


def test_load_measures_every_call_at_every_size() -> None:
    arguments = [
        "load",
        "--memories",
        "40,60",
        "--callers",
        "1,3",
        "--seconds",
        "0.2",
        "--import-texts",
        "40",
        "--json",
    ]
    result = CliRunner().invoke(bench, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["import"]["ratio"] > 0
    assert [size["memories"] for size in report["sizes"]] == [40, 60]
    for size in report["sizes"]:
        assert size["fill_per_second"] > 0
        assert size["resident"]["filled"] == "unknown" or 50 < size["resident"]["filled"] < 2000
        measured = [(call["call"], call["callers"]) for call in size["calls"]]
        assert measured == [(call, n) for call in ("get", "search", "stream", "add") for n in (1, 3)]
        for call in size["calls"]:
            assert 0 < call["p50"] <= call["p99"]
            assert math.isclose(call["throughput"], call["count"] / 0.2, rel_tol=0.9)
            assert (call["first_p50"] is not None) == (call["call"] == "stream")
            assert call["stages"]["ledger"] > 0
            assert ("embed" in call["stages"]) == (call["call"] != "get")


@pytest.mark.parametrize(
    "arguments",
    [["--memories", "0"], ["--memories", "ten"], ["--callers", "65"], ["--seconds", "0"], ["--import-texts", "-1"]],
)
def test_bounds_are_kept(arguments: list[str]) -> None:
    result = CliRunner().invoke(bench, ["load", *arguments])
    assert result.exit_code == 2
    assert arguments[0] in result.stderr


def test_a_failed_measurement_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("[]")
    result = CliRunner().invoke(bench, ["retrieval", "--data", str(path)])
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["recalld bench: other.json has no question with evidence"]


def test_help_needs_nothing_heavy() -> None:
    program = "import sys, recalld_server.bench; print(*{'numpy', 'rich', 'grpc', 'onnxruntime'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
