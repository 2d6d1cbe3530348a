"""Benchmark of retrieval: imports conversations with ImportMemories and asks their questions with Search.

recall@k of a question is the share of its evidence turns among the first k hits; reported figures are means over
questions. Questions without evidence are ignored. The data follows LoCoMo (Maharana et al. 2024), see `read`.

On other engines than the embedded ones, everything is done on both; the overlap of a question is the share of the first
ten hits that both have in common.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import numpy as np

from recalld import MemoryClient
from recalld.testing import start_local
from recalld_server.bench import BenchError
from recalld_server.bench.engines import Engines
from recalld_server.bench.filling import store

DEPTHS = (5, 10, 20)
SHARED = 10  # hits that are compared for the overlap
TIME_FORM = "%I:%M %p on %d %B, %Y"  # "1:56 pm on 8 May, 2023", taken as UTC

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a speaker."""

    id: str
    speaker: str
    text: str
    session: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the ids of the turns that answer it; at least one."""

    text: str
    category: str
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """All sessions of a pair of speakers, in order, and the questions about them."""

    id: str
    turns: Sequence[Turn]
    questions: Sequence[Question]


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a question: recall at each of DEPTHS, the ids of the turns found, and the client's search time."""

    category: str
    recall: tuple[float, ...]
    found: Sequence[str]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """The results. `repeated` turns equal an earlier turn of their session, so they have no memory of their own.

    `embedded` has the results of the embedded engines, if other engines were measured.
    """

    turns: int
    repeated: int
    import_seconds: float
    answers: Sequence[Answer]
    embedded: RetrievalReport | None = None

    def recall(self, category: str | None = None) -> dict[str, float]:
        """The mean recall by depth, over all questions or those of one category."""
        rows = [answer.recall for answer in self.answers if category in (None, answer.category)]
        return {f"recall@{depth}": float(mean) for depth, mean in zip(DEPTHS, np.mean(rows, axis=0), strict=True)}

    def categories(self) -> dict[str, int]:
        """The number of questions by category."""
        names = sorted({answer.category for answer in self.answers})
        return {name: sum(answer.category == name for answer in self.answers) for name in names}

    def overlap(self, other: RetrievalReport) -> float:
        """The mean overlap with another report on the same questions."""
        return float(np.mean([_overlap(a.found, b.found) for a, b in zip(self.answers, other.answers, strict=True)]))

    def search_ms(self) -> dict[str, float]:
        """Percentiles of the search time in milliseconds."""
        times = [answer.milliseconds for answer in self.answers]
        return {f"p{share}": float(np.percentile(times, share)) for share in (50, 99)}

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        by_category = {name: {"questions": n, **self.recall(name)} for name, n in self.categories().items()}
        total = {"questions": len(self.answers), **self.recall()}
        found: dict[str, Any] = {**total, "by_category": by_category, "search_ms": self.search_ms()}
        if self.embedded:
            found |= {f"overlap@{SHARED}": self.overlap(self.embedded), "embedded": self.embedded.as_json()}
        return found


def read(path: Path) -> list[Conversation]:
    """Read conversations from a JSON file. Raises BenchError if it does not have this format:

    [{id, sessions: [{session, time, turns: [{id, speaker, text, caption?}]}], questions: [{question, category,
    evidence: [turn id]}]}]. The caption of a shared picture is added to the text.
    """
    try:
        found = [_conversation(given) for given in json.loads(path.read_text(encoding="utf-8"))]
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(f"{path.name} does not have the format of conversations: {error!r}") from error
    if not any(conversation.questions for conversation in found):
        raise BenchError(f"{path.name} has no question with evidence")
    return found


def _conversation(given: dict[str, Any]) -> Conversation:
    turns = []
    for session in given["sessions"]:
        time = datetime.strptime(session["time"], TIME_FORM).replace(tzinfo=UTC)
        for turn in session["turns"]:
            caption = f" [shares {turn['caption']}]" if turn.get("caption") else ""
            text = (turn["text"] + caption).strip()
            turns.append(Turn(turn["id"], turn["speaker"], text, f"session-{session['session']}", time))
    questions = [
        Question(each["question"], str(each["category"]), frozenset(each["evidence"]))
        for each in given["questions"]
        if each["evidence"]
    ]
    return Conversation(given["id"], turns, questions)


def run(conversations: Sequence[Conversation], target: str | None, engines: Engines, say: Say) -> RetrievalReport:
    """Import all conversations, then ask all questions, one at a time. Raises BenchError, RecalldError, ServerError."""
    if target is None:
        # Measure the other engines first: if they are unavailable, nothing is lost.
        elsewhere = None if engines == Engines() else asyncio.run(_elsewhere(conversations, engines, say))
        say("starting a server in a temporary folder")
        with start_local() as server:
            embedded = _measured(server.client(), conversations, "", say)
        return replace(elsewhere, embedded=embedded) if elsewhere else embedded
    batch = f"bench-{uuid4().hex[:8]}-"  # prefix of user ids, to keep them apart from existing ones
    with MemoryClient(target) as client:
        try:
            return _measured(client, conversations, batch, say)
        finally:
            for conversation in conversations:
                client.delete_all(user_id=batch + conversation.id)


async def _elsewhere(conversations: Sequence[Conversation], engines: Engines, say: Say) -> RetrievalReport:
    say("starting a server on the other engines")
    async with engines.server() as (server, _):
        return await asyncio.to_thread(_measured, server.client(), conversations, "", say)


def _measured(client: MemoryClient, conversations: Sequence[Conversation], prefix: str, say: Say) -> RetrievalReport:
    turns = sum(len(conversation.turns) for conversation in conversations)
    say(f"importing {turns} turns of {len(conversations)} conversations")
    done = store(client, (item for conversation in conversations for item in _items(conversation, prefix)))
    asked = sum(len(conversation.questions) for conversation in conversations)
    say(f"asking {asked} questions")
    answers = [
        _asked(client, question, prefix + conversation.id)
        for conversation in conversations
        for question in conversation.questions
    ]
    return RetrievalReport(turns, done.unchanged, done.seconds, answers)


def _items(conversation: Conversation, prefix: str) -> Iterator[dict[str, Any]]:
    for turn in conversation.turns:
        yield {
            "text": turn.text,
            "name": turn.speaker,
            "user_id": prefix + conversation.id,
            "run_id": turn.session,
            "timestamp": turn.time,
            "metadata": {"turn": turn.id},
        }


def _asked(client: MemoryClient, question: Question, user: str) -> Answer:
    start = perf_counter()
    hits = client.search(question.text, user_id=user, limit=max(DEPTHS))
    milliseconds = 1000 * (perf_counter() - start)
    found = [hit["metadata"]["turn"] for hit in hits]
    return Answer(question.category, recall(question.evidence, found), found, milliseconds)


def recall(evidence: frozenset[str], found: Sequence[str]) -> tuple[float, ...]:
    """The share of the evidence among the first hits, for each of DEPTHS."""
    return tuple(len(evidence.intersection(found[:depth])) / len(evidence) for depth in DEPTHS)


def _overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """The share of the first hits that both have in common; 1 if neither has any."""
    first, second = set(one[:SHARED]), set(other[:SHARED])
    return len(first & second) / max(len(first), len(second), 1) if first or second else 1.0
