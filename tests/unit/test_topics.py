"""What includes and excludes keep."""

from __future__ import annotations

import pytest

from recalld_server.domain.extraction import extract
from recalld_server.domain.facts import ExtractRequest, VerdictReason
from recalld_server.domain.memory import Message, Scope


@pytest.mark.parametrize(
    ("includes", "excludes", "kept", "verdict"),
    [
        ("", "food preferences", ["Name is Al"], VerdictReason.STORED),
        ("", "allergies", ["Name is Al"], VerdictReason.STORED),
        ("", "names", ["Is allergic to nuts"], VerdictReason.STORED),
        ("", "personal details, health", [], VerdictReason.EXCLUDED),
        ("health", "", ["Is allergic to nuts"], VerdictReason.STORED),
        ("sports", "", [], VerdictReason.EXCLUDED),
        ("health", "nuts", [], VerdictReason.EXCLUDED),
        ("", "", ["Name is Al", "Is allergic to nuts"], VerdictReason.STORED),
    ],
)
def test_topics(includes: str, excludes: str, kept: list[str], verdict: VerdictReason) -> None:
    message = Message("user", "I'm Al and I'm allergic to nuts.")
    found = extract(ExtractRequest((message,), Scope(user_id="u"), includes=includes, excludes=excludes))
    assert [fact.text for fact in found.facts] == kept
    assert found.verdicts == (verdict,)
