"""Domain types: scopes, text keys and memories."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalld_server.domain.folding import fold
from recalld_server.domain.memory import (
    SCOPE_FIELDS,
    Access,
    Memory,
    Message,
    Scope,
    conversation_key,
    digest,
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
    assert text_key("Likes tea", "user", 7) == "abadd82b831e0b875a50d31191e273c4"
    assert MEMORY.etag == "0b5fbd6175aee93e"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Likes tea", "  Likes tea\n"),
        ("Likes tea", "\u00a0Likes tea\u2003"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")),
        ("Å", "\u212b"),
        ("가", unicodedata.normalize("NFD", "가")),
    ],
)
def test_texts_that_say_the_same(one: str, other: str) -> None:
    assert text_key(one, "user", None) == text_key(other, "user", None)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Likes tea", "Likes tea."),
        ("Likes tea", "Likestea"),
        ("cafe", "café"),
        ("1", "2"),
        ("и", "й"),
        ("The wifi password is Hunter2Go", "The wifi password is hunter2gO"),
        ("export PATH=/opt/Bin", "export path=/opt/bin"),
        ("token dGVzdA==", "token DGVZDA=="),
        ("The area is 10 m²", "The area is 10 m2"),
        ("Wohnt in der Hauptstraße", "Wohnt in der Hauptstrasse"),
        ("if x:\n    return", "if x:\n  return"),
        ("a  b", "a b"),
        ("ＡＢＣ", "ABC"),
        ("ﬁne", "fine"),
        ("İstanbul", "istanbul"),
        ("don’t", "don't"),
    ],
)
def test_texts_that_do_not(one: str, other: str) -> None:
    assert text_key(one, "user", None) != text_key(other, "user", None)


def test_what_two_people_say_or_what_is_said_at_two_times_is_two_things() -> None:
    keys = {text_key("Took 10 units", who, when) for who in ("user", "Ann") for when in (None, 0, 1)}
    assert len(keys) == 6


@given(st.text(max_size=30))
def test_folding_is_final(text: str) -> None:
    assert fold(fold(text)) == fold(text)


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


def test_a_repeat_is_the_same_from_the_same_speaker() -> None:
    ann, ben = (replace(MEMORY, speaker=name, named=True) for name in ("Ann", "Ben"))
    assert len({MEMORY.text_key, ann.text_key, ben.text_key, replace(ann, said_time=1).text_key}) == 4
    assert replace(ann, text=" Likes tea", categories=("drink",)).text_key == ann.text_key


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
