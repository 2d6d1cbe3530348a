"""Texts that a reader takes for the same have the same loose form, on any keyboard and in any Unicode form."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recalld_server.adapters.ledger.store import MIGRATIONS
from recalld_server.domain.filters import Comparison, Operator, violations
from recalld_server.domain.folding import loose


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("José's résumé", "jose's RESUME"),
        ("İstanbul'da yaşıyorum", "ISTANBUL'DA YASIYORUM"),
        ("I don’t co\u2011operate", "don't co-operate"),
        ("in pa\u200bris", "paris"),
        ("Straße in Łódź", "strasse in lodz"),
        ("Ελλάδα", "ελλαδα"),
        ("Ёлка", "елка"),
        ("ＷＩＤＥ ｶﾞ", "wide ガ"),
        ("soft\u00adware", "software"),
        ("smörgåsbord", "Smo\u0308rga\u030asbord"),
    ],
)
def test_what_looks_the_same_is_found(text: str, typed: str) -> None:
    assert loose(typed) in loose(text)


@pytest.mark.parametrize(
    ("one", "other"), [("が", "か"), ("की", "का"), ("กำ", "กา"), ("a-b", "a_b"), ("resume", "resumes")]
)
def test_what_differs_stays_different(one: str, other: str) -> None:
    assert loose(one) != loose(other)


@settings(max_examples=1000)
@given(st.text())
def test_it_is_a_form(text: str) -> None:
    assert loose(loose(text)) == loose(text)


@given(st.text())
def test_the_migration_writes_the_same_form(text: str) -> None:
    """As long as the form is that of migration 0013; a later one needs a migration of its own."""
    source = (MIGRATIONS / "versions" / "0013_loose_texts.py").read_text()
    module: dict[str, object] = {"__name__": "migration"}
    exec(compile(source, "0013", "exec"), module)  # noqa: S102 - of ours
    assert module["_loose"](text) == loose(text)  # type: ignore[operator]


@pytest.mark.parametrize("value", ["\u200b", "\u0301", "\u00ad\u2060"])
def test_a_value_that_compares_with_nothing_is_refused(value: str) -> None:
    """It would be in every text."""
    [(path, text)] = violations(Comparison("text", Operator.ICONTAINS, value))
    assert path == "filter.comparison.value"
    assert "visible" in text
    assert violations(Comparison("text", Operator.CONTAINS, value)) == []
