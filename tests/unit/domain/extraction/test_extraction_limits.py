"""Properties for any text: no error, a verdict per message, valid facts, linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.profiles import examples

from recalld_server.domain.extraction.facts import MAX_FACT_CHARACTERS, ExtractRequest, VerdictReason
from recalld_server.domain.extraction.pipeline import extract
from recalld_server.domain.memory import Message, Scope

_PIECES = """
I i'm I’ve my and but so , . ! ? … - – like love live in Rome it they am was not don't Alex a the because if when since
what do you yes no please especially name's is Dr. p.m. 3.5 https://a.b 👍 ``` i'd 。 last week ago two hi thanks
remember that call me would 12 May 2024-02-31 May, allergic how old are
"""
_WORDS = (*_PIECES.split(), "\n", "\n- ", "\n```\n")
_CONTENT = st.one_of(st.text(), st.lists(st.sampled_from(_WORDS), max_size=40).map(" ".join))
_MESSAGES = st.lists(
    st.builds(
        Message,
        role=st.sampled_from(["user", "assistant", "system", "tool"]),
        content=_CONTENT,
        name=st.sampled_from(["", "Ann"]),
        time=st.none() | st.integers(-(2**62), 2**62),
    ),
    max_size=5,
)
_SCOPES = st.sampled_from([Scope(user_id="u"), Scope(agent_id="a")])


@settings(max_examples=examples(100), deadline=None)
@given(_MESSAGES, _SCOPES, st.text(max_size=20), st.text(max_size=20))
def test_any_conversation(messages: list[Message], scope: Scope, includes: str, excludes: str) -> None:
    request = ExtractRequest(tuple(messages), scope, includes=includes, excludes=excludes)
    found = extract(request)
    assert len(found.verdicts) == len(messages)
    for fact in found.facts:
        assert fact.text.strip()
        assert len(fact.text) <= MAX_FACT_CHARACTERS
        assert fact.sources
        assert all(0 <= source < len(messages) for source in fact.sources)
        assert found.verdicts[fact.sources[0]] is VerdictReason.STORED
        assert fact.speaker == messages[fact.sources[0]].speaker
    assert {fact.sources[0] for fact in found.facts} == {
        place for place, verdict in enumerate(found.verdicts) if verdict is VerdictReason.STORED
    }
    assert extract(request) == found


_LETTERS = [
    "a",
    "1",
    ".",
    "!",
    "?",
    "...a",
    "。",
    "\"'",
    "'",
    "-",
    "`",
    "👍",
    "\u0300",
    "\u200b",
    "ﷺ",
    "a-b ",
    "http://",
]
_LINES = ["\n", "```\n", "- a\n", "I:\n- a\n", "a:\n"]
_CHAINS = ["yes ", "yes, ", "I ", "I'm ", "and I ", "my ", "and my ", "I like tea and ", "I like tea, I ", "because I "]
_RUNS = [
    "really ",
    "of course ",
    "in May ",
    "12 ",
    "12 May ",
    "one two ",
    "a. ",
    "A. ",
    "Dr. ",
    "I love it and it ",
    "not ",
]


@pytest.mark.parametrize("unit", [*_LETTERS, *_LINES, *_CHAINS, *_RUNS])
def test_time_is_linear_in_the_text(unit: str) -> None:
    """Repeats of what each rule looks for. 64 KiB take half a second at most, where a quadratic step takes minutes."""
    content = unit * ((64 * 1024) // len(unit.encode()))
    started = time.thread_time()
    messages = (Message("assistant", content + " would you like tea?"), Message("user", content, time=0))
    found = extract(ExtractRequest(messages, Scope(user_id="u")))
    assert time.thread_time() - started < 5, "several times the slowest seen"
    assert len(found.verdicts) == 2


def test_a_long_text_is_kept_whole_in_pieces() -> None:
    words = [f"word{number}" for number in range(3_000)]
    found = extract(ExtractRequest((Message("user", " ".join(words)),), Scope(user_id="u")))
    assert len(found.facts) > 1
    assert " ".join(fact.text for fact in found.facts).lower().split() == words
