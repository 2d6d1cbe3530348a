"""Excluded text is in no answer and no file."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.weaviate_node import Node

from recalld import testing
from recalld.v1 import memory_pb2, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb

Connect = Callable[[str], AbstractAsyncContextManager[Any]]
SECRET = "078-05-1120"
SERVING = health_pb2.HealthCheckResponse.SERVING
SAID = f"I'm a vegetarian. My SSN is {SECRET}."


async def seen(api: Any, user: str) -> AsyncIterator[str]:
    """What every call that reads tells about a user."""
    scope = {"user_id": user}
    yield str(await api.memory.ListMemories(pb.ListMemoriesRequest(scope=scope)))
    yield str(await api.memory.ListEvents(pb.ListEventsRequest(scope=scope)))
    for query in ("vegetarian tea", f"SSN {SECRET}"):
        yield str(await api.search.Search(search_service_pb2.SearchRequest(query=query, scope=scope)))
    for memory in await api.listed(user):
        yield str(await api.memory.GetMemory(pb.GetMemoryRequest(memory_id=memory.id)))
    for history in (False, True):
        export = await api.exported(scope=scope, with_history=history)
        yield (await api.exported_bytes(export.export_id)).decode()
    watch = api.memory.Watch(pb.WatchRequest(scope=scope, beginning=True))
    try:
        async with asyncio.timeout(10):
            for _ in range(len(await api.events(user)) + 1):
                yield str(await watch.read())
    finally:
        watch.cancel()


async def test_an_excluded_number_is_in_no_answer_and_no_file(api: Any, server: testing.LocalServer) -> None:
    user = api.user()
    request = pb.AddRequest(scope={"user_id": user}, text=SAID, excludes="SSN")
    dry = await api.memory.Add(pb.AddRequest(scope={"user_id": user}, text=SAID, excludes="SSN", dry_run=True))
    answer = await api.memory.Add(request)
    [result] = answer.results
    assert result.memory.text == "Is a vegetarian"
    assert [source.content for source in result.memory.sources] == ["I'm a vegetarian. [excluded]"]
    told = [str(dry), str(answer)] + [told async for told in seen(api, user)]
    assert len(told) > 8
    assert [text for text in told if SECRET in text] == []
    assert all("egetarian" in text for text in told[:3])
    contents = [path.read_bytes() for path in server.data_dir.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in content for content in contents)
    assert any(user.encode() in content for content in contents)


CASES = [
    ("I like tea. Ich habe Diabetes Typ 7.", "Gesundheit", "Typ 7"),
    ("I like tea. Mi número es +34 611 223 344.", "contacto", "611 223"),
    ("I like tea. Je gagne 4321 € par mois.", "argent", "4321"),
    ("I like tea. 我的邮箱是 li.wei@mail.example。", "contact details", "li.wei"),
    ("I like tea. I have been taking xarelto since the clot, on 20 mg.", "medical information", "xarelto"),
]


@pytest.mark.parametrize(("text", "excludes", "secret"), CASES)
async def test_excluded_topics_in_other_languages_and_later_adds(
    api: Any, text: str, excludes: str, secret: str
) -> None:
    user = api.user()
    request = pb.AddRequest(scope={"user_id": user}, text=text, excludes=excludes)
    operation = await api.ended(await api.memory.AddAsync(request))
    answer = pb.AddResponse()
    assert operation.response.Unpack(answer)
    assert [result.memory.text for result in answer.results] == ["Likes tea"]
    assert [source.content for source in answer.results[0].memory.sources] == ["I like tea. [excluded]"]
    told = [str(operation), str(answer)] + [told async for told in seen(api, user)]
    assert [text for text in told if secret in text] == []


async def test_a_whole_conversation_is_looked_through(api: Any) -> None:
    user, run = api.user(), api.user()
    said = [
        ("system", f"The user's social security number is {SECRET}."),
        ("assistant", "What's your SSN?"),
        ("user", f"{SECRET}. I like tea."),
        ("assistant", f"So it's {SECRET}. And do you like jazz?"),
        ("user", "Yes! Forget the number."),
        ("tool", json.dumps({"ssn": SECRET})),
    ]
    messages = [memory_pb2.Message(role=role, content=content) for role, content in said]
    request = pb.AddRequest(scope={"user_id": user, "run_id": run}, messages=messages, excludes="social security")
    answer = await api.memory.Add(request)
    assert [result.memory.text for result in answer.results] == ["Likes tea", "Likes jazz"]
    told = [str(answer)] + [told async for told in seen(api, user)]
    assert [text for text in told if SECRET in text] == []


@pytest.mark.parametrize("infer", [True, False])
async def test_only_what_is_included_is_kept(api: Any, infer: bool) -> None:
    user = api.user()
    said = ["I love sushi.", "I live at 12 Main Street.", "我住在上海。", "Ich mag Käse."]
    messages = [memory_pb2.Message(role="user", content=content) for content in said]
    request = pb.AddRequest(scope={"user_id": user}, messages=messages, includes="food", infer=infer)
    answer = await api.memory.Add(request)
    verdicts = [memory_pb2.VerdictReason.Name(v.reason).removeprefix("VERDICT_REASON_") for v in answer.verdicts]
    assert verdicts == ["STORED", "EXCLUDED", "EXCLUDED", "STORED"]
    told = [str(answer)] + [told async for told in seen(api, user)]
    assert [text for text in told if "Main Street" in text or "上海" in text] == []


async def test_a_verbatim_message_that_names_it_is_not_kept(api: Any) -> None:
    user = api.user()
    said = ["I ski.", SAID, f"Notiz: Sozialversicherungsnummer {SECRET}", "Nothing else."]
    messages = [memory_pb2.Message(role="user", content=content) for content in said]
    request = pb.AddRequest(scope={"user_id": user}, messages=messages, excludes="SSN", infer=False)
    answer = await api.memory.Add(request)
    assert [verdict.reason for verdict in answer.verdicts] == [
        memory_pb2.VERDICT_REASON_STORED,
        memory_pb2.VERDICT_REASON_EXCLUDED,
        memory_pb2.VERDICT_REASON_EXCLUDED,
        memory_pb2.VERDICT_REASON_STORED,
    ]
    assert await api.texts(user) == ["I ski.", "Nothing else."]
    told = [str(answer)] + [told async for told in seen(api, user)]
    assert [text for text in told if SECRET in text] == []


def of_postgres(url: str) -> Iterator[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in found:
            rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608
            yield from (f"{table} {row}" for row in rows)


def of_sqlite(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in found:
            yield from (f"{table} {row}" for row in connection.execute(f'SELECT * FROM "{table}"'))  # noqa: S608


async def searches_served(api: Any) -> None:
    """A server is healthy before it has been through its projects; on a busy Weaviate that takes seconds."""
    request = health_pb2.HealthCheckRequest(service="recalld.v1.SearchService")
    async with asyncio.timeout(30):
        while (await health_pb2_grpc.HealthStub(api.channel).Check(request)).status != SERVING:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def lived(api: Any, user: str) -> list[str]:
    """Adds in every way, at once and later; what the calls tell afterwards."""
    scope, messages = {"user_id": user}, [memory_pb2.Message(role="user", content=SAID)]
    messages += [memory_pb2.Message(role="assistant", content=f"Is {SECRET} right?")]
    told: list[str] = []
    for infer in (True, False):
        request = pb.AddRequest(scope=scope, messages=messages, excludes="personal data", infer=infer)
        later = pb.AddRequest(scope=scope, text=f"I ski. {SAID}", excludes="SSN", infer=infer)
        told += [str(await api.memory.Add(request)), str(await api.ended(await api.memory.AddAsync(later)))]
    return told + [told async for told in seen(api, user)]


async def test_no_row_of_sqlite_holds_it(tmp_path: Path, connect: Connect) -> None:
    with testing.start_local(tmp_path / "data") as server:
        async with connect(server.target) as api:
            told = await lived(api, "ann")
    assert [text for text in told if SECRET in text] == []
    rows = [row for name in ("ledger.db", "index.db") for row in of_sqlite(tmp_path / "data" / name)]
    assert [row for row in rows if SECRET in row] == []
    assert [row for row in rows if "vegetarian" in row]
    # A server that ended has written its log into its files.
    files = [path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in content for content in files)


@pytest.mark.needs_postgres
@pytest.mark.needs_weaviate
async def test_no_row_of_postgres_and_no_file_of_weaviate_holds_it(
    tmp_path: Path, connect: Connect, postgres_url: str, weaviate: Node
) -> None:
    arguments = [f"--ledger={postgres_url}", f"--index={weaviate.url}"]
    with testing.start_local(tmp_path / "data", arguments=arguments) as server:
        async with connect(server.target) as api:
            await searches_served(api)
            told = await lived(api, "ann")
        rows = list(of_postgres(postgres_url))
    assert [text for text in told if SECRET in text] == []
    assert [row for row in rows if SECRET in row] == []
    assert [row for row in rows if "vegetarian" in row]
    folders = (tmp_path / "data", weaviate.folder / "data")
    contents = [[path.read_bytes() for path in folder.rglob("*") if path.is_file()] for folder in folders]
    assert all(contents)
    assert not any(SECRET.encode() in content for found in contents for content in found)
