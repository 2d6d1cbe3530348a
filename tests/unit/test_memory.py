"""The nouns: scopes, texts as keys, and what a memory says of itself."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalld_server.domain.memory import (
    SCOPE_FIELDS,
    Access,
    Memory,
    Message,
    Scope,
    conversation_key,
    digest,
    fold,
    text_key,
)
from recalld_server.domain.revision import Generation

IDS = st.sampled_from(["", "a", "b", "A", " a", "a b"])
SCOPES = st.builds(Scope, IDS, IDS, IDS, IDS)
MEMORY = Memory("id", "Likes tea", Scope("alice"), revision=3)


def test_a_scope_is_true_with_any_id() -> None:
    assert not Scope()
    assert Scope().items() == ()
    for name in SCOPE_FIELDS:
        scope = Scope(**{name: "x"})
        assert scope
        assert scope.items() == ((name, "x"),)
    assert Scope("u", "a", "p", "r").items() == tuple(zip(SCOPE_FIELDS, "uapr", strict=True))


@given(SCOPES, SCOPES)
def test_a_scope_admits_what_carries_its_ids(one: Scope, other: Scope) -> None:
    carries = all(not getattr(one, name) or getattr(one, name) == getattr(other, name) for name in SCOPE_FIELDS)
    assert one.admits(other) is carries
    assert one.admits(one)
    assert Scope().admits(one)


@given(SCOPES, SCOPES, SCOPES)
def test_narrowing_admits_what_both_admit(one: Scope, other: Scope, memory: Scope) -> None:
    narrowed = one.narrowed(other)
    assert narrowed == other.narrowed(one)
    assert (narrowed is not None and narrowed.admits(memory)) == (one.admits(memory) and other.admits(memory))


@given(SCOPES, SCOPES)
def test_keys_are_equal_for_equal_scopes_only(one: Scope, other: Scope) -> None:
    assert (one.key() == other.key()) is (one == other)
    assert len(one.key()) == 32
    assert set(one.key()) <= set("0123456789abcdef")


def test_an_access_is_unpinned_unless_told() -> None:
    assert not Access("p").pin


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_digests_keep_parts_apart(one: list[str], other: list[str]) -> None:
    assert (digest(*one) == digest(*other)) is (one == other)


def test_digests_stay_what_they_are() -> None:
    """They lie in ledgers: another result would lose every conversation and repeat."""
    assert digest("alice", "", "é") == "ee58b7a95910d4a2a6a9fec190076f85"
    assert text_key("Likes  TEA") == "1b699e2ea244f4006e7a003aaab59c75"
    assert MEMORY.etag == "0b5fbd6175aee93e"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Likes tea", "likes TEA"),
        ("Likes tea", "  Likes\u00a0\u2003tea\n"),
        ("Ｌｉｋｅｓ ｔｅａ", "Likes tea"),
        ("STRASSE", "straße"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "CAFÉ")),
        ("ﬁne", "FINE"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
    ],
)
def test_texts_that_say_the_same(one: str, other: str) -> None:
    assert text_key(one) == text_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Likes tea", "Likes tea."), ("Likes tea", "Likestea"), ("cafe", "café"), ("", "."), ("1", "2"), ("и", "й")],
)
def test_texts_that_do_not(one: str, other: str) -> None:
    assert text_key(one) != text_key(other)


@given(st.text(max_size=30))
def test_folding_is_final(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert text_key(fold(text)) == text_key(text)


def test_a_conversation_is_the_scope_with_a_run_else_the_add() -> None:
    run = Scope("alice", run_id="r")
    assert conversation_key(run, "one") == conversation_key(run, "two") == run.key()
    assert conversation_key(replace(run, user_id="bob"), "one") != run.key()
    alone = Scope("alice")
    assert conversation_key(alone, "one") == conversation_key(Scope("bob"), "one")
    assert conversation_key(alone, "one") != conversation_key(alone, "two")


def test_an_etag_is_another_for_each_revision() -> None:
    etags = {replace(MEMORY, id=id, revision=revision).etag for id in ("a", "b", "a1") for revision in (1, 2, 11)}
    assert len(etags) == 9
    assert replace(MEMORY, text="another").etag == MEMORY.etag


def test_a_memory_is_dated_by_what_is_known_best() -> None:
    known = replace(MEMORY, create_time=3)
    assert known.date == 3
    assert replace(known, said_time=2).date == 2
    assert replace(known, said_time=2, event_time=1).date == 1


def test_a_memory_is_led_by_a_given_name() -> None:
    assert replace(MEMORY, speaker="user").spoken == "Likes tea"
    assert replace(MEMORY, speaker="Ann", named=True).spoken == "Ann: Likes tea"
    assert Message("user", "x", "Ann").speaker == "Ann"
    assert Message("user", "x").speaker == "user"


def test_a_repeat_is_the_same_from_the_same_named_speaker() -> None:
    ann, ben = (replace(MEMORY, speaker=name, named=True) for name in ("Ann", "Ben"))
    assert MEMORY.text_key == text_key("Likes tea") == replace(MEMORY, speaker="user").text_key
    assert len({MEMORY.text_key, ann.text_key, ben.text_key}) == 3
    assert replace(ann, text="likes  TEA").text_key == ann.text_key


def test_a_memory_lives_until_the_moment_it_expires() -> None:
    assert MEMORY.live_at(2**62)
    mortal = replace(MEMORY, expire_time=10)
    assert [mortal.live_at(now) for now in (9, 10, 11)] == [True, False, False]


@pytest.mark.parametrize("model", ["m", "org/model", "a/b/c-1.5", "with space", ""])
def test_generations_are_read_back_from_their_names(model: str) -> None:
    generation = Generation(12, model, 384, 2, "german")
    assert Generation.parse(generation.name) == generation
    others = (
        replace(generation, number=13),
        replace(generation, model="x"),
        replace(generation, dimension=8),
        replace(generation, analyser=3),
        replace(generation, language="english"),
    )
    assert len({generation.name, *(other.name for other in others)}) == 6
