"""Three realistic conversations, through add, search, list, export and import.

They are a support agent's conversation with tools and content parts, a family chat of four speakers, and a diary in
German, Japanese and emoji.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from tests.service.test_grpcurl import Terminal, objects

from recalld import MemoryClient, messages, testing

DAYS = Path(__file__).parent / "days"
SCOPES = {"support": {"user_id": "dana"}, "family": {"app_id": "family"}, "diary": {"user_id": "hana"}}
INSULIN = "Heute habe ich 10 Einheiten Insulin gespritzt."
QUESTIONS = {
    "support": ("What is she allergic to?", "Where did she move?", "order 48213"),
    "family": ("Who can't eat gluten?", "the cabin in Hallstatt", "blood pressure"),
    "diary": ("Insulin", "桜", "納豆", "Familientreffen", "Straße", "fluss"),
}

Item = dict[str, Any]


def said(day: str) -> list[Item]:
    """The messages of a day as their application holds them."""
    found: list[Item] = json.loads((DAYS / f"{day}.json").read_text())
    return [{"role": "user", **message} for message in found]


class Days:
    """A server on which the three days were lived: a conversation is one add, each entry of a diary one of its own."""

    def __init__(self, target: str, client: MemoryClient) -> None:
        self.target = target
        self.client = client
        self.answers = {
            day: client.add(said(day), output_format="v1.1", **SCOPES[day]) for day in ("support", "family")
        }
        self.entries = [
            client.add([entry], infer=False, output_format="v1.1", **SCOPES["diary"]) for entry in said("diary")
        ]

    def listed(self, day: str, *conditions: Item) -> list[Item]:
        """Memories of a day, oldest first."""
        filters = {"AND": [SCOPES[day], *conditions]}
        return sorted(self.client.get_all(filters=filters), key=lambda item: str(item["id"]))

    def texts(self, day: str, *conditions: Item) -> list[str]:
        return [item["memory"] for item in self.listed(day, *conditions)]

    def of_message(self, day: str, number: int) -> list[tuple[str, str]]:
        """(speaker, text) of what came of one message."""
        memories = {item["id"]: item for item in self.listed(day)}
        ids = self.answers[day]["verdicts"][number]["memory_ids"]
        return [(memories[id]["speaker"], memories[id]["memory"]) for id in ids]


@pytest.fixture(scope="module")
def days(server: testing.LocalServer) -> Iterator[Days]:
    with MemoryClient(server.target) as client:
        yield Days(server.target, client)


@pytest.fixture(scope="module")
def terminal(server: testing.LocalServer, grpcurl: str) -> Terminal:
    return Terminal(grpcurl, server.target)


def reasons(answer: Item) -> list[str]:
    return [verdict["reason"] for verdict in answer["verdicts"]]


@pytest.mark.parametrize("day", ["support", "family"])
def test_every_message_has_a_verdict_and_every_memory_a_message(days: Days, day: str) -> None:
    verdicts = days.answers[day]["verdicts"]
    assert [verdict["index"] for verdict in verdicts] == list(range(len(said(day))))
    assert all(bool(verdict["memory_ids"]) == (verdict["reason"] == "STORED") for verdict in verdicts)
    named = {id for verdict in verdicts for id in verdict["memory_ids"]}
    assert named == {item["id"] for item in days.listed(day)} == {item["id"] for item in days.answers[day]["results"]}


def test_a_support_case_keeps_what_the_customer_said(days: Days) -> None:
    assert reasons(days.answers["support"]) == [
        *("ROLE_NOT_REMEMBERED", "STORED"),  # what the agent is told, the customer's text beside an image
        *("ROLE_NOT_REMEMBERED",) * 3,  # a call, its answer, the agent
        "STORED",
        *("ROLE_NOT_REMEMBERED",) * 4,  # two calls at once, their answers, the developer
        *("EMPTY", "ROLE_NOT_REMEMBERED"),  # an image alone
        *("QUESTION", "ACKNOWLEDGEMENT"),
    ]
    assert sorted(days.texts("support")) == [
        "Is allergic to latex",
        "Moved to Cork last week",
        "Name is Dana Okafor",
        "Order 48213 arrived with a broken shade",
    ]
    [allergy, *_] = days.client.search("What is she allergic to?", user_id="dana")
    assert allergy["memory"] == "Is allergic to latex"
    assert "I moved to Cork last week. I'm allergic to latex." in [each["content"] for each in allergy["input"]]
    assert {item["speaker"] for item in days.listed("support")} == {"user"}


def test_an_agent_that_is_remembered_is_so_beside_its_calls(days: Days) -> None:
    answer = days.client.add(said("support"), agent_id="lamps", output_format="v1.1")
    assert [verdict["index"] for verdict in answer["verdicts"]] == list(range(len(said("support"))))
    found = reasons(answer)
    assert [found[number] for number in (2, 6)] == ["EMPTY"] * 2  # calls: nothing is said in them
    assert [found[number] for number in (3, 7, 8)] == ["ROLE_NOT_REMEMBERED"] * 3  # what tools answered
    kept = [item["memory"] for item in days.client.get_all(agent_id="lamps")]
    assert any("ships tomorrow" in text for text in kept)
    assert not any("call_" in text or '"' in text for text in kept)


def test_everybody_in_a_family_says_their_own(days: Days) -> None:
    assert days.of_message("family", 0) == [("Mira", "Booked the cabin in Hallstatt for August")]
    [(speaker, gluten)] = days.of_message("family", 1)
    assert (speaker, gluten.startswith("Can't eat gluten")) == ("Ben", True)
    assert days.of_message("family", 2) == [("Grandpa Joe", "Takes blood pressure pills every morning")]
    assert days.of_message("family", 3) == [("Aylin", "Is vegan now")]
    found = reasons(days.answers["family"])
    assert [found[number] for number in (4, 8, 9)] == ["ACKNOWLEDGEMENT", "QUESTION", "GIVEN_TEXT"]
    assert days.client.search("Who can't eat gluten?", app_id="family")[0]["speaker"] == "Ben"


def test_what_others_wrote_is_theirs_or_nobodys(days: Days) -> None:
    """Quoted mail is kept out; a pasted log is said by those whom it names, whoever pasted it."""
    assert days.of_message("family", 5) == [("Mira", "Good news from the landlord")]
    pasted = days.of_message("family", 6)
    assert {
        ("Ben", "Works at the harbour"),
        ("Ben", "Sold their car"),
        ("Grandpa Joe", "Hates flying"),
        ("Mira", "Has two keys for the cabin"),
    } <= set(pasted)
    assert "Aylin" not in {speaker for speaker, text in pasted if "Copied" not in text}
    texts = " ".join(days.texts("family"))
    for other in ("allergic to cats", "Salzburg", "Graz", "drei Hunde"):
        assert other not in texts


def test_a_diary_stands_as_it_was_written(days: Days) -> None:
    assert [reasons(entry) for entry in days.entries] == [["STORED"]] * len(days.entries)
    assert days.texts("diary") == [entry["content"] for entry in said("diary")]
    assert [item["timestamp"][:16] for item in days.listed("diary")] == [
        *("2024-03-01T20:00", "2024-03-02T20:00", "2024-03-02T20:05", "2024-03-04T23:00", "2024-03-05T23:00"),
        *("2024-03-06T13:00", "2024-03-07T06:30", "2024-03-07T21:00", "2024-03-08T20:00"),
    ]


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("Insulin", INSULIN),
        ("桜", "京都で桜を見た。とても綺麗だった。"),
        ("納豆", "朝ごはんに納豆を食べた。"),
        ("familientreffen", "👩‍👩‍👧‍👦 Familientreffen am 2024-05-20 🏔️"),
        ("STRASSE", "Am 14. Februar war ich mit Dr. Weiß in der Straße am Fluß spazieren."),
        ("Fluss", "Am 14. Februar war ich mit Dr. Weiß in der Straße am Fluß spazieren."),
    ],
)
def test_a_diary_is_found_by_its_words(days: Days, question: str, first: str) -> None:
    assert days.client.search(question, user_id="hana")[0]["memory"] == first


@pytest.mark.parametrize("question", ["🚀", "桜", "納豆", "Insulin", "ขอบคุณ"])
def test_what_no_word_of_a_question_stands_in_is_not_taken_for_an_answer(days: Days, question: str) -> None:
    found = days.client.search(question, user_id="hana", threshold=0.5)
    assert all(question in hit["memory"] for hit in found)
    assert bool(found) == (question not in ("🚀", "ขอบคุณ"))


def test_a_diary_is_narrowed_by_when_it_was_written_and_when_it_happens(days: Days) -> None:
    injected = {"keywords": {"icontains": "insulin"}}
    for name in ("timestamp", "said_time"):
        assert days.texts("diary", {name: {"gte": "2024-03-05T23:00:00Z", "lt": "2024-03-07"}}) == [
            "朝ごはんに納豆を食べた。",
            "🎉🎉🎂",
        ]
        injections = days.listed("diary", injected, {name: {"lte": "2024-03-02"}})
        assert [item["timestamp"][:10] for item in injections] == ["2024-03-01", "2024-03-02"]
    assert len(days.listed("diary", injected)) == 3
    meeting = ["👩‍👩‍👧‍👦 Familientreffen am 2024-05-20 🏔️"]
    assert days.texts("diary", {"event_time": {"gte": "2024-05-20", "lte": "2024-05-20"}}) == meeting
    assert days.texts("diary", {"NOT": [{"timestamp": {"lt": "2024-03-07T21:00:00Z"}}]}) == ["🍕", INSULIN]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_days_go_to_another_server(days: Days, tmp_path: Path, ending: str) -> None:
    with testing.start_local() as other, MemoryClient(other.target) as client:
        for day, scope in SCOPES.items():
            file = tmp_path / f"{day}.{ending}"
            for _ in days.client.export(file, format=ending, **scope):  # type: ignore[arg-type]
                pass
            here = days.listed(day)
            for counts in (f"{len(here)} stored, 0 known already", f"0 stored, {len(here)} known already"):
                words = [sys.executable, "-m", "recalld_server", "import", str(file), "--target", other.target]
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                assert done.stdout == f"{counts}, 0 refused\n", done.stderr
            assert sorted(client.get_all(**scope), key=lambda item: str(item["id"])) == here
            for question in QUESTIONS[day]:
                ours, theirs = (each.search(question, **scope) for each in (days.client, client))
                assert {hit["id"]: hit["input"] for hit in theirs} == {hit["id"]: hit["input"] for hit in ours}
                assert theirs[0]["memory"] == ours[0]["memory"]
                assert theirs[0]["score"] == pytest.approx(ours[0]["score"], abs=0.01)


@pytest.mark.needs_grpcurl
@pytest.mark.parametrize("day", ["support", "family"])
def test_grpcurl_is_told_the_same(days: Days, terminal: Terminal, day: str) -> None:
    scope = {name: f"{id} by grpcurl" for name, id in SCOPES[day].items()}
    wire = [json_format.MessageToDict(message) for message in messages.conversation(said(day))]
    added = terminal.call("MemoryService/Add", {"messages": wire, "scope": scope})
    assert (added.returncode, added.stderr) == (0, "")
    [answer] = objects(added.stdout)
    told = [verdict["reason"].removeprefix("VERDICT_REASON_") for verdict in answer["verdicts"]]
    assert told == reasons(days.answers[day])
    listed = terminal.call("MemoryService/ListMemories", {"scope": scope, "order_by": "create_time"})
    [page] = objects(listed.stdout)
    found = sorted((memory["speaker"], memory["text"]) for memory in page["memories"])
    assert found == sorted((item["speaker"], item["memory"]) for item in days.listed(day))


@pytest.mark.needs_grpcurl
def test_grpcurl_reads_the_diary(days: Days, terminal: Terminal) -> None:
    march = {"timestamp_value": "2024-03-07T00:00:00Z"}
    since = {"comparison": {"field": "said_time", "operator": "OPERATOR_GTE", "value": march}}
    listed = terminal.call("MemoryService/ListMemories", {"scope": SCOPES["diary"], "filter": since})
    [page] = objects(listed.stdout)
    assert {memory["text"] for memory in page["memories"]} == {entry["content"] for entry in said("diary")[-3:]}
    assert all(memory["saidTime"] >= "2024-03-07" for memory in page["memories"])
    found = terminal.call("SearchService/Search", {"query": "桜を見た", "scope": SCOPES["diary"], "limit": 1})
    [answer] = objects(found.stdout)
    assert [hit["memory"]["text"] for hit in answer["hits"]] == ["京都で桜を見た。とても綺麗だった。"]
