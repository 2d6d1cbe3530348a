"""Extraction by rules from ordinary chat: facts, verdicts, sources, speakers."""

from __future__ import annotations

import pytest

from recalld_server.adapters.extractors.rules import RulesExtractor
from recalld_server.concurrency.time_slices import LARGE
from recalld_server.domain.extraction.pipeline import extract
from recalld_server.domain.memory import Message, Scope
from recalld_server.ports.extractor import Extraction, ExtractRequest, VerdictReason

USER = Scope(user_id="u")
AGENT = Scope(agent_id="a")


def told(*messages: tuple[str, str], scope: Scope = USER) -> Extraction:
    return extract(ExtractRequest(tuple(Message(role, content) for role, content in messages), scope))


def texts(content: str) -> list[str]:
    return [fact.text for fact in told(("user", content)).facts]


def test_a_user_introduces_himself() -> None:
    found = told(
        ("user", "Hi, I'm Alex. I'm a vegetarian and I'm allergic to nuts."),
        ("assistant", "Hello Alex! I've noted that you're a vegetarian and have a nut allergy."),
    )
    assert [fact.text for fact in found.facts] == ["Name is Alex", "Is a vegetarian", "Is allergic to nuts"]
    assert found.verdicts == (VerdictReason.STORED, VerdictReason.ROLE_NOT_REMEMBERED)


def test_a_bare_yes_adopts_what_was_offered_and_says_where_it_was_read() -> None:
    found = told(
        ("user", "I'm planning a trip to Japan next month."),
        ("assistant", "Exciting! Would you like some recommendations for vegetarian-friendly restaurants in Japan?"),
        ("user", "Yes, please! Especially in Tokyo."),
        ("assistant", "Great! I'll remember that you're interested in vegetarian restaurants in Tokyo."),
    )
    assert [(fact.text, fact.sources) for fact in found.facts] == [
        ("Planning a trip to Japan next month", (0,)),
        ("Interested in vegetarian restaurants in Tokyo", (2, 1)),
    ]
    assert found.verdicts[2] is VerdictReason.STORED


def test_an_agent_alone_is_remembered_by_what_the_assistant_says() -> None:
    found = told(
        ("system", "You are an AI tutor with a personality. Give yourself a name for the user."),
        ("assistant", "Understood. I'm an AI tutor with a personality. My name is Alice."),
        ("user", "I'm Bob."),
        scope=AGENT,
    )
    assert [fact.text for fact in found.facts] == ["Is an AI tutor with a personality", "Name is Alice"]
    assert found.verdicts == (
        VerdictReason.ROLE_NOT_REMEMBERED,
        VerdictReason.STORED,
        VerdictReason.ROLE_NOT_REMEMBERED,
    )


def test_what_is_said_to_an_agent_that_stays_silent_is_meant_for_it() -> None:
    assert [fact.text for fact in told(("user", "Answers are short."), scope=AGENT).facts] == ["Answers are short"]


@pytest.mark.parametrize("other", ["user_id", "app_id", "run_id"])
def test_an_agent_beside_another_id_makes_user_memories(other: str) -> None:
    found = told(("assistant", "My name is Alice."), scope=Scope(agent_id="a", **{other: "x"}))
    assert found.facts == ()
    assert found.verdicts == (VerdictReason.ROLE_NOT_REMEMBERED,)


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        # The guide's other sentences.
        (
            "I recently tried chicken and I loved it. I'm thinking of trying more non-vegetarian dishes..",
            ["Recently tried chicken and loved it", "Thinking of trying more non-vegetarian dishes"],
        ),
        ("I turned vegetarian now.", ["Turned vegetarian now"]),
        ("I'm travelling to SF", ["Travelling to SF"]),
        # Names.
        ("My name's Sarah and I'm 34 years old.", ["Name is Sarah", "Is 34 years old"]),
        ("My name is Alex and I live in Berlin.", ["Name is Alex", "Lives in Berlin"]),
        ("my name is alex smith", ["Name is Alex Smith"]),
        ("I'm Dr. Smith, a dentist from Boston.", ["Name is Dr. Smith", "Is a dentist from Boston"]),
        ("I am Maria de la Cruz.", ["Name is Maria de la Cruz"]),
        ("I'm Italian.", ["Is Italian"]),
        ("I'm ADHD", ["Is ADHD"]),
        ("I'm Sam, nice to meet you", ["Name is Sam"]),
        ("Call me Al", ["Prefers to be called Al"]),
        ("Hey Anna, I'm going to the gym", ["Going to the gym"]),
        # Work, places, family, possessions.
        ("i live in berlin and work as a nurse", ["Lives in berlin", "Works as a nurse"]),
        ("I'm an engineer at Siemens, and I love hiking.", ["Is an engineer at Siemens", "Loves hiking"]),
        ("I study maths and my roommate studies law", ["Studies maths", "Roommate studies law"]),
        ("My sister Anna lives in Paris", ["Sister Anna lives in Paris"]),
        ("My brother Tom is a pilot.", ["Brother Tom is a pilot"]),
        ("My wife's name is Julia.", ["Wife's name is Julia"]),
        ("My wife and I went to Rome.", ["My wife and I went to Rome"]),
        ("My boss told me I was fired", ["Boss told me I was fired"]),
        ("I have two cats and my wife has a dog", ["Has two cats", "Wife has a dog"]),
        ("I've got a dog named Rex", ["Has a dog named Rex"]),
        ("Our house is old", ["Our house is old"]),
        # Likes and dislikes; lists stay whole.
        ("I like pizza, pasta and sushi", ["Likes pizza, pasta and sushi"]),
        ("I like:\n- pizza\n- pasta\n- sushi", ["Likes: pizza, pasta, sushi"]),
        ("I don't eat meat", ["Doesn't eat meat"]),
        ("I don’t eat meat, but I love fish", ["Doesn't eat meat", "Loves fish"]),
        ("I like tea but hate coffee", ["Likes tea", "Hates coffee"]),
        ("dont like mondays", ["Doesn't like mondays"]),
        ("I can't stand cilantro", ["Can't stand cilantro"]),
        ("I'm not eating sugar anymore", ["Not eating sugar anymore"]),
        ("I'm not a morning person", ["Is not a morning person"]),
        ("I prefer tea, my husband prefers coffee", ["Prefers tea", "Husband prefers coffee"]),
        ("My favorite colors are blue and green.", ["Favorite colors are blue and green"]),
        ("I love pizza 🍕 I hate olives 😡", ["Loves pizza", "Hates olives"]),
        # Coordination that must stay together.
        ("I like to sing and dance", ["Likes to sing and dance"]),
        ("I sing and dance", ["Sings and dances"]),
        ("I have a brother and he lives in Rome", ["Has a brother and he lives in Rome"]),
        ("I'll keep plugging away and stay calm", ["Will keep plugging away and stay calm"]),
        ("If I win the lottery, I'll buy a boat", ["If I win the lottery, I'll buy a boat"]),
        ("When I was a kid I lived in Rome", ["When I was a kid I lived in Rome"]),
        # Forms of the verb, and of "I" further on.
        ("I always watch the news", ["Always watches the news"]),
        ("I used to smoke", ["Used to smoke"]),
        ("I've been learning Spanish", ["Has been learning Spanish"]),
        ("I'd like to book a flight to Rome", ["Would like to book a flight to Rome"]),
        ("I'll be in London", ["Will be in London"]),
        ("I need a new phone", ["Needs a new phone"]),
        ("I read a book yesterday", ["Read a book yesterday"]),
        ("I read a lot", ["Reads a lot"]),
        ("im vegan", ["Is vegan"]),
        ("i cant eat gluten", ["Can't eat gluten"]),
        ("I no longer work at Meta.", ["No longer works at Meta"]),
        ("I love my dog", ["Loves their dog"]),
        ("I told my boss I was leaving", ["Told their boss they were leaving"]),
        ("I told them my name", ["Told them my name"]),
        # Times in front.
        ("Last week I moved to Munich.", ["Moved to Munich last week"]),
        ("Yesterday, I bought a bike for $1,299.50", ["Bought a bike for $1,299.50 yesterday"]),
        ("Currently I work at Google", ["Currently works at Google"]),
        ("In 2019 I graduated from MIT", ["Graduated from MIT in 2019"]),
        # Leading over, reminding, asking beside telling.
        ("Well, actually I prefer the window seat", ["Prefers the window seat"]),
        ("Please remember that I'm allergic to peanuts", ["Is allergic to peanuts"]),
        ("Don't forget my birthday is on May 5", ["Birthday is on May 5"]),
        ("Thanks for the tips, I'll try the pasta", ["Will try the pasta"]),
        ("I'm vegetarian, what can I cook tonight?", ["Is vegetarian"]),
        ("Since I'm a vegetarian, what can I cook?", ["Is a vegetarian"]),
        ("Can you recommend a restaurant? I'm vegan.", ["Is vegan"]),
        # Kept as it stands.
        ("Paris is the capital of France.", ["Paris is the capital of France"]),
        ("The meeting is at 5 p.m.", ["The meeting is at 5 p.m."]),
        ("See https://example.com/a.b?c=d for details", ["See https://example.com/a.b?c=d for details"]),
        (
            "I work at Acme Inc. in the U.S. and earn $3.5 million",
            ["Works at Acme Inc. in the U.S.", "Earns $3.5 million"],
        ),
        ("我是素食主义者，对坚果过敏。我住在上海。", ["我是素食主义者，对坚果过敏", "我住在上海"]),
        ("Soy vegetariano y vivo en Madrid.", ["Soy vegetariano y vivo en Madrid"]),
        ("Ich wohne in Köln.", ["Ich wohne in Köln"]),
        ("Here is my config:\n```\nset nu\n```\nI use vim.", ["Here is my config:\n```\nset nu\n```", "Uses vim"]),
    ],
)
def test_facts(content: str, facts: list[str]) -> None:
    assert texts(content) == facts


@pytest.mark.parametrize(
    ("content", "verdict"),
    [
        ("What should I cook for dinner today?", VerdictReason.QUESTION),
        ("how do i cook rice", VerdictReason.QUESTION),
        ("I'm fine, thanks. How are you?", VerdictReason.QUESTION),
        ("Why does this fail?\n```\nx = 1\n```", VerdictReason.QUESTION),
        ("Can you recommend a restaurant?", VerdictReason.REQUEST),
        ("Tell me a joke", VerdictReason.REQUEST),
        ("Delete all of my food preferences", VerdictReason.REQUEST),
        ("Make me a list of movies", VerdictReason.REQUEST),
        ("Hi! Could you help me", VerdictReason.REQUEST),
        ("Hello there!", VerdictReason.GREETING),
        ("Good morning Anna", VerdictReason.GREETING),
        ("Thanks, Anna!", VerdictReason.ACKNOWLEDGEMENT),
        ("thank you so much for your help", VerdictReason.ACKNOWLEDGEMENT),
        ("ok", VerdictReason.ACKNOWLEDGEMENT),
        ("That sounds great!", VerdictReason.ACKNOWLEDGEMENT),
        ("👍", VerdictReason.ACKNOWLEDGEMENT),
        ("...", VerdictReason.NO_FACT),
        (" \n\t", VerdictReason.EMPTY),
        ("", VerdictReason.EMPTY),
    ],
)
def test_what_gives_no_fact_says_why(content: str, verdict: VerdictReason) -> None:
    found = told(("user", content))
    assert (found.facts, found.verdicts) == ((), (verdict,))


def test_a_repeat_is_a_further_source_of_the_same_fact() -> None:
    found = told(("user", "I like tea."), ("user", "Well, i  LIKE tea"))
    assert [(fact.text, fact.sources) for fact in found.facts] == [("Likes tea", (0, 1))]
    assert found.verdicts == (VerdictReason.STORED, VerdictReason.REPEATED)


def test_the_same_words_of_another_speaker_are_another_fact() -> None:
    messages = (
        Message("user", "I like tea.", name="Ann"),
        Message("user", "I like tea.", name="Bob"),
        Message("user", "I ski."),
    )
    facts = extract(ExtractRequest(messages, USER)).facts
    assert [(fact.speaker, fact.named) for fact in facts] == [("Ann", True), ("Bob", True), ("user", False)]


def test_a_fact_happened_when_its_own_clause_says() -> None:
    message = Message("user", "I moved on 12 May 2024 and I like tea. Yesterday I ran.", time=86_400_000_000)
    facts = extract(ExtractRequest((message,), USER)).facts
    assert [(fact.text, fact.event_time) for fact in facts] == [
        ("Moved on 12 May 2024", 1_715_472_000_000_000),
        ("Likes tea", None),
        ("Ran yesterday", 0),
    ]


def test_custom_categories_replace_the_list() -> None:
    custom = (("pets", "cats and dogs"), ("sport", "matches"))
    found = extract(ExtractRequest((Message("user", "I have two cats. I like tea."),), USER, custom_categories=custom))
    assert [fact.categories for fact in found.facts] == [("pets",), ()]


async def test_the_extractor_reads_the_same_inline_and_in_a_thread() -> None:
    short = ExtractRequest((Message("user", "I like tea. "),), USER)
    long = ExtractRequest((Message("user", "I like tea. " * LARGE),), USER)
    assert (await RulesExtractor().extract(short)).facts == (await RulesExtractor().extract(long)).facts
