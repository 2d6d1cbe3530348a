"""The analyser: the terms of a text."""

from __future__ import annotations

import hashlib
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalld_server.domain.analysis import Analyser

ENGLISH, FIRST = Analyser(), Analyser(version=1)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", []),
        ("!? … →", []),
        ("🎉🎉 ❤️ 👍🏽", ["🎉", "🎉", "❤", "👍"]),
        ("👩‍🚀 🇫🇷🇫🇮 ★", ["👩", "🚀", "🇫🇷", "🇫🇮", "★"]),
        ("pizza🍕night", ["pizza", "🍕", "night"]),
        ("Running runs RUN", ["run", "run", "run"]),
        ("Alex's dog", ["alex", "dog"]),
        ("Alex’s dog", ["alex", "dog"]),
        ("Alex´s dog", ["alex", "dog"]),
        ("the James' house", ["jame", "hous"]),
        ("I don't, can't and won't", []),
        ("We'll say they've gone", ["say", "gone"]),
        ("O'Brien", ["o", "brien"]),
        ("ＡＢＣ１２３ ﬁne", ["abc123", "fine"]),
        ("Straße STRASSE", ["strass", "strass"]),
        ("cafe\u0301 CAFÉ cafe", ["cafe", "cafe", "cafe"]),
        ("José's résumé", ["jose", "resum"]),
        ("Jose resume", ["jose", "resum"]),
        ("Łódź Ærø đậu", ["lodz", "aero", "dau"]),
        ("Zürich's ёлка", ["zurich", "елка"]),
        ("İstanbul'da ISTANBUL", ["istanbul", "da", "istanbul"]),
        ("co‑operate par\u200bis don’t", ["co", "oper", "pari"]),
        ("co\u00adoperate", ["cooper"]),
        ("well_known x-ray 3.5", ["well", "known", "x", "ray", "3", "5"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("東京へ", ["東", "京", "へ", "東京", "京へ"]),
        ("ｶﾀｶﾅ", ["カ", "タ", "カ", "ナ", "カタ", "タカ", "カナ"]),
        ("서울 나", ["서", "울", "서울", "나"]),
        ("ที่", ["ที่"]),
        ("กิน", ["กิ", "น", "กิน"]),
        ("GPT4を使う", ["gpt4", "を", "使", "う", "を使", "使う"]),
        ("\ud800word", ["word"]),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert ENGLISH.tokens(text) == tokens


@pytest.mark.parametrize(
    ("language", "text", "also"),
    [
        ("turkish", "İstanbul'da yaşıyorum", "istanbul'da yasiyorum"),
        ("french", "Les élèves étudiants", "les eleves etudiants"),
        ("spanish", "música canción", "musica cancion"),
        ("russian", "Ёлки", "елки"),
        ("german", "Bäume in München", "Baume in Munchen"),
    ],
)
def test_accents_go_after_the_endings(language: str, text: str, also: str) -> None:
    tokens = Analyser(language).tokens
    assert tokens(text) == tokens(also) != []
    assert all(token.isascii() or language == "russian" for token in tokens(text))


def test_signs_of_other_scripts_are_letters() -> None:
    for text in ("हिन्दी भाषा", "ที่กิน", "がぎ", "שָׁלוֹם", "ትግርኛ"):
        assert ENGLISH.tokens(text) == FIRST.tokens(text)


def test_the_first_version_gives_what_it_gave() -> None:
    assert FIRST.tokens("José's CAFÉ 🎉 İstanbul") == ["josé", "café", "i\u0307stanbul"]


def test_terms_are_hashes_of_the_tokens_in_order_with_repeats() -> None:
    def expected(stem: str) -> int:
        return int.from_bytes(hashlib.blake2b(stem.encode()).digest()[:4], "big")

    terms = ENGLISH.terms("Cats chase the cat")
    assert terms.dtype == np.uint32
    assert terms.tolist() == [expected("cat"), expected("chase"), expected("cat")]
    assert ENGLISH.terms("of the").shape == (0,)


@pytest.mark.parametrize("word", ["the", "Will", "MAY", "ｗｉｌｌ"])
def test_stop_words_in_any_case(word: str) -> None:
    assert ENGLISH.is_stop_word(word)
    assert ENGLISH.tokens(word) == []


@pytest.mark.parametrize("word", ["first", "after", "again", "like", ""])
def test_words_that_tell_questions_apart_stay(word: str) -> None:
    assert not ENGLISH.is_stop_word(word)


def test_other_languages_have_their_stems_and_keep_all_words() -> None:
    german = Analyser("german")
    assert german.tokens("Die Häuser") == ["die", "haus"]
    assert Analyser("french").tokens("l'avion") == ["l", "avion"]
    assert german.is_stop_word("the") is False


def test_an_unknown_language_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"danish.*english.*not 'klingon'"):
        Analyser("klingon")


@given(st.text())
def test_any_text_gives_the_same_terms_however_it_is_composed_or_cased(text: str) -> None:
    terms = ENGLISH.terms(text).tolist()
    assert len(terms) == len(ENGLISH.tokens(text))
    composed = unicodedata.normalize("NFC", text)
    assert ENGLISH.terms(unicodedata.normalize("NFD", composed)).tolist() == ENGLISH.terms(composed).tolist()


@given(st.lists(st.text(st.characters(categories=["Ll", "Nd"], max_codepoint=0x24F), min_size=1)))
def test_words_are_analysed_apart(words: list[str]) -> None:
    assert ENGLISH.tokens(" ".join(words)) == [token for word in words for token in ENGLISH.tokens(word)]


def test_threads_share_one_analyser() -> None:
    words = [f"{stem}{ending}" for stem in ("paint", "walk", "jump", "cook") * 50 for ending in ("ing", "ed", "s")]
    analyser = Analyser()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda i: analyser.tokens(f"{words[i % len(words)]}{'x' * (i // 600)}"), range(2400)))
    assert found == [Analyser().tokens(f"{words[i % len(words)]}{'x' * (i // 600)}") for i in range(2400)]


@pytest.mark.parametrize("unit", ["a'", "'", "東", "x" * 10 + " ", "\u0301", "ก\u0e34"])
def test_time_is_linear(unit: str) -> None:
    text = unit * (65536 // len(unit))
    start = time.process_time()
    ENGLISH.tokens(text)
    assert time.process_time() - start < 1.0  # 20 ms here; quadratic would take minutes
