"""A fake server with scripted answers that records its requests, and a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from grpc_status import rpc_status

from recalld import MemoryClient, testing
from recalld.v1 import (
    entity_service_pb2,
    entity_service_pb2_grpc,
    memory_service_pb2,
    memory_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)


@dataclass(frozen=True)
class Asked:
    """One call as the server saw it."""

    rpc: str
    request: Any
    metadata: dict[str, str]
    seconds_left: float | None


@dataclass
class Fake:
    """`answers[rpc]` holds what the next calls get: a message, a list of messages, a Status or a function."""

    target: str = ""
    answers: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def handle(self, rpc: str, request: Any, context: grpc.ServicerContext) -> Any:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        self.asked.append(Asked(rpc, request, metadata, context.time_remaining()))
        context.add_callback(lambda: None if context.code() else self.cancelled.set())
        answer = self.answers[rpc].pop(0)
        if isinstance(answer, status_pb2.Status):
            context.abort_with_status(rpc_status.to_status(answer))
        return answer(request, context) if callable(answer) else answer


def _servicer(base: type, service: Any, fake: Fake) -> Any:
    def method(name: str) -> Callable[..., Any]:
        return lambda _self, request, context: fake.handle(name, request, context)

    return type(f"Fake{service.name}", (base,), {each.name: method(each.name) for each in service.methods})()


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A fake server on a free port."""
    told = Fake()
    server = grpc.server(ThreadPoolExecutor(8))
    for register, base, service in (
        (
            memory_service_pb2_grpc.add_MemoryServiceServicer_to_server,
            memory_service_pb2_grpc.MemoryServiceServicer,
            memory_service_pb2.DESCRIPTOR.services_by_name["MemoryService"],
        ),
        (
            search_service_pb2_grpc.add_SearchServiceServicer_to_server,
            search_service_pb2_grpc.SearchServiceServicer,
            search_service_pb2.DESCRIPTOR.services_by_name["SearchService"],
        ),
        (
            entity_service_pb2_grpc.add_EntityServiceServicer_to_server,
            entity_service_pb2_grpc.EntityServiceServicer,
            entity_service_pb2.DESCRIPTOR.services_by_name["EntityService"],
        ),
    ):
        register(_servicer(base, service, told), server)
    told.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield told
    server.stop(None).wait()


@pytest.fixture(scope="module")
def server() -> Iterator[testing.LocalServer]:
    """A real server, one for each file of tests."""
    with testing.start_local() as running:
        yield running


@pytest.fixture
def client(server: testing.LocalServer) -> Iterator[MemoryClient]:
    """A client of a server without memories."""
    with MemoryClient(server.target) as fresh:
        fresh.reset()
        yield fresh
