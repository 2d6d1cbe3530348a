"""Three servers on one PostgreSQL and three Weaviate nodes: one of each is killed under load and returns."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.faults.fleet_load import PATIENCE, Follower, Load, Stubs, calling, found_in_the_end, texts
from tests.postgres import PostgresServer
from tests.weaviate_node import Node, cluster

from recalld import testing
from recalld.v1 import memory_service_pb2 as pb

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_weaviate]

WRITERS, READERS = 40, 24
STEP = 40  # adds between one blow and the next
ALLOWED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Sequence[Node]]:
    with cluster(tmp_path / "weaviate") as nodes:
        yield nodes


@pytest.fixture
def servers(nodes: Sequence[Node], postgres_url: str, tmp_path: Path) -> Iterator[list[testing.LocalServer]]:
    """Started at once, each beside its own node."""
    made = [
        testing.start_local(tmp_path / f"server{number}", arguments=["--ledger", postgres_url, "--index", place(node)])
        for number, node in enumerate(nodes)
    ]
    with ExitStack() as closing:
        for server in made:
            closing.callback(server.close)
        with ThreadPoolExecutor() as threads:
            list(threads.map(testing.LocalServer.start, made))
        yield made


def place(node: Node) -> str:
    return f"{node.url}&replication=3"


async def blows(load: Load, server: testing.LocalServer, node: Node) -> None:
    """A server is killed, then a node beside another; both come back."""
    await load.more(STEP)
    await asyncio.to_thread(server.kill)
    await load.more(STEP)
    await asyncio.to_thread(node.kill)
    await load.more(STEP)
    await asyncio.to_thread(server.start)
    await asyncio.to_thread(node.start)
    await load.more(STEP)


async def lived(servers: Sequence[testing.LocalServer], node: Node) -> tuple[Load, list[Follower]]:
    """The whole story; what is left is found at every server."""
    async with calling([server.target for server in servers]) as stubs:
        load = Load(stubs, random.Random())
        followers = [Follower(stubs, number) for number in range(len(stubs))]
        async with asyncio.TaskGroup() as following:
            watches = [following.create_task(follower.run()) for follower in followers]
            async with asyncio.TaskGroup() as working:
                for number in range(WRITERS):
                    working.create_task(load.write(number))
                for number in range(READERS):
                    working.create_task(load.read(number))
                await blows(load, servers[0], node)
                load.stopping = True
            wanted = {user: {id for id in load.live if load.users[id] == user} for user in set(load.users.values())}
            for each in stubs:
                await found_in_the_end(each, wanted)
            await compared(stubs, load, followers)
            for watch in watches:
                watch.cancel()
    return load, followers


async def compared(stubs: Sequence[Stubs], load: Load, followers: Sequence[Follower]) -> None:
    """Ledger, lists and watches tell the same story as those who wrote."""
    for each in stubs:
        there: dict[str, str] = {}
        for user in set(load.users.values()):
            there |= await texts(each, user)
        assert there == {id: load.texts[id] for id in load.live}
    assert len(set(load.texts.values())) == len(load.texts)
    events: dict[int, Any] = {}
    token = ""
    while True:
        page = await stubs[0].memory.ListEvents(pb.ListEventsRequest(page_size=1000, page_token=token))
        events |= {event.sequence: event for event in page.events}
        if not (token := page.next_page_token):
            break
    assert list(events) == list(range(1, len(events) + 1))
    until = time.monotonic() + PATIENCE
    for follower in followers:
        while len(follower.events) < len(events):
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
        assert follower.events == events


def test_a_server_and_a_node_die_under_load_and_nothing_is_lost(
    nodes: Sequence[Node],
    servers: list[testing.LocalServer],
    postgres: PostgresServer,
    postgres_url: str,
    recalld: Callable[..., Any],
    tmp_path: Path,
) -> None:
    load, followers = asyncio.run(lived(servers, nodes[2]))
    assert load.refusals
    assert load.refusals <= ALLOWED
    assert sum(follower.broken for follower in followers)
    assert load.searches
    assert load.gone
    database = postgres_url.rpartition("/")[2]
    until = time.monotonic() + PATIENCE
    while postgres.run("SELECT FROM pending", database):
        assert time.monotonic() < until
        time.sleep(0.1)
    for server in servers:
        server.stop()
    done = recalld("doctor", "--ledger", postgres_url, "--index", place(nodes[2]), "--data-dir", tmp_path / "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(load.live)} memories, {len(load.live)} index entries, 0 pending, 0 missing" in done.stdout
