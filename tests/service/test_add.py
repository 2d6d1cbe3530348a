"""Add: facts and verdicts of messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb

Reason = memory_pb2.VerdictReason


def said(content: str, role: str = "user", **fields: Any) -> memory_pb2.Message:
    return memory_pb2.Message(role=role, content=content, **fields)


def add(user: str, *messages: memory_pb2.Message, **fields: Any) -> pb.AddRequest:
    return pb.AddRequest(scope={"user_id": user}, messages=messages, **fields)


def changes(answer: pb.AddResponse) -> list[str]:
    return [memory_pb2.Change.Name(result.change).removeprefix("CHANGE_") for result in answer.results]


def reasons(answer: pb.AddResponse) -> list[str]:
    return [Reason.Name(verdict.reason).removeprefix("VERDICT_REASON_") for verdict in answer.verdicts]


async def test_messages_become_facts(api: Any) -> None:
    user = api.user()
    answer = await api.memory.Add(
        add(
            user,
            said("I'm a vegetarian and I'm allergic to nuts."),
            said("Noted! Shall I look for recipes?", "assistant"),
            said("Thanks!"),
        )
    )
    assert await api.texts(user) == ["Is a vegetarian", "Is allergic to nuts"]
    assert changes(answer) == ["ADD", "ADD"]
    assert reasons(answer)[:2] == ["STORED", "ROLE_NOT_REMEMBERED"]
    assert reasons(answer)[2] in ("GREETING", "ACKNOWLEDGEMENT", "NO_FACT")
    assert [verdict.message_index for verdict in answer.verdicts] == [0, 1, 2]
    assert list(answer.verdicts[0].memory_ids) == [result.memory_id for result in answer.results]
    for result in answer.results:
        assert result.memory.id == result.memory_id
        assert [source.content for source in result.memory.sources] == ["I'm a vegetarian and I'm allergic to nuts."]
        assert result.memory.add_id == answer.add_id
    assert (bool(answer.consistency_token), answer.index_state) == (True, memory_pb2.INDEX_STATE_APPLIED)


async def test_nothing_worth_remembering_is_still_an_answer(api: Any) -> None:
    user = api.user()
    answer = await api.memory.Add(add(user, said("Hello!"), said("What is the weather like?")))
    assert (changes(answer), reasons(answer)) == ([], ["GREETING", "QUESTION"])
    assert bool(answer.consistency_token)
    assert await api.listed(user) == []


async def test_without_inference_each_message_is_a_memory(api: Any) -> None:
    user = api.user()
    messages = [
        said("Obey.", "system"),
        said("Where is Rome?"),
        said("In Italy.", "assistant"),
        said(" \n"),
        said("72", "tool"),
    ]
    answer = await api.memory.Add(add(user, *messages, infer=False))
    assert reasons(answer) == ["ROLE_NOT_REMEMBERED", "STORED", "STORED", "EMPTY", "STORED"]
    assert [(m.text, m.speaker) for m in await api.listed(user)] == [
        ("Where is Rome?", "user"),
        ("In Italy.", "assistant"),
        ("72", "tool"),
    ]
    assert [source.position for result in answer.results for source in result.memory.sources] == [1, 2, 4]


@pytest.mark.parametrize("infer", [True, False])
async def test_a_text_stands_for_one_message_of_the_user(api: Any, infer: bool) -> None:
    user = api.user()
    request = pb.AddRequest(scope={"user_id": user}, text="I love hiking", infer=infer)
    answer = await api.memory.Add(request)
    assert (changes(answer), reasons(answer)) == (["ADD"], ["STORED"])
    [memory] = await api.listed(user)
    assert [(source.role, source.content) for source in memory.sources] == [("user", "I love hiking")]
    assert (memory.text == "I love hiking") is not infer


async def test_names_and_times_are_kept(api: Any) -> None:
    user = api.user()
    then, other = Timestamp(seconds=1_700_000_000), Timestamp(seconds=1_600_000_000, nanos=123_456_000)
    request = add(user, said("Has a dog", name="Ann"), said("Has a cat", time=other), timestamp=then, infer=False)
    dog, cat = [result.memory for result in (await api.memory.Add(request)).results]
    assert (dog.speaker, dog.sources[0].name, dog.sources[0].time) == ("Ann", "Ann", then)
    assert (cat.speaker, cat.sources[0].name, cat.sources[0].time) == ("user", "", other)
    assert await api.listed(user) == [dog, cat]


async def test_metadata_categories_expiry_and_immutability_go_on_every_memory(api: Any) -> None:
    user = api.user()
    expire = Timestamp(seconds=4_000_000_000, nanos=999_999_000)
    metadata = {"list": [1, "two", None, {"three": True}], "n": 2.5, "empty": {}, "ключ": "значение"}
    request = add(
        user,
        said("Likes tea"),
        said("Likes rain"),
        infer=False,
        metadata=metadata,
        categories=["drink", "weather", "drink"],
        expire_time=expire,
        immutable=True,
    )
    await api.memory.Add(request)
    memories = await api.listed(user)
    assert len(memories) == 2
    for memory in memories:
        assert memory.metadata == request.metadata
        assert list(memory.categories) == ["drink", "weather"]
        assert (memory.expire_time, memory.immutable) == (expire, True)


async def test_categories_are_chosen_from_custom_ones(api: Any) -> None:
    user = api.user()
    custom = [
        memory_pb2.CustomCategory(name="pets", description="dogs, cats and other animals kept at home"),
        memory_pb2.CustomCategory(name="music", description="bands, concerts, instruments"),
    ]
    await api.memory.Add(add(user, said("I have two cats at home."), custom_categories=custom))
    [memory] = await api.listed(user)
    assert list(memory.categories) == ["pets"]


async def test_excludes_rule_facts_out(api: Any) -> None:
    user = api.user()
    answer = await api.memory.Add(add(user, said("I love sushi."), said("I live in Rome."), excludes="food"))
    assert reasons(answer) == ["EXCLUDED", "STORED"]
    assert await api.texts(user) == ["Lives in Rome"]


async def test_a_repeat_merges_its_metadata_and_a_mere_one_changes_nothing(api: Any) -> None:
    user = api.user()
    [first] = await api.remember(user, "Likes tea", metadata={"a": 1, "b": 1}, categories=["drink"])
    again = add(user, said(" Likes tea\n"), infer=False, metadata={"b": 2, "c": 3}, categories=["hot"])
    answer = await api.memory.Add(again)
    assert (changes(answer), reasons(answer)) == (["UPDATE"], ["STORED"])
    [merged] = await api.listed(user)
    assert answer.results[0].memory == merged
    assert answer.results[0].previous_text == ""
    assert (merged.id, merged.text, merged.revision) == (first.id, "Likes tea", 2)
    assert (dict(merged.metadata), list(merged.categories)) == ({"a": 1, "b": 2, "c": 3}, ["drink", "hot"])
    answer = await api.memory.Add(again)
    assert (changes(answer), reasons(answer)) == (["NONE"], ["REPEATED"])
    assert answer.results[0].memory == merged
    assert list(answer.verdicts[0].memory_ids) == [first.id]
    assert await api.listed(user) == [merged]
    assert len(await api.events(user)) == 2


async def test_a_repeat_inside_one_add_is_one_memory(api: Any) -> None:
    user = api.user()
    answer = await api.memory.Add(add(user, said("Likes tea"), said("Likes tea"), said("Likes rain"), infer=False))
    assert changes(answer) == ["ADD", "ADD"]
    tea = answer.results[0].memory_id
    assert [list(verdict.memory_ids) for verdict in answer.verdicts][:2] == [[tea], [tea]]
    assert await api.texts(user) == ["Likes tea", "Likes rain"]


PAIRS = [
    ("The wifi password is Hunter2Go", "The wifi password is hunter2gO"),
    ("export PATH=/opt/Bin", "export path=/opt/bin"),
    ("token dGVzdA==", "token DGVZDA=="),
    ("The area is 10 m²", "The area is 10 m2"),
    ("def f():\n    pass", "def f():\n  pass"),
    ("Die Straße ist gesperrt", "Die Strasse ist gesperrt"),
]


@pytest.mark.parametrize("infer", [False, True])
async def test_texts_that_differ_in_anything_are_two_memories(api: Any, infer: bool) -> None:
    for one, other in PAIRS if not infer else PAIRS[:4]:  # rules read the others as statements
        user = api.user()
        texts = []
        for text in (one, other):
            answer = await api.memory.Add(add(user, said(text), infer=infer))
            texts += [result.memory.text for result in answer.results]
            assert set(changes(answer)) == {"ADD"}, text
        assert sorted(await api.texts(user)) == sorted(texts)
        assert len(set(texts)) == len(texts)
        if not infer:
            assert texts == [one, other]


async def test_imported_texts_that_differ_in_anything_are_two_memories(api: Any) -> None:
    user = api.user()
    scope = {"user_id": user}
    items = [pb.ImportItem(text=pb.ImportText(text=text, scope=scope)) for pair in PAIRS for text in pair]
    *_, last = await api.imported(items)
    assert (last.stored, last.unchanged) == (len(items), 0)
    *_, again = await api.imported(items)
    assert (again.stored, again.unchanged) == (0, len(items))


@pytest.mark.parametrize("infer", [False, True])
async def test_what_is_said_at_three_times_is_three_memories(api: Any, infer: bool) -> None:
    user, seen = api.user(), set[int]()
    for day in (1, 2, 3, 3):
        request = add(user, said("I took 10 units of insulin."), infer=infer, metadata={"day": day})
        request.timestamp.seconds = 1_700_000_000 + day * 86_400
        done = changes(await api.memory.Add(request))
        assert done == (["NONE"] if day in seen else ["ADD"])
        seen.add(day)
    assert sorted(memory.metadata["day"] for memory in await api.listed(user)) == [1, 2, 3]


async def test_what_two_speakers_say_is_two_memories(api: Any) -> None:
    user = api.user()
    messages = [
        memory_pb2.Message(role="user", content="The gate code is 42."),
        memory_pb2.Message(role="assistant", content="The gate code is 42."),
        memory_pb2.Message(role="user", name="Ann", content="The gate code is 42."),
    ]
    for message in (*messages, *messages):
        await api.memory.Add(pb.AddRequest(messages=[message], scope={"user_id": user}, infer=False))
    assert sorted(memory.speaker for memory in await api.listed(user)) == ["Ann", "assistant", "user"]


async def test_a_repeat_of_something_immutable_leaves_it(api: Any) -> None:
    user = api.user()
    before = await api.remember(user, "Was born in Rome", immutable=True)
    answer = await api.memory.Add(add(user, said("Was born in Rome"), infer=False, metadata={"a": 1}))
    assert changes(answer) == ["NONE"]
    assert await api.listed(user) == before


async def test_one_text_in_another_scope_is_no_repeat(api: Any) -> None:
    user, run = api.user(), api.user()
    await api.remember(user, "Likes tea")
    request = pb.AddRequest(scope={"user_id": user, "run_id": run}, text="Likes tea", infer=False)
    assert changes(await api.memory.Add(request)) == ["ADD"]
    assert await api.texts(user) == ["Likes tea", "Likes tea"]


async def test_concurrent_adds_of_one_text_store_it_once(api: Any) -> None:
    user = api.user()
    calls = [api.memory.Add(add(user, said("Likes tea"), infer=False, metadata={f"k{n}": n})) for n in range(3)]
    done = [change for answer in await asyncio.gather(*calls) for change in changes(answer)]
    assert sorted(done) == ["ADD", "UPDATE", "UPDATE"]
    [memory] = await api.listed(user)
    assert dict(memory.metadata) == {"k0": 0, "k1": 1, "k2": 2}


async def test_a_dry_run_shows_what_would_be_and_stores_nothing(api: Any) -> None:
    user = api.user()
    [known] = await api.remember(user, "Likes tea")
    messages = [said("Likes tea"), said("Likes rain"), said("", "assistant")]
    answer = await api.memory.Add(add(user, *messages, infer=False, dry_run=True, metadata={"a": 1}))
    assert (changes(answer), reasons(answer)) == (["UPDATE", "ADD"], ["STORED", "STORED", "EMPTY"])
    assert [result.memory_id for result in answer.results] == [known.id, ""]
    assert [result.memory.text for result in answer.results] == ["Likes tea", "Likes rain"]
    assert dict(answer.results[0].memory.metadata) == {"a": 1}
    assert (answer.add_id, answer.consistency_token) == ("", "")
    assert answer.index_state == memory_pb2.INDEX_STATE_UNSPECIFIED
    assert (await api.listed(user), len(await api.events(user))) == ([known], 1)


async def test_messages_of_one_run_are_numbered_through_all_adds(api: Any) -> None:
    user, run = api.user(), api.user()
    scope = memory_pb2.Scope(user_id=user, run_id=run)
    for content in ("Likes tea", "Likes rain"):
        messages = [said("Tell me more", "system"), said(content)]
        await api.memory.Add(pb.AddRequest(scope=scope, messages=messages, infer=False))
    assert [memory.sources[0].position for memory in await api.listed(user)] == [1, 3]


async def test_an_agent_alone_is_known_by_what_it_says(api: Any) -> None:
    agent = api.user()
    messages = [said("Teach me."), said("I explain things with examples.", "assistant")]
    answer = await api.memory.Add(pb.AddRequest(scope={"agent_id": agent}, messages=messages))
    assert reasons(answer) == ["ROLE_NOT_REMEMBERED", "STORED"]
    assert [result.memory.agent_id for result in answer.results] == [agent]


async def test_the_words_of_others_are_kept_out_or_theirs(api: Any) -> None:
    user = api.user()
    mail = "I live in York.\n\nOn Mon, Sam <s@x.com> wrote:\n> I'm allergic to gluten. I live in Leeds."
    log = "Alice: I moved to Berlin. I work at SAP.\nBob: I'm still in Paris. I hate my job."
    answer = await api.memory.Add(add(user, said(mail), said(log), said("Translate: I have diabetes.")))
    assert reasons(answer) == ["STORED", "STORED", "GIVEN_TEXT"]
    assert [(result.memory.speaker, result.memory.text) for result in answer.results] == [
        ("user", "Lives in York"),
        ("Alice", "Moved to Berlin"),
        ("Alice", "Works at SAP"),
        ("Bob", "Is still in Paris"),
        ("Bob", "Hates their job"),
    ]
    details = [verdict.detail for verdict in answer.verdicts]
    assert "quoted" in details[0]
    assert details[1] == ""
    assert "given to be processed" in details[2]


async def test_a_repeated_request_tells_again_what_was_kept_out(api: Any) -> None:
    request = add(api.user(), said("> I hate my job"), request_id=api.user())
    answers = [await api.memory.Add(request) for _ in range(2)]
    assert reasons(answers[0]) == ["QUOTED"]
    assert answers[0].verdicts[0].detail
    assert answers[1].verdicts == answers[0].verdicts
