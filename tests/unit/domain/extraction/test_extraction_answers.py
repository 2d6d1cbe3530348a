"""Short answers are understood with the question before them."""

from __future__ import annotations

import pytest

from recalld_server.domain.extraction.facts import Extraction, ExtractRequest, VerdictReason
from recalld_server.domain.extraction.pipeline import extract
from recalld_server.domain.memory import Message, Scope


def told(*messages: tuple[str, str]) -> Extraction:
    return extract(ExtractRequest(tuple(Message(role, content) for role, content in messages), Scope(user_id="u")))


@pytest.mark.parametrize(
    ("question", "answer", "facts"),
    [
        ("Do you like jazz?", "Yes!", ["Likes jazz"]),
        ("Do you like jazz?", "No.", ["Doesn't like jazz"]),
        ("Are you a vegetarian?", "yes i am", ["Is a vegetarian"]),
        ("Are you a vegetarian?", "I'm not", ["Is not a vegetarian"]),
        ("Have you ever been to Rome?", "No, never", ["Has never been to Rome"]),
        ("Where do you live?", "Paris", ["Lives in Paris"]),
        ("Where are you from?", "from Lima", ["Is from Lima"]),
        ("What's your name?", "alex", ["Name is Alex"]),
        ("What is your favorite food?", "Pizza!", ["Favorite food is Pizza"]),
        ("How old are you?", "34", ["Is 34 years old"]),
        ("Nice! And what kind of music do you like?", "jazz, mostly", ["Likes jazz, mostly"]),
        ("What do you do for a living?", "A nurse", ["Works as a nurse"]),
        (
            "Would you like me to recommend vegan cafes?",
            "Sure, especially near Lyon",
            ["Interested in vegan cafes near Lyon"],
        ),
        ("Great! Are you interested in tours?", "Yes. I'm on a budget.", ["Interested in tours", "Is on a budget"]),
        ("Do you have plans?", "I have no plans", ["Has no plans"]),
        ("Would you like some tea?", "No, thanks", []),
        ("Shall I book it?", "Yes", []),
        ("Do you know Kafka?", "Yes", []),
    ],
)
def test_short_answers(question: str, answer: str, facts: list[str]) -> None:
    found = told(("assistant", question), ("user", answer))
    assert [fact.text for fact in found.facts] == facts
    assert (found.verdicts[1] is VerdictReason.STORED) == bool(facts)


def test_nobody_answers_his_own_question() -> None:
    assert told(("user", "Do you like jazz?"), ("user", "Yes")).facts == ()


def test_only_the_question_just_before_is_answered() -> None:
    found = told(("assistant", "Do you like jazz?"), ("assistant", "I do."), ("user", "Yes"))
    assert found.facts == ()
