"""Writers, readers and watchers of several servers, and the answers that they got.

Every writer repeats a call with its request id, on one server after the other, until it gets an answer.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import memory_service_pb2_grpc, search_service_pb2, search_service_pb2_grpc

USERS = 8
PATIENCE = 60.0  # seconds for a call to be answered by some server, and for what was lost to be mended
VECTOR = search_service_pb2.SEARCH_MODE_VECTOR
QUESTIONS = ("Who owns a hat?", "Which hats are there?", "Whose hat is number 7?")


@dataclass(frozen=True, slots=True)
class Stubs:
    """One server, as its callers see it."""

    memory: Any
    search: Any


@dataclass
class Load:
    """Writers and readers over all servers, and what they were told. `texts` and `gone` are what was acknowledged."""

    servers: Sequence[Stubs]
    random: random.Random
    texts: dict[str, str] = field(default_factory=dict)  # by id
    users: dict[str, str] = field(default_factory=dict)
    doomed: set[str] = field(default_factory=set)  # about to be deleted, or deleted
    gone: set[str] = field(default_factory=set)
    refusals: set[grpc.StatusCode] = field(default_factory=set)
    searches: int = 0
    stopping: bool = False

    @property
    def live(self) -> set[str]:
        """Ids of what must be there."""
        return self.texts.keys() - self.gone

    async def answered(self, at: int, call: Callable[[Stubs], Awaitable[Any]]) -> Any:
        """The answer of server number `at`, or of the next one that has one."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return await call(self.servers[at % len(self.servers)])
            except grpc.RpcError as error:
                self.refusals.add(error.code())
                if time.monotonic() > until:
                    raise
            at += 1
            await asyncio.sleep(0.1)

    async def write(self, writer: int) -> None:
        """Adds memories one by one; changes some and deletes some."""
        user = f"user{writer % USERS}"
        for number in itertools.count():
            if self.stopping:
                return
            at, named = self.random.randrange(3), f"{writer}-{number}"
            text = f"Writer {writer} owns hat number {number}"
            added = pb.AddRequest(scope={"user_id": user}, text=text, infer=False, request_id=f"add-{named}")
            answer = await self.answered(at, lambda stubs: stubs.memory.Add(added, timeout=10))  # noqa: B023
            (result,) = answer.results
            self.users[result.memory_id] = user
            if self.random.random() < 0.2:
                text += " and sold it"
                changed = pb.UpdateMemoryRequest(
                    memory={"id": result.memory_id, "text": text},
                    update_mask={"paths": ["text"]},
                    request_id=f"update-{named}",
                )
                await self.answered(at + 1, lambda stubs: stubs.memory.UpdateMemory(changed, timeout=10))  # noqa: B023
            self.texts[result.memory_id] = text
            if self.random.random() < 0.3:
                self.doomed.add(result.memory_id)
                deleted = pb.DeleteMemoryRequest(memory_id=result.memory_id, request_id=f"delete-{named}")
                await self.answered(at + 2, lambda stubs: stubs.memory.DeleteMemory(deleted, timeout=10))  # noqa: B023
                self.gone.add(result.memory_id)

    async def read(self, reader: int) -> None:
        """Searches and lists: nothing that was deleted before comes, and a list has all that was there before."""
        user = f"user{reader % USERS}"
        while not self.stopping:
            stubs = self.servers[self.random.randrange(3)]
            gone, there = set(self.gone), {id for id in self.live if self.users[id] == user}
            try:
                found = await searched(stubs, user, self.random.choice(QUESTIONS))
                self.searches += 1
                assert not found & gone
                listed = await texts(stubs, user)
                assert not listed.keys() & gone
                assert there - self.doomed <= listed.keys()
            except grpc.RpcError as error:
                self.refusals.add(error.code())
                await asyncio.sleep(0.1)

    async def more(self, count: int) -> None:
        """Until so many more adds were acknowledged."""
        wanted = len(self.texts) + count
        until = time.monotonic() + PATIENCE
        while len(self.texts) < wanted:
            assert time.monotonic() < until, f"{len(self.texts)} of {wanted}"
            await asyncio.sleep(0.02)


@dataclass
class Follower:
    """Watches the whole project from the beginning, at one server after the other; events by sequence number."""

    servers: Sequence[Stubs]
    at: int
    events: dict[int, Any] = field(default_factory=dict)
    broken: int = 0

    async def run(self) -> None:
        token = ""
        for number in itertools.count(self.at):
            start = {"resume_token": token} if token else {"beginning": True}
            last = 0
            try:
                async for sight in self.servers[number % 3].memory.Watch(pb.WatchRequest(**start)):
                    token = sight.resume_token
                    if sight.HasField("event"):
                        assert sight.event.sequence > last
                        last = sight.event.sequence
                        self.events[last] = sight.event
            except grpc.RpcError:
                self.broken += 1
            await asyncio.sleep(0.1)


async def searched(stubs: Stubs, user: str, query: str, **fields: Any) -> set[str]:
    request = search_service_pb2.SearchRequest(query=query, scope={"user_id": user}, limit=10_000, **fields)
    answers = stubs.search.StreamSearch(request, timeout=10)
    return {answer.hit.memory.id async for answer in answers if answer.HasField("hit")}


async def texts(stubs: Stubs, user: str) -> dict[str, str]:
    """A user's memories, text by id."""
    found: dict[str, str] = {}
    token = ""
    while True:
        asked = pb.ListMemoriesRequest(scope={"user_id": user}, page_size=1000, page_token=token)
        page = await stubs.memory.ListMemories(asked, timeout=10)
        for memory in page.memories:
            assert memory.id not in found
            found[memory.id] = memory.text
        if not (token := page.next_page_token):
            return found


async def found_in_the_end(stubs: Stubs, wanted: dict[str, set[str]]) -> None:
    """Every user's memories are found by their vectors, sooner or later, and nothing else ever."""
    until = time.monotonic() + PATIENCE
    for user, ids in wanted.items():
        found: set[str] = set()
        while found != ids:
            assert time.monotonic() < until, f"{len(ids - found)} of {len(ids)} are not found"
            try:
                found = await searched(stubs, user, QUESTIONS[0], mode=VECTOR)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.3)
            assert found <= ids


@asynccontextmanager
async def calling(targets: Sequence[str]) -> AsyncIterator[list[Stubs]]:
    """Stubs of servers, on channels that find a server soon after it is back."""
    options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.max_receive_message_length", 2**25)]
    async with AsyncExitStack() as opened:
        made = []
        for target in targets:
            channel = await opened.enter_async_context(grpc.aio.insecure_channel(target, options=options))
            memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
            made.append(Stubs(memory, search_service_pb2_grpc.SearchServiceStub(channel)))
        yield made
