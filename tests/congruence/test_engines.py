"""The same changes and searches on two indexes give the same memories, in nearly the same order."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from tests.congruence.small_world import OwnClock, opened
from tests.weaviate_node import Node

from recalld_server.adapters.index.weaviate import schema
from recalld_server.bench.corpus import Corpus
from recalld_server.domain.commands import AddCommand
from recalld_server.domain.filters import Comparison, Filter, NoneOf, Operator
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.usecases.memories import Update
from recalld_server.usecases.search.results import SearchQuery
from recalld_server.wiring.parts import Recalld

pytestmark = pytest.mark.needs_weaviate

HERE = Access("default")
USERS = ("ann", "bob", "cyd")
TEXTS, QUESTIONS = 450, 60
OVERLAP = 0.95  # of the first ten, in the mean


@pytest.fixture
async def engines(weaviate: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Recalld]]:
    """One with the embedded index, one with Weaviate."""
    monkeypatch.setattr(schema, "PREFIX", "Engines")
    made = [
        await opened(tmp_path / "embedded", OwnClock()),
        await opened(tmp_path / "weaviate", OwnClock(), index=weaviate.url),
    ]
    for recalld in made:
        await recalld.projection.catch_up("default")
    yield made
    for recalld in made:
        await recalld.close()


async def lived(recalld: Recalld, texts: list[str]) -> dict[str, str]:
    """Texts are added, changed and deleted, the same ones in every call; what is left, as text by id."""
    rng = random.Random(3)
    left: dict[str, str] = {}
    for at in range(0, len(texts), 5):
        command = AddCommand(
            Scope(user_id=rng.choice(USERS), run_id=f"run{at % 7}" if at % 2 else ""),
            [Message("user", text) for text in texts[at : at + 5]],
            {"n": at, "tag": rng.choice(("red", "blue"))},
            infer=False,
        )
        for result in (await recalld.add.add(HERE, command)).results:
            left[result.memory.id] = result.memory.text
        if at % 3 == 0:
            chosen = rng.randrange(len(left))
            await recalld.memories.update(HERE, [Update(list(left)[chosen], {"metadata": {"n": -at}})], None)
        if at % 4 == 0:
            chosen = list(left)[rng.randrange(len(left))]
            await recalld.memories.delete(HERE, [chosen], None)
            del left[chosen]
    return left


async def test_searches_agree(engines: list[Recalld]) -> None:
    corpus = Corpus()
    texts, questions = corpus.texts(TEXTS), corpus.questions()
    left = [await lived(recalld, texts) for recalld in engines]
    assert list(left[0].values()) == list(left[1].values())
    filters: list[Filter | None] = [
        None,
        Comparison("metadata.tag", Operator.EQ, "red"),
        Comparison("metadata.n", Operator.GT, 100),
        NoneOf(Comparison("text", Operator.ICONTAINS, "GARDEN")),
    ]
    overlaps = []
    for number in range(QUESTIONS):
        question, scope = next(questions), Scope(user_id=USERS[number % 3])
        condition = filters[number % len(filters)]
        for limit in (10, 10_000):
            query = SearchQuery(question, scope if number % 5 else Scope(), condition, limit=limit)
            answers = [
                [left[n][place.id] for place in (await recalld.search.rank(HERE, query)).hits]
                for n, recalld in enumerate(engines)
            ]
            if limit == 10:
                first, second = map(set, answers)
                overlaps.append(len(first & second) / len(first))
            else:
                assert sorted(answers[0]) == sorted(answers[1])  # all that fits, whatever its place
    assert np.mean(overlaps) >= OVERLAP
