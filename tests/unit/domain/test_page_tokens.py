"""Tokens open only for the caller for whom they were sealed."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalld_server.domain.errors import (
    ConsistencyTokenForeign,
    ConsistencyTokenInvalid,
    PageTokenInvalid,
    ResumeTokenInvalid,
    TokenInvalid,
)
from recalld_server.domain.page_tokens import MAX_TOKEN, Tokens

OURS = Tokens("ledger", b"s" * 32)
BINDING = ["ListMemories", "key", "fingerprint"]
PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=4)
)


@given(payload=PAYLOADS, binding=st.lists(st.text(max_size=20), max_size=4))
def test_what_was_sealed_is_what_opens(payload: Any, binding: list[str]) -> None:
    assert OURS.open_page(OURS.page(binding, payload), binding) == payload
    assert OURS.open_resume(OURS.resume(binding, payload), binding) == payload


@given(seq=st.integers(0, 2**63 - 1), project=st.text(min_size=1, max_size=20))
def test_a_consistency_token_tells_its_number(seq: int, project: str) -> None:
    assert OURS.open_consistency(OURS.consistency(project, seq), project) == seq


def test_tokens_are_for_urls_and_say_nothing_by_chance() -> None:
    token = OURS.page(BINDING, [1, "µ"])
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert token == OURS.page(BINDING, [1, "µ"])


@pytest.mark.parametrize(
    "binding",
    [
        [],
        BINDING[:2],
        [*BINDING, ""],
        ["ListMemories", "another", "fingerprint"],
        ["ListMemories", "keyfinger", "print"],
        ["ListMemorieskey", "fingerprint"],
        ['ListMemories", "key', "fingerprint"],
    ],
)
def test_another_call_caller_or_argument(binding: list[str]) -> None:
    with pytest.raises(PageTokenInvalid):
        OURS.open_page(OURS.page(BINDING, 1), binding)
    with pytest.raises(ResumeTokenInvalid):
        OURS.open_resume(OURS.resume(BINDING, 1), binding)


def test_purposes_do_not_mix() -> None:
    page, resume = OURS.page(BINDING, 1), OURS.resume(BINDING, 1)
    with pytest.raises(PageTokenInvalid):
        OURS.open_page(resume, BINDING)
    with pytest.raises(ResumeTokenInvalid):
        OURS.open_resume(page, BINDING)
    for sealed in (OURS.page([], ["ledger", "p", 1]), OURS.resume(["p"], ["ledger", "p", 1])):
        with pytest.raises(ConsistencyTokenInvalid):
            OURS.open_consistency(sealed, "p")


@pytest.mark.parametrize("other", [Tokens("another", b"s" * 32), Tokens("ledger", b"t" * 32), Tokens("ledger", b"")])
def test_another_ledger_or_secret(other: Tokens) -> None:
    with pytest.raises(PageTokenInvalid):
        OURS.open_page(other.page(BINDING, 1), BINDING)


def test_a_state_of_another_ledger_or_project_is_told_apart_from_rubbish() -> None:
    with pytest.raises(ConsistencyTokenForeign):
        OURS.open_consistency(Tokens("another", b"t" * 32).consistency("p", 5), "p")
    with pytest.raises(ConsistencyTokenForeign):
        OURS.open_consistency(OURS.consistency("p", 5), "q")
    with pytest.raises(ConsistencyTokenInvalid):
        OURS.open_consistency(Tokens("ledger", b"t" * 32).consistency("p", 5), "p")


@given(at=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_a_changed_byte_is_noticed(at: int, flip: int) -> None:
    data = bytearray(base64.urlsafe_b64decode(_padded(OURS.page(BINDING, [1_700_000_000, "0198-memory"]))))
    data[at % len(data)] ^= flip
    with pytest.raises(PageTokenInvalid):
        OURS.open_page(base64.urlsafe_b64encode(data).decode().rstrip("="), BINDING)


@pytest.mark.parametrize(
    "rubbish",
    ["", "x", "????", "not a token", "é", "\ud800", "AAAA", "A" * 21, "A" * MAX_TOKEN, "A" * (MAX_TOKEN + 1), "=" * 8],
)
def test_rubbish_is_refused_as_such(rubbish: str) -> None:
    openers: list[tuple[Callable[[str], Any], type[TokenInvalid]]] = [
        (lambda token: OURS.open_page(token, BINDING), PageTokenInvalid),
        (lambda token: OURS.open_resume(token, BINDING), ResumeTokenInvalid),
        (lambda token: OURS.open_consistency(token, "p"), ConsistencyTokenInvalid),
    ]
    for opener, error in openers:
        with pytest.raises(error):
            opener(rubbish)


def test_a_token_beyond_the_limit_is_refused_though_it_is_ours() -> None:
    with pytest.raises(PageTokenInvalid):
        OURS.open_page(OURS.page(BINDING, "x" * MAX_TOKEN), BINDING)


def _padded(token: str) -> str:
    return token + "=" * (-len(token) % 4)


def test_a_deep_token_is_refused_like_any_other() -> None:
    deep = base64.urlsafe_b64encode(b"m" * 16 + b"[" * 3000).decode()
    with pytest.raises(PageTokenInvalid):
        OURS.open_page(deep, BINDING)
    with pytest.raises(ConsistencyTokenInvalid):
        OURS.open_consistency(deep, "default")
