"""Analysis of questions: terms, names, dates."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalld_server.domain.analysis import Analyser
from recalld_server.domain.query import Question, ask

ENGLISH = Analyser()


def terms(text: str) -> list[int]:
    return sorted(set(ENGLISH.terms(text).tolist()))


@pytest.mark.parametrize(
    ("text", "speakers", "asked", "embed_text"),
    [
        ("When did Melanie paint?", {"Melanie", "Caroline"}, {"Melanie"}, "When did paint?"),
        ("what is melanie’s dog called", {"Melanie"}, {"Melanie"}, "what is dog called"),
        ("Melanie's and Caroline's dogs", {"Melanie", "Caroline"}, {"Melanie", "Caroline"}, "and dogs"),
        ("James' dog", {"James"}, {"James"}, "dog"),
        ("Where is Mel's house", {"Melanie"}, set(), "Where is Mel's house"),
        ("What does Annabel like", {"Anna"}, set(), "What does Annabel like"),
        ("Did Mary  Ann cook", {"Mary Ann", "Mary"}, {"Mary Ann"}, "Did cook"),
        ("will he cook for us", {"Will"}, set(), "will he cook for us"),
        ("What did Will cook", {"Will"}, {"Will"}, "What did cook"),
        ("What did WILL cook", {"Will"}, set(), "What did WILL cook"),
        ("What do I like?", {"user", "assistant"}, {"user"}, "What do I like?"),
        ("What do I like?", {"Anna"}, set(), "What do I like?"),
        ("Trips to the US", {"user"}, set(), "Trips to the US"),
        (
            "What did the assistant suggest to me",
            {"user", "assistant"},
            {"user", "assistant"},
            "What did the suggest to me",
        ),
        ("田中さんの犬", {"田中"}, {"田中"}, "さんの犬"),
        ("José's friend", {"José"}, {"José"}, "friend"),
        ("C++ and a(b", {"a(b", "C++"}, {"a(b", "C++"}, "C++ and a(b"),
        ("Melanie", {"Melanie"}, {"Melanie"}, "Melanie"),
        ("Who is Melanie?", {"Melanie"}, {"Melanie"}, "Who is Melanie?"),
        ("  two  spaces ", set(), set(), "  two  spaces "),
        ("anything", {"", " "}, set(), "anything"),
    ],
)
def test_names(text: str, speakers: set[str], asked: set[str], embed_text: str) -> None:
    question = ask(text, speakers, ENGLISH)
    assert question.asked == asked
    assert question.embed_text == embed_text
    assert question.terms.tolist() == terms(embed_text)


def test_terms_are_distinct_and_ascending() -> None:
    question = ask("dog dogs cat dog bird", set(), ENGLISH)
    assert question.terms.tolist() == terms("dog cat bird")
    assert question.terms.dtype == np.uint32


@pytest.mark.parametrize(
    ("text", "years", "months", "days"),
    [
        ("What happened in 2023?", {2023}, set(), set()),
        ("in october", set(), {10}, set()),
        ("on 7 May, 2023", {2023}, {5}, {7}),
        ("on May 7th", set(), {5}, {7}),
        ("the 3rd of June 2022", {2022}, {6}, {3}),
        ("December 1,2023", {2023}, {12}, {1}),
        ("May 2023", {2023}, {5}, set()),
        ("between Aug 3 and Sept. 12", set(), {8, 9}, {3, 12}),
        ("on 2023-05-07", {2023}, {5}, {7}),
        ("in 2023-11", {2023}, {11}, set()),
        ("the May trip", set(), {5}, set()),
        ("what did we do in may", set(), {5}, set()),
        ("What may I eat?", set(), set(), set()),
        ("May I eat this?", set(), set(), set()),
        ("Really? May I?", set(), set(), set()),
        ("they march on", set(), set(), set()),
        ("the mayor and Marchand", set(), set(), set()),
        ("August 12 at 5:30", set(), {8}, {12}),
        ("in May 5:30", set(), {5}, set()),
        ("room 1899 and 2101", set(), set(), set()),
        ("1900 to 2100", {1900, 2100}, set(), set()),
        ("2000.50 or a2020", set(), set(), set()),
        ("call 2023-45-99", {2023}, set(), set()),
    ],
)
def test_dates(text: str, years: set[int], months: set[int], days: set[int]) -> None:
    question = ask(text, set(), ENGLISH)
    assert (question.years, question.months, question.days) == (years, months, days)


def test_a_speaker_named_like_a_month_is_a_person() -> None:
    question = ask("What does April like?", {"April"}, ENGLISH)
    assert question.asked == {"April"}
    assert not question.months


def moments(*dates: tuple[int, int, int]) -> np.ndarray:
    return np.array(
        [int(datetime(*date, 23, 59, tzinfo=UTC).timestamp()) * 1_000_000 for date in dates], dtype=np.int64
    )


def dated(years: set[int] = frozenset(), months: set[int] = frozenset(), days: set[int] = frozenset()) -> Question:
    return Question(ENGLISH.terms(""), "", frozenset(), frozenset(years), frozenset(months), frozenset(days))


@pytest.mark.parametrize(
    ("question", "agreement"),
    [
        (dated(), [0, 0, 0, 0]),
        (dated(days={7}), [0, 0, 0, 0]),
        (dated(years={2023}), [0.5, 0.5, 0, 0]),
        (dated(months={5}), [1, 0, 1, 0]),
        (dated(years={2023}, months={5}), [1, 0, 0, 0]),
        (dated(months={5}, days={7}), [1, 0, 0.25, 0]),
        (dated(years={1969}, months={12}, days={31}), [0, 0, 0, 1]),
    ],
)
def test_agreement(question: Question, agreement: list[float]) -> None:
    dates = moments((2023, 5, 7), (2023, 6, 7), (2022, 5, 8), (1969, 12, 31))
    assert question.agreement(dates, year_only=0.5, other_day=0.25).tolist() == agreement


@given(st.text(), st.sets(st.text(max_size=8), max_size=4))
def test_any_text_is_a_question(text: str, speakers: set[str]) -> None:
    question = ask(text, speakers, ENGLISH)
    assert question.asked <= speakers
    assert question.terms.tolist() == sorted(set(question.terms.tolist()))
    if not question.asked:
        assert question.terms.tolist() == terms(text)
        assert question.embed_text == text


@pytest.mark.parametrize("unit", ["may ", "1 ", "may\n\n", "May'", "2023-", ". ", " "])
def test_time_is_linear(unit: str) -> None:
    text = "may 1" + unit * (8192 // len(unit)) + "may"
    start = time.process_time()
    ask(text, {"May", "user", "1"}, ENGLISH)
    assert time.process_time() - start < 0.5
