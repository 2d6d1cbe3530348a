"""The grpcurl commands of the documentation work; only the address is replaced."""

from __future__ import annotations

import json
import shlex
import subprocess
import uuid
from typing import Any

import grpc
import pytest

from recalld import testing

pytestmark = pytest.mark.needs_grpcurl

# As printed in the documentation, but for the address.
LIST = "grpcurl -plaintext localhost:7420 list"
ADD = (
    "grpcurl -plaintext -d "
    """'{"messages":[{"role":"user","content":"I am a vegetarian"}],"scope":{"user_id":"alex"}}' """
    "localhost:7420 recalld.v1.MemoryService/Add"
)
SEARCH = (
    """grpcurl -plaintext -d '{"query":"what may I cook?","scope":{"user_id":"alex"}}' """
    "localhost:7420 recalld.v1.SearchService/StreamSearch"
)
EXIT = 64  # grpcurl ends with this and the gRPC code


class Terminal:
    """Runs lines of the documentation."""

    def __init__(self, program: str, target: str) -> None:
        self._program = program
        self._target = target

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """What a line does when it is typed as it stands."""
        line = line.replace("localhost:7420", self._target.replace("127.0.0.1", "localhost"))
        _, *arguments = shlex.split(line)
        return subprocess.run([self._program, *arguments], capture_output=True, text=True, timeout=30, check=False)

    def call(self, method: str, request: Any, *options: str) -> subprocess.CompletedProcess[str]:
        """One call."""
        given = [self._program, "-plaintext", *options, "-d", json.dumps(request), self._target, f"recalld.v1.{method}"]
        return subprocess.run(given, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def terminal(grpcurl: str, server: testing.LocalServer) -> Terminal:
    """A terminal beside the common server."""
    return Terminal(grpcurl, server.target)


def objects(text: str) -> list[Any]:
    """The JSON objects of an output, one after another."""
    found, at, decoder = [], 0, json.JSONDecoder()
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
        at += len(text[at:]) - len(text[at:].lstrip())
    return found


def test_the_services_are_listed(terminal: Terminal) -> None:
    done = terminal.run(LIST)
    assert (done.returncode, done.stderr) == (0, "")
    services = {"MemoryService", "SearchService", "EntityService", "ExportService", "ProjectService"}
    assert {f"recalld.v1.{name}" for name in services} <= set(done.stdout.split())
    assert "grpc.health.v1.Health" in done.stdout.split()


def test_add_and_search_as_printed(terminal: Terminal) -> None:
    added = terminal.run(ADD)
    assert (added.returncode, added.stderr) == (0, "")
    [answer] = objects(added.stdout)
    assert answer["results"][0]["memory"]["text"] == "Is a vegetarian"
    assert answer["verdicts"][0]["reason"] in ("VERDICT_REASON_STORED", "VERDICT_REASON_REPEATED")
    assert answer["consistencyToken"]
    found = terminal.run(SEARCH)
    assert (found.returncode, found.stderr) == (0, "")
    hit, *_, last = objects(found.stdout)
    assert hit["hit"]["memory"]["text"] == "Is a vegetarian"
    assert hit["resumeToken"]
    assert last["done"]["hitCount"] >= 1


def test_every_rpc_can_be_described(terminal: Terminal) -> None:
    for service in ("MemoryService", "SearchService", "EntityService"):
        done = terminal.run(f"grpcurl -plaintext localhost:7420 describe recalld.v1.{service}")
        assert (done.returncode, done.stderr) == (0, "")
        assert "rpc " in done.stdout


@pytest.mark.parametrize(
    ("method", "request_", "code", "reason", "field"),
    [
        ("MemoryService/Add", {"text": "x"}, "INVALID_ARGUMENT", "SCOPE_MISSING", "scope"),
        ("SearchService/Search", {"query": " "}, "INVALID_ARGUMENT", "QUERY_EMPTY", "query"),
        ("SearchService/StreamSearch", {"query": "x", "limit": 10001}, "INVALID_ARGUMENT", "LIMIT_EXCEEDED", "limit"),
        ("MemoryService/GetMemory", {"memoryId": "no such"}, "NOT_FOUND", "MEMORY_NOT_FOUND", "no such"),
        ("MemoryService/DeleteByInstruction", {}, "UNIMPLEMENTED", "NOT_YET_AVAILABLE", "recalld"),
    ],
)
def test_errors_are_decoded(
    terminal: Terminal, method: str, request_: dict[str, Any], code: str, reason: str, field: str
) -> None:
    done = terminal.call(method, request_)
    number = grpc.StatusCode[code].value[0]
    assert (done.returncode, done.stdout) == (EXIT + number, "")
    assert "google.rpc.ErrorInfo" in done.stderr
    assert f'"reason": "{reason}"' in done.stderr
    assert f'"{field}"' in done.stderr
    if code == "INVALID_ARGUMENT":
        assert "google.rpc.BadRequest" in done.stderr


def test_an_update_with_a_mask_and_a_filter(terminal: Terminal) -> None:
    user = str(uuid.uuid4())
    add = {"text": "Drinks tea", "infer": False, "scope": {"userId": user}, "metadata": {"n": 1}}
    [added] = objects(terminal.call("MemoryService/Add", add).stdout)
    memory = {"id": added["results"][0]["memoryId"], "text": "Drinks coffee"}
    done = terminal.call("MemoryService/UpdateMemory", {"memory": memory, "updateMask": {"paths": ["text"]}})
    assert done.returncode == 0, done.stderr
    comparison = {"field": "metadata.n", "operator": "OPERATOR_EQ", "value": {"int64Value": 1}}
    request = {"query": "coffee", "scope": {"userId": user}, "filter": {"comparison": comparison}}
    [found] = objects(terminal.call("SearchService/Search", request).stdout)
    assert found["hits"][0]["memory"]["text"] == "Drinks coffee"


def test_the_correlation_id_comes_back(terminal: Terminal) -> None:
    done = terminal.call("MemoryService/GetMemory", {"memoryId": "x"}, "-v", "-H", "x-correlation-id: ours-1")
    assert "x-correlation-id: ours-1" in done.stdout + done.stderr
