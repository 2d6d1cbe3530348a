"""Texts of which the packaged model knows too few words: only keywords decide, on every engine, now and in the past."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.congruence.small_world import OwnClock

from recalld_server.adapters.embedders.minilm import MiniLm
from recalld_server.domain.commands import AddCommand
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.memory import Access, Memory, Message, Scope
from recalld_server.domain.ranking import Mode
from recalld_server.domain.revision import ListQuery
from recalld_server.usecases.imports import ImportedMemory
from recalld_server.usecases.memories import Update
from recalld_server.usecases.queries import AsOf
from recalld_server.usecases.search.results import SearchQuery
from recalld_server.wiring.composition import build
from recalld_server.wiring.parts import Recalld
from recalld_server.wiring.settings import Settings

ELSEWHERE = [pytest.mark.needs_postgres, pytest.mark.needs_weaviate]
HERE = Access("default", principal="key")
THANKS, PEANUTS, MOVED = "ขอบคุณครับ", "ผมแพ้ถั่ว", "I moved to เชียงใหม่ last year to open a bakery"


class World:
    """A recalld over the packaged model; each test has a user of its own."""

    def __init__(self, recalld: Recalld) -> None:
        self.recalld = recalld
        self.user = Scope(user_id=f"user-{uuid.uuid4()}")

    async def keep(self, *texts: str) -> list[Memory]:
        """Each said alone: what is said beside a result is one too."""
        commands = [AddCommand(self.user, [Message("user", text)], infer=False) for text in texts]
        return [(await self.recalld.add.add(HERE, command)).results[0].memory for command in commands]

    async def found(self, text: str, **fields: object) -> Mapping[str, float]:
        """Relevance by text, in the order of the answer; the same now and as of now."""
        now = await self._ranked(SearchQuery(text, self.user, **fields))
        seq = (await self.recalld.ledger.positions(HERE)).head
        past = await self._ranked(SearchQuery(text, self.user, as_of=AsOf(seq=seq), **fields))
        assert list(now) == list(past)
        assert list(now.values()) == pytest.approx(list(past.values()), abs=1e-3)
        return now

    async def _ranked(self, query: SearchQuery) -> Mapping[str, float]:
        ranked = await self.recalld.search.rank(HERE, query)
        return {hit.memory.text: hit.hit.relevance async for hit in self.recalld.search.hits(HERE, ranked, query)}


@pytest.fixture(scope="module")
def model() -> MiniLm:
    return MiniLm.start()


@pytest.fixture(params=["embedded", pytest.param("elsewhere", marks=ELSEWHERE)])
def engines(request: pytest.FixtureRequest) -> Mapping[str, str]:
    if request.param == "embedded":
        return {}
    return {"ledger": request.getfixturevalue("postgres_url"), "index": request.getfixturevalue("weaviate").url}


@pytest.fixture
async def world(engines: Mapping[str, str], tmp_path: Path, model: MiniLm) -> AsyncIterator[World]:
    recalld = await build(Settings(data_dir=tmp_path, **engines), OwnClock(), model=Lent(model))
    await recalld.projector._round()
    yield World(recalld)
    report = await recalld.index_audit.examine("default")
    await recalld.close()
    assert (report.wrong, report.pending) == (0, 0)


class Lent:
    """The embedder of the module, which one test does not close for the others."""

    def __init__(self, model: MiniLm) -> None:
        self._model = model

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    async def close(self) -> None:
        """Whoever made it closes it."""


async def test_a_matching_word_goes_before_texts_that_say_nothing(world: World) -> None:
    await world.keep(THANKS, PEANUTS, MOVED)
    first, *rest = (await world.found("ที่พักในเชียงใหม่ราคาถูก")).items()
    assert first[0] == MOVED
    assert all(relevance < 0.1 for _, relevance in rest)


@pytest.mark.parametrize(
    ("question", "stored"),
    [
        ("🚀", ["🎉🎉", "🍕", "🐈 🐈"]),
        ("🎉", ["👍", "Likes pizza", "ድመት"]),
        ("ደህና", ["አመሰግናለሁ", "ቡና እወዳለሁ"]),  # Amharic
        ("Где живёт Анна?", ["Люблю чай", "Поезд отправляется в восемь"]),
        ("猫が好き", ["電車は八時に出ます", "雨"]),
        ("ราคา 500 บาท", ["ยาว 300 เมตร"]),
        ("ꦏꦸꦕꦶꦁ", ["ꦲꦸꦗꦤ꧀"]),  # Javanese
        ("z" * 150, ["y" * 150, "x" * 101]),
    ],
)
async def test_what_shares_no_word_is_not_relevant(world: World, question: str, stored: Sequence[str]) -> None:
    await world.keep(*stored)
    assert not {text for text, relevance in (await world.found(question)).items() if relevance >= 0.2}
    assert await world.found(question, threshold=0.3) == {}
    assert await world.found(question, mode=Mode.VECTOR) == {}


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("🍕", "🍕"),
        ("🎂🎂", "Feier 🎂 morgen"),
        ("አለርጂ", "ለኦቾሎኒ አለርጂ አለብኝ"),
        ("🇫🇮?", "🇫🇮 kesä"),
        ("ជំរាប", "ជំរាបសួរ"),
        ("Jose's resume", "José a mis à jour son résumé"),
        ("ISTANBUL", "İstanbul'da yaşıyorum"),
        ("елка", "Ёлка в углу"),
    ],
)
async def test_words_that_match_decide(world: World, question: str, text: str) -> None:
    await world.keep("🎉🎉", "🇫🇷", text, THANKS, "Μένω στην Αθήνα")
    for mode in (Mode.HYBRID, Mode.KEYWORD):
        (best, relevance), *rest = (await world.found(question, mode=mode)).items()
        assert (best, relevance > 0.4) == (text, True)
        assert all(other < 0.25 for _, other in rest)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ("istanbul", "İstanbul'da yaşıyorum"),
        ("jose", "José a mis à jour son résumé"),
        ("don't", "I don’t like rain"),
        ("co-operate", "We co\u2011operate"),
        ("paris", "Lives in pa\u200bris"),
        ("елка", "Ёлка в углу"),
        ("strasse", "Wohnt in der Hauptstraße"),
        ("ΑΘΗΝΑ", "Μένω στην Αθήνα"),
    ],
)
async def test_keywords_are_found_however_they_are_typed(world: World, keywords: str, text: str) -> None:
    await world.keep(text, THANKS, "Nothing of it")
    condition = Comparison("text", Operator.ICONTAINS, keywords)
    page = await world.recalld.queries.list(HERE, ListQuery(scope=world.user, filter=condition))
    assert [memory.text for memory in page.memories] == [text]
    assert list(await world.found(text, filter=condition)) == [text]


async def test_a_known_question_does_not_find_unknown_texts_by_meaning(world: World) -> None:
    await world.keep(THANKS, "🎂🎂", "Bakes bread every morning")
    assert list(await world.found("Who bakes?")) == ["Bakes bread every morning"]
    assert list(await world.found("Who bakes?", mode=Mode.VECTOR)) == ["Bakes bread every morning"]


async def test_a_text_may_become_unknown_and_known_again(world: World) -> None:
    (memory,) = await world.keep("Bakes bread every morning")
    for text, found in ((THANKS, []), ("Bakes cakes every evening", ["Bakes cakes every evening"])):
        await world.recalld.memories.update(HERE, [Update(memory.id, {"text": text})], None)
        assert list(await world.found("Who bakes?", mode=Mode.VECTOR)) == found


async def test_a_vector_that_a_caller_brings_is_used_for_any_text(world: World) -> None:
    """Made by whoever knows the words: only what the model here makes of them says nothing."""
    vector = np.eye(384, dtype=np.float32)[0]
    item = ImportedMemory(Memory(str(uuid.uuid4()), THANKS, world.user), vector, MiniLm.model)
    assert (await world.recalld.imports.batch(HERE, [item])).stored == 1
    assert list(await world.found("Who bakes?", mode=Mode.VECTOR)) == [THANKS]
