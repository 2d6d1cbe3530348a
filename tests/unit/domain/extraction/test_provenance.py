"""Whose words the parts of a message are: mails, chat logs, texts to work on, and other messages."""

from __future__ import annotations

import time

import pytest

from recalld_server.domain.extraction.facts import Extraction, ExtractRequest, VerdictReason
from recalld_server.domain.extraction.pipeline import extract
from recalld_server.domain.extraction.provenance import kept_out, passages
from recalld_server.domain.memory import Message, Scope

QUOTED, GIVEN = VerdictReason.QUOTED, VerdictReason.GIVEN_TEXT


def told(content: str, name: str = "", role: str = "user") -> Extraction:
    scope = Scope(user_id="u") if role == "user" else Scope(agent_id="a")
    return extract(ExtractRequest((Message(role, content, name=name),), scope))


def facts(content: str, name: str = "", role: str = "user") -> list[tuple[str, str]]:
    """The facts, each with the name of its speaker, "" for who sent the message without one."""
    return [(fact.speaker if fact.named else "", fact.text) for fact in told(content, name, role).facts]


@pytest.mark.parametrize(
    ("content", "own"),
    [
        ("Sounds good.\n\nOn Mon, Sam <s@x.com> wrote:\n> I'm allergic to gluten. I live in Leeds.", []),
        (
            "Ich bin Veganer.\n\nAm 12.03.2024 um 10:05 schrieb Sam <s@x.com>:\n> Ich wohne in Leeds.\n>> Ich mag Tee.",
            ["Ich bin Veganer"],
        ),
        (
            "J'habite à Lyon.\n\nLe lun. 4 mai 2024 à 10:05, Sam <s@x.com> a écrit :\n\nJe suis allergique au gluten.",
            ["J'habite à Lyon"],
        ),
        ("Vivo en Madrid.\nEl lun, 4 may 2024 a las 10:05, Sam escribió:\n> Odio mi trabajo", ["Vivo en Madrid"]),
        (
            "On Mon, Mar 4, 2024 at 10:05 AM Sam Smith <sam@x.com>\nwrote:\n\n> I hate my job\n\nI live in York.",
            ["Lives in York"],
        ),
        ("Il giorno 4 mag 2024 Sam ha scritto:\n> Odio il mio lavoro", []),
        ("2024年3月4日 小王 <w@x.com> 写道：\n> 我对花生过敏。", []),
        ("My boss wrote:\nI am moving to Rome next month.", []),
        ("> I hate my job\nI live in Hull.\n> I live in Leeds\nI live in York.", ["Lives in Hull", "Lives in York"]),
        (
            "FYI, I live in York.\n---------- Forwarded message ---------\nFrom: Sam <s@x.com>\n\nI hate my job.",
            ["Lives in York"],
        ),
        ("-----Original Message-----\nFrom: Sam\nSent: Monday\n\nI have diabetes.\n\nI live in Leeds.", []),
        ("Begin forwarded message:\n\nFrom: Sam\nDate: 4 May\n\nI hate my job", []),
        ("Von: Sam\nGesendet: Montag, 4. Mai\nAn: Anna\nBetreff: Umzug\n\nIch wohne jetzt in Leeds.", []),
        ("Von: Sam Gesendet: Montag\nIch wohne jetzt in Leeds.", []),
        ("-------- Message transféré --------\nObjet : Moi\n\nJ'habite à Lille.", []),
        ("-------- Пересылаемое сообщение --------\nЯ живу в Москве.", []),
        (
            "---- Forwarded message ----\nI hate my job.\n---- End of forwarded message ----\nI live in York.",
            ["Lives in York"],
        ),
    ],
)
def test_mail_is_not_said_by_who_answers_or_forwards_it(content: str, own: list[str]) -> None:
    found = told(content)
    assert [fact.text for fact in found.facts] == own
    assert found.verdicts == (VerdictReason.STORED if own else QUOTED,)
    assert found.details[0].startswith("Not extracted: ")


def test_a_mail_of_the_senders_own_is_their_own() -> None:
    assert facts("From: Priya Rao <p@x.com>\nSubject: Moving\n\nI live in Leeds.", "Priya") == [
        ("Priya", "Lives in Leeds")
    ]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            "Alice: I moved to Berlin. I work at SAP.\nBob: I'm still in Paris. I hate my job.",
            [
                ("Alice", "Moved to Berlin"),
                ("Alice", "Works at SAP"),
                ("Bob", "Is still in Paris"),
                ("Bob", "Hates their job"),
            ],
        ),
        (
            "I met friends.\nAnn: I ski. Bob: I hate snow.",
            [("", "Met friends"), ("Ann", "Skis"), ("Bob", "Hates snow")],
        ),
        (
            "[12:03] Alice: I live in Rome.\n[12:04] Bob: I like tea.",
            [("Alice", "Lives in Rome"), ("Bob", "Likes tea")],
        ),
        ("<alice> I live in Rome.\n<bob> I like tea.", [("alice", "Lives in Rome"), ("bob", "Likes tea")]),
        ("Alice (10:05): I live in Rome. I ski.", [("Alice", "Lives in Rome"), ("Alice", "Skis")]),
        (
            "12/03/24, 10:04 - Messages are end-to-end encrypted.\n12/03/24, 10:05 - Alice: I live in Rome\n"
            "and I like tea\n12/03/24, 10:06 - Bob Smith: I have a dog",
            [("Alice", "Lives in Rome"), ("Alice", "Likes tea"), ("Bob Smith", "Has a dog")],
        ),
        (
            "\u200e[12.03.24, 10:05:33] ~ Jürgen: Ich wohne in Köln.\n[12.03.24, 10:06:01] Ömer: Ich mag Tee.",
            [("Jürgen", "Ich wohne in Köln"), ("Ömer", "Ich mag Tee")],
        ),
        (
            "Alice  10:05 AM\nI live in Rome.\nBob  10:07 AM\nI like tea.",
            [("Alice", "Lives in Rome"), ("Bob", "Likes tea")],
        ),
        ("10:05\tAlice\tI live in Rome.\n10:06\tBob\tI like tea.", [("Alice", "Lives in Rome"), ("Bob", "Likes tea")]),
        ("**Alice:** I live in Rome.\n**Bob:** I like tea.", [("Alice", "Lives in Rome"), ("Bob", "Likes tea")]),
        ("Ana: Soy vegetariana.\nLuis: Odio mi trabajo.", [("Ana", "Soy vegetariana"), ("Luis", "Odio mi trabajo")]),
        ("小明：我喜欢喝茶。\n小红：我讨厌加班。", [("小明", "我喜欢喝茶"), ("小红", "我讨厌加班")]),
        ("Маша: Я живу в Москве.\nПетя: Я люблю чай.", [("Маша", "Я живу в Москве"), ("Петя", "Я люблю чай")]),
        ("Chef: Ich wohne in Bonn.\nAnna: Ich mag Tee.", [("Chef", "Ich wohne in Bonn"), ("Anna", "Ich mag Tee")]),
        ("Alice: I live in Rome.", [("Alice", "Lives in Rome")]),
        ("Me: I live in Rome.\nBob: I like tea.", [("", "Lives in Rome"), ("Bob", "Likes tea")]),
        ("User: I live in Rome.\nAssistant: I like tea.", [("", "Lives in Rome")]),
    ],
)
def test_a_label_names_who_speaks_until_the_next_one(content: str, found: list[tuple[str, str]]) -> None:
    assert facts(content) == found


@pytest.mark.parametrize("name", ["Alice", "alice", "Alice Miller"])
def test_a_label_with_the_name_of_the_sender_is_theirs(name: str) -> None:
    assert facts("Alice: I live in Rome.\nBob: I like tea.", name) == [(name, "Lives in Rome"), ("Bob", "Likes tea")]


@pytest.mark.parametrize("name", [" ", "\t\n", "  Alice  "])
def test_white_space_around_the_name_of_the_sender_says_nothing(name: str) -> None:
    alice = name if name.strip() else "Alice"
    assert facts("Alice: I live in Rome.\nBob: I like tea.", name) == [(alice, "Lives in Rome"), ("Bob", "Likes tea")]


def test_the_same_words_of_two_speakers_of_one_log_are_two_facts() -> None:
    assert facts("Ann: I like tea.\nBob: I like tea.") == [("Ann", "Likes tea"), ("Bob", "Likes tea")]


@pytest.mark.parametrize(
    ("content", "own"),
    [
        ("Translate: I live in Leeds. I hate my job.", []),
        ("Translate into French: I live in Leeds.\n\nBy the way, I'm vegan.", ["Is vegan"]),
        ("Summarise this:\n\nI live in Leeds.\n\nI hate my job.", []),
        ("I'm vegan. Could you please proofread this?\n\nI lives in Leeds.", ["Is vegan"]),
        ("Rewrite the following text:\nI live in Leeds", []),
        ("Translate: Dear Sir,\n\nI am allergic to nuts.", []),
        ("Translate this:\n```\nI live in Leeds\n```\nI am vegan.", ["Is vegan"]),
        ("Summarise this chat:\nAlice: I moved to Berlin.\nBob: I hate my job.", []),
        ("Check the grammar of this sentence: I has a dog.", []),
        ("How do you say in French: I am allergic to nuts.", []),
        ("Übersetze bitte: Ich wohne in Leeds.\n\nIch bin Veganer.", ["Ich bin Veganer"]),
        ("Kannst du diesen Text zusammenfassen:\nIch wohne in Leeds. Ich hasse Käse.", []),
        ("Traduis en anglais : J'habite à Lyon.", []),
        ("Por favor, traduce al inglés: «Vivo en Madrid. Odio mi trabajo.»\nSoy vegano.", ["Soy vegano"]),
        ("请翻译成英文：我对花生过敏。", []),
        ("次の文を英語に翻訳してください：\n私は東京に住んでいます。", []),
        ("Переведи на английский: Я живу в Москве.", []),
        ("I live in Leeds and I'm 34.\n\nTranslate the text above to French.", []),
        ("Pretend I'm a pirate. I live on a ship.\n\nI am vegan.", ["Is vegan"]),
        ("Suppose I have 3 kids and earn 80k, what tax would I pay? I live in Leeds.", ["Lives in Leeds"]),
        ("Stell dir vor, ich wohne auf dem Mars. Was esse ich?", []),
        ("Imagine que j'habite à Tokyo.", []),
        ("Let's say I earn 90k. What tax is that?", []),
        ("```\nI live in Leeds\n```", []),
    ],
)
def test_a_text_to_be_worked_on_tells_nothing_of_who_gives_it(content: str, own: list[str]) -> None:
    found = told(content)
    assert [fact.text for fact in found.facts] == own
    assert found.verdicts == (VerdictReason.STORED if own else GIVEN,)


@pytest.mark.parametrize(
    ("content", "own"),
    [
        ("Note: I am allergic to nuts", ["Is allergic to nuts"]),
        ("My allergies: nuts, shellfish", ["My allergies: nuts, shellfish"]),
        ("10:30 works for me", ["10:30 works for me"]),
        ("I wake up at 6:30", ["Wakes up at 6:30"]),
        ("TODO: buy milk", ["TODO: buy milk"]),
        ("https://example.com/a is my site", ["Https://example.com/a is my site"]),
        ("Re: dinner", ["Re: dinner"]),
        ("Name: Alex\nAge: 34\nCity: Berlin", ["Name: Alex", "Age: 34", "City: Berlin"]),
        ("Monday: I ski\nTuesday: I swim", ["Monday: I ski", "Tuesday: I swim"]),
        ("Allergien: Nüsse\nHobbys: Ski", ["Allergien: Nüsse", "Hobbys: Ski"]),
        ("备注：我对坚果过敏", ["备注：我对坚果过敏"]),
        ("From: Rome\nTo: Paris\nDate: 12 May", ["From: Rome", "To: Paris", "Date: 12 May"]),
        ("On my blog I wrote:\nI live in Leeds.", ["On my blog I wrote", "Lives in Leeds"]),
        ("Imagine my surprise, I won!", ["Imagine my surprise, I won"]),
        ("I translate books for a living: I love it.", ["Translates books for a living: they love it"]),
        ("Resume: I worked at SAP for 3 years.", None),
        ("Hallo zusammen: ich wohne in Bonn.", None),
        ("5 > 3 is true.", ["5 > 3 is true"]),
    ],
)
def test_ordinary_messages_lose_nothing(content: str, own: list[str] | None) -> None:
    found = told(content)
    assert found.verdicts == (VerdictReason.STORED,)
    assert found.details == {}
    assert [fact.named for fact in found.facts] == [False] * len(found.facts)
    if own is not None:
        assert [fact.text for fact in found.facts] == own


@pytest.mark.parametrize(
    ("content", "own"),
    [
        ('She said: "I hate my job"', []),
        ('I live in York. My sister told me: "I moved to Rome. I hate my job." I ski.', ["Lives in York", "Skis"]),
        ('"I hate my job," said Tom. I ski.', ["Skis"]),
        ("Mein Bruder sagte: „Ich wohne in Bonn. Ich mag Tee.“", []),
        ("Ma sœur a dit : «J'habite à Lyon.»", []),
        ("Mi hermana dijo: «Vivo en Madrid. Odio mi trabajo.»", []),
        ("她说：「我对花生过敏。」", []),
        ("Он сказал: «Я живу в Москве.»", []),
    ],
)
def test_what_others_are_quoted_to_say_is_theirs(content: str, own: list[str]) -> None:
    found = told(content)
    assert [fact.text for fact in found.facts] == own
    assert found.verdicts == (VerdictReason.STORED if own else QUOTED,)
    assert "quoted" in found.details[0]


@pytest.mark.parametrize(
    "content", ['My favourite film is "I Am Legend"', 'I told her "I quit"', 'My dog is called "Rex"']
)
def test_titles_and_ones_own_words_in_quotation_marks_stay(content: str) -> None:
    found = told(content)
    assert (found.verdicts, found.details) == ((VerdictReason.STORED,), {})


def test_a_fenced_block_is_not_read_for_marks() -> None:
    assert facts("My notes:\n```\n> quoted\nAlice: I ski\n```") == [("", "My notes:\n```\n> quoted\nAlice: I ski\n```")]


def test_what_was_kept_out_is_named() -> None:
    parts = passages("I ski.\n> a\n> b\n\nTranslate: c\n\n--- Forwarded message ---\nd")
    assert kept_out(parts) == (
        "Not extracted: text quoted from somebody else, text given to be processed or only supposed, "
        "a forwarded message."
    )
    assert kept_out(passages("I ski.")) == ""


def test_a_question_that_was_only_quoted_is_not_answered() -> None:
    asked = Message("assistant", "> Do you like jazz?\nNoted.")
    found = extract(ExtractRequest((asked, Message("user", "Yes")), Scope(user_id="u")))
    assert found.facts == ()


def test_an_agent_quotes_as_well() -> None:
    assert facts("Assistant: I like tea.\nUser: I ski.\n> I hate it.", role="assistant") == [
        ("", "Likes tea"),
        ("User", "Skis"),
    ]


@pytest.mark.parametrize(
    "unit",
    [
        "> a\n", "On Mon ", "On a 1/1/24\n", "Sam wrote:\n", "From: a\n", "---- ", "Alice: I ski. ", "Alice: I ski\n",
        "A\n10:05\n", "[10:05] ", "<a> I\n", "1/1/24, 10:05 - A: I\n", "**A:** ", "```\n", "— ", ": ", "A" * 40 + " ",
        "Translate: „", "Translate: „\n", "translate this? ", "please ", "Suppose I ", "Suppose I? ",
        "translate above\n", "Translate this:\n\n", 'Translate: "a" ', "。", "a:\n", 'she said: "I" ', '"', '"a"',
    ],
)  # fmt: skip
def test_time_is_linear(unit: str) -> None:
    content = unit * ((64 * 1024) // len(unit.encode()))
    started = time.thread_time()
    passages(content)
    assert time.thread_time() - started < 3, "several times the slowest seen"


@pytest.mark.parametrize(
    ("content", "hidden"),
    [
        ("I live in York.\n> My SSN is 078-05-1120.\nI ski.", "My SSN is 078-05-1120."),
        ("Ann: I live in York. My SSN is 078-05-1120.\nBob: I like tea.", "My SSN is 078-05-1120."),
        ("I ski.\nAnn: My SSN is 078-05-1120. Bob: I like tea.", "My SSN is 078-05-1120."),
        ("Translate: «Mi SSN es 078.» I live in York.", "Mi SSN es 078.»"),
        ("Hi\r\n---- Forwarded message ----\r\nMy SSN is 078.\r\n", "My SSN is 078."),
    ],
)
def test_what_is_excluded_is_found_in_the_words_of_others_as_well(content: str, hidden: str) -> None:
    request = ExtractRequest((Message("user", content),), Scope(user_id="u"), excludes="SSN")
    found = extract(request)
    assert [content[span.begin : span.end] for span in found.excluded][-1].endswith(hidden)
    assert not any("078" in fact.text for fact in found.facts)
