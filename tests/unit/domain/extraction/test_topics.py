"""Topics of includes and excludes."""

from __future__ import annotations

import time

import pytest

from recalld_server.domain.extraction.categories import analyser_for, categorise
from recalld_server.domain.extraction.facts import ExtractRequest, VerdictReason
from recalld_server.domain.extraction.pipeline import extract
from recalld_server.domain.extraction.topic_words import TOPICS
from recalld_server.domain.extraction.topics import Topics
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


COVERED = {
    "health": ["Is HIV positive", "Has diabetes", "Takes metformin", "Ich nehme Ramipril 5 mg", "Tiene cáncer"],
    "medical information": ["Has diabetes", "Had a tonsillectomy", "Uses a wheelchair", "Is allergic to nuts"],
    "Gesundheit": ["Hat Diabetes", "Ich habe Krebs", "Is bipolar"],
    "salud": ["Es diabética", "Toma metformina", "Is in rehab"],
    "santé": ["Est enceinte", "Has asthma"],
    "financial information": ["Earns 90k a year", "Has a mortgage", "Owes €500", "Verdient 4000 Euro", "Gana 30.000 €"],
    "contact details": ["Phone is 415-555-2671", "Is a.b@mail.example", "Lives at 12 Main Street", "+49 170 123456"],
    "personal data": ["SSN is 078-05-1120", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "Lives in Rome"],
    "SSN": ["Number is 078-05-1120", "Social security is private"],
    "passwords": ["The login is al", "ghp_abcdefghijklmnop1234", "The gate code is 42"],
    "family": ["Sister Anna lives in Paris", "Meine Frau heißt Eva", "Mi hermano vive en Lima"],
    "work": ["Works as a nurse", "Ich arbeite bei Bosch", "Mi jefe es Juan"],
    "food": ["Loves sushi", "Ich mag Käse", "Ne mange pas de fromage"],
    "religion": ["Goes to church", "Is a Muslim", "Prays daily", "Ist katholisch"],
    "politics": ["Voted Labour", "Wählt die Grünen", "Is a Republican"],
    "location": ["Lives in Rome", "Is from Peru", "Vive en Lima"],
}  # fmt: skip


def named(topic: str, text: str) -> bool:
    analyser = analyser_for("english")
    return Topics.named(topic, analyser).match(text, analyser.tokens(text), categorise(text), analyser)


@pytest.mark.parametrize(("topic", "text"), [(topic, text) for topic, texts in COVERED.items() for text in texts])
def test_topics_cover_texts_that_do_not_spell_them(topic: str, text: str) -> None:
    assert named(topic, text)


@pytest.mark.parametrize("topic", COVERED)
def test_topics_leave_what_they_have_nothing_to_do_with(topic: str) -> None:
    assert not named(topic, "Plays 3 games of chess with a wooden set")
    assert not named(topic, "Loves the rain")


def test_parts_of_topics_are_topics() -> None:
    assert all(part in TOPICS for topic in TOPICS.values() for part in topic.parts)


@pytest.mark.parametrize("unit", ["1 ", "1", "a@", "+1", "1 a ", "-1.111", "ab12", "calle ", "a.", "hiv ", "(12", "é́"])
def test_time_is_linear_in_the_text(unit: str) -> None:
    topics = "health, money, personal data, politics, religion, food, location"
    started = time.thread_time()
    named(topics, unit * (64_000 // len(unit)))
    assert time.thread_time() - started < 5, "several times the slowest seen"
