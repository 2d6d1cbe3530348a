"""The effect of includes and excludes on facts and messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recalld_server.domain import limits
from recalld_server.domain.extraction.facts import Extraction, ExtractRequest, VerdictReason
from recalld_server.domain.extraction.pipeline import extract
from recalld_server.domain.extraction.redaction import MARK, redacted
from recalld_server.domain.extraction.sentences import sentences
from recalld_server.domain.extraction.verbatim import verbatim
from recalld_server.domain.memory import Message, Scope
from recalld_server.domain.steps import completed

ASSISTANT = "assistant"


def read(*said: str | tuple[str, str], infer: bool = True, **fields: str) -> tuple[Extraction, list[str]]:
    """What is extracted, and the contents of the messages that are stored."""
    messages = tuple(Message("user", one) if isinstance(one, str) else Message(*one) for one in said)
    request = ExtractRequest(messages, Scope(user_id="u"), **fields)
    extraction = extract(request) if infer else completed(verbatim(request))
    return extraction, [message.content for message in redacted(messages, extraction.excluded)]


LOG = """12.03.24, 14:05 - +49 170 1234567: I like tea.
12.03.24, 14:06 - Ann: I like jazz.
12.03.24, 14:07 - +49 170 1234567: I live in Porto."""


@pytest.mark.parametrize("excludes", ["phone numbers", "Telefonnummern", "contact details", "números de teléfono"])
def test_an_excluded_label_is_in_no_speaker_and_no_message(excludes: str) -> None:
    """The sender of a chat log is often a phone number."""
    found, (content,) = read(LOG, excludes=excludes)
    assert [(fact.text, fact.speaker) for fact in found.facts] == [
        ("Likes tea", MARK),
        ("Likes jazz", "Ann"),
        ("Lives in Porto", MARK),
    ]
    assert content == f"{MARK} I like tea.\n12.03.24, 14:06 - Ann: I like jazz.\n{MARK} I live in Porto."


def test_other_labels_stay() -> None:
    found, (content,) = read(LOG, excludes="health")
    assert [fact.speaker for fact in found.facts] == ["+49 170 1234567", "Ann", "+49 170 1234567"]
    assert content == LOG


@pytest.mark.parametrize(
    ("said", "excludes", "facts", "stored"),
    [
        ("I'm a vegetarian. My SSN is 078-05-1120.", "SSN", ["Is a vegetarian"], "I'm a vegetarian. [excluded]"),
        ("I like tea. I'm HIV positive. I like jazz.", "health", ["Likes tea", "Likes jazz"], None),
        ("I have diabetes. It's type 2. I like tea.", "medical information", ["Likes tea"], "[excluded] I like tea."),
        ("I earn 90k a year and I like tea.", "financial information", ["Likes tea"], "[excluded]"),
        ("I'm Al and I'm allergic to nuts.", "allergies", ["Name is Al"], "[excluded]"),
        ("Ich mag Tee. Mein Passwort ist hunter2!", "Passwörter", ["Ich mag Tee"], "Ich mag Tee. [excluded]"),
        ("Me gusta el té. Tengo una hipoteca.", "finanzas", ["Me gusta el té"], "Me gusta el té. [excluded]"),
        ("J'aime le thé. Ma femme s'appelle Zoé.", "famille", ["J'aime le thé"], "J'aime le thé. [excluded]"),
        ("我喜欢茶。我的邮箱是 li@mail.example。", "contact details", ["我喜欢茶"], "我喜欢茶。[excluded]"),
        (
            "I like tea.\n- My IBAN: DE89 3704 0044 0532 0130 00\n- I like jazz",
            "IBAN",
            ["Likes tea", "Likes jazz"],
            None,
        ),
        ("I take these:\n- zyrtec\n- aspirin\n\nI like tea.", "medication", ["Likes tea"], "[excluded]\n\nI like tea."),
        ("I like tea. Here:\n```\nssn = 078-05-1120\n```", "SSN", ["Likes tea"], "I like tea. [excluded]"),
        ("I like jazz. Call me on +49 170 1234567 👍", "personal data", ["Likes jazz"], "I like jazz. [excluded]"),
        ("Going to church on Sunday. I like tea.", "religion", ["Likes tea"], "[excluded] I like tea."),
    ],
)
def test_what_is_excluded_is_in_no_fact_and_no_message(
    said: str, excludes: str, facts: list[str], stored: str | None
) -> None:
    found, (content,) = read(said, excludes=excludes)
    assert [fact.text for fact in found.facts] == facts
    assert MARK in content
    if stored:
        assert content == stored
    again, (same,) = read(content, excludes=excludes)
    assert same == content
    assert not any("excluded" in fact.text for fact in again.facts)


def test_the_answer_to_an_excluded_question_is_excluded() -> None:
    question = (ASSISTANT, "Nice weather. Do you have diabetes?")
    found, stored = read(question, "Yes. I live in Rome.", excludes="health")
    assert [fact.text for fact in found.facts] == ["Lives in Rome"]
    assert stored == ["Nice weather. [excluded]", "[excluded] I live in Rome."]
    found, stored = read((ASSISTANT, "What's your SSN?"), "Zero seven eight. I like tea.", excludes="SSN")
    assert (stored, [fact.text for fact in found.facts]) == (["[excluded]", "[excluded] I like tea."], ["Likes tea"])


def test_messages_of_every_role_are_looked_through() -> None:
    said = [("system", "The user's SSN is 078-05-1120. Be kind."), "Hi!", (ASSISTANT, "Got it: 078-05-1120."), "I ski."]
    found, stored = read(*said, ("tool", '{"ssn": "078-05-1120"}'), excludes="SSN")
    assert stored == ["[excluded] Be kind.", "Hi!", "[excluded]", "I ski.", "[excluded]"]
    assert [verdict.value for verdict in found.verdicts][::2] == ["ROLE_NOT_REMEMBERED"] * 3


def test_what_is_outside_of_the_included_is_not_kept() -> None:
    found, stored = read("I love sushi. I live at 12 Main Street.", "My dog is Rex.", includes="food")
    assert [fact.text for fact in found.facts] == ["Loves sushi"]
    assert stored == ["I love sushi. [excluded]", "[excluded]"]
    assert found.verdicts == (VerdictReason.STORED, VerdictReason.EXCLUDED)


def test_a_question_and_its_answer_stay_with_the_included_fact_read_from_both() -> None:
    found, stored = read((ASSISTANT, "Hello! Do you like sushi?"), "Yes. I live in Rome.", includes="food")
    assert [fact.text for fact in found.facts] == ["Likes sushi"]
    assert stored == ["[excluded] Do you like sushi?", "Yes. [excluded]"]


def test_a_verbatim_message_is_kept_whole_or_not_at_all() -> None:
    said = ["I ski.", "I like tea. My SSN is 078-05-1120.", ("system", "SSN: 078-05-1120"), " ", (ASSISTANT, "Hm.")]
    found, stored = read(*said, infer=False, excludes="SSN")
    assert [fact.text for fact in found.facts] == ["I ski.", "Hm."]
    assert [v.value for v in found.verdicts] == ["STORED", "EXCLUDED", "ROLE_NOT_REMEMBERED", "EMPTY", "STORED"]
    assert stored == ["I ski.", MARK, MARK, " ", "Hm."]
    found, stored = read("I love sushi. I ski.", "My dog is Rex.", infer=False, includes="food")
    assert stored == ["I love sushi. I ski.", MARK]
    _, stored = read((ASSISTANT, "Do you have HIV?"), "Yes", infer=False, excludes="health")
    assert stored == [MARK, MARK]


def test_a_mark_that_is_read_again_is_no_fact() -> None:
    found, stored = read("I ski. [excluded] I live in Rome.", "[excluded]")
    assert [fact.text for fact in found.facts] == ["Skis", "Lives in Rome"]
    assert found.verdicts == (VerdictReason.STORED, VerdictReason.EXCLUDED)
    assert stored == ["I ski. [excluded] I live in Rome.", "[excluded]"]


def test_a_message_of_marks_alone_is_one_mark() -> None:
    few = "I ski. My SSN is 1. " * 50
    found, (stored,) = read(few, excludes="SSN")
    assert stored == "I ski. [excluded] " * 50
    found, (stored, _) = read(few * 3, "I ski.", excludes="SSN")
    assert (stored, [fact.text for fact in found.facts]) == (MARK, ["Skis"])
    longest = "x" * (limits.MESSAGE_BYTES - 9) + "\n\nhiv. A"
    _, (stored,) = read(longest, excludes="health")
    assert stored == MARK


@pytest.mark.parametrize("language", ["english", "german", "russian", "arabic", "spanish", "french", "turkish"])
def test_topics_are_found_in_a_project_of_any_language(language: str) -> None:
    for excludes in ("health", "Gesundheit", "salud"):
        found, stored = read("I like tea. HIV positive. Metformin 500 mg.", excludes=excludes, language=language)
        assert ([fact.text for fact in found.facts], stored) == (["Likes tea"], ["I like tea. [excluded]"])


_UNITS = [
    "I ski. ",
    "a",
    "。",
    "- ",
    "> ",
    "\n",
    "```\n",
    "My list:\n",
    "1. ",
    "\r\n",
    "…",
    "👍 ",
    "x" * 61 + "\n",
    "\t",
]


@given(st.lists(st.sampled_from(_UNITS), max_size=14).map("".join))
def test_sentences_know_where_they_stand(text: str) -> None:
    end = 0
    for sentence in sentences(text):
        assert end <= sentence.begin < sentence.end <= len(text)
        stands, end = text[sentence.begin : sentence.end], sentence.end
        if sentence.tokens:
            assert stands.startswith(sentence.tokens[0].rstrip(","))
        letters = [char for char in f"{sentence.text}{sentence.block}" if char.isalpha()]
        assert letters == [char for char in stands if char.isalpha()]
    assert "a" not in text[end:]
