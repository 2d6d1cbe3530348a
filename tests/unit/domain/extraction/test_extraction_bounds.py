"""Limits per conversation: the number of facts, and of source messages per fact."""

from __future__ import annotations

import pytest

from recalld_server.domain.errors import LimitExceeded
from recalld_server.domain.extraction.facts import Extraction, ExtractRequest, VerdictReason
from recalld_server.domain.extraction.pipeline import extract
from recalld_server.domain.limits import FACTS, MESSAGES, SOURCE_BYTES, SOURCES
from recalld_server.domain.memory import Message, Scope, kept_sources

USER = Scope(user_id="u")


def said(*contents: str) -> Extraction:
    return extract(ExtractRequest(tuple(Message("user", content) for content in contents), USER))


def test_a_fact_is_taken_from_the_first_messages_that_say_it() -> None:
    found = said("I like tea.", "Hello!", *["I like tea."] * 40)
    assert [fact.sources for fact in found.facts] == [(0, *range(2, SOURCES + 1))]
    assert found.verdicts[-1] is VerdictReason.REPEATED


def test_the_sources_of_a_fact_are_bounded_in_bytes_as_well() -> None:
    long = "I like tea. " + "Hello! " * 8_000
    assert 2 * len(long) < SOURCE_BYTES < 3 * len(long)
    found = said(long, long, long, "I like tea.")
    assert found.facts[0].text == "Likes tea"
    assert found.facts[0].sources == (0, 1, 3)


def test_as_many_facts_as_may_be_and_one_more() -> None:
    lines = [f"I like number {n}." for n in range(FACTS + 1)]
    assert len(said("\n".join(lines[:FACTS])).facts) == FACTS
    with pytest.raises(LimitExceeded) as raised:
        said("\n".join(lines))
    assert raised.value.metadata["limit"] == str(FACTS)
    assert "split" in raised.value.message


def test_a_long_ordinary_conversation_is_taken() -> None:
    """As many messages as one add may have, each with several statements."""
    turns = [f"I met friend {n} today. I think about job {n}. My plan {n} is to move on." for n in range(MESSAGES)]
    assert len(said(*turns).facts) >= MESSAGES


def test_sources_that_are_there_already_are_shown_within_the_same_bounds() -> None:
    messages = [Message("user", "x" * 1000, position=n) for n in range(50)]
    assert kept_sources(messages) == tuple(messages[:SOURCES])
    longest = [Message("user", "ü" * SOURCE_BYTES), Message("user", "y")]
    assert kept_sources(longest) == (longest[0],)
    assert kept_sources([]) == ()
