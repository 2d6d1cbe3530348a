"""No log line, span or metric contains the text of a memory, whatever happens."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from recalld import testing
from recalld.v1 import export_service_pb2 as export
from recalld.v1 import export_service_pb2_grpc, memory_service_pb2_grpc, search_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import search_service_pb2 as search

MARKER = "zymurgyparallax"  # in every text, name, category, metadata and query, and in no id
SCOPE = {"user_id": "alex"}
NAMING = {"comparison": {"field": "metadata.k", "operator": "OPERATOR_EQ", "value": {"string_value": MARKER}}}


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text, "name": MARKER}]


class Caller:
    """Makes calls, each with a correlation id and a trace of its own, and keeps how they ended."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        self.search = search_service_pb2_grpc.SearchServiceStub(channel)
        self.export = export_service_pb2_grpc.ExportServiceStub(channel)
        self.traces: dict[str, str] = {}  # by correlation id
        self.codes: list[str] = []

    def __call__(self, rpc: Any, request: Any) -> Any:
        number = len(self.traces) + 1
        self.traces[f"call-{number:03}"] = trace = f"{number:032x}"
        ids = [("x-correlation-id", f"call-{number:03}"), ("traceparent", f"00-{trace}-{number:016x}-01")]
        try:
            answer = rpc(iter(request) if isinstance(request, list) else request, metadata=ids, timeout=20)
            found = list(answer) if isinstance(answer, Iterator) else answer
        except grpc.RpcError as error:
            self.codes.append(error.code().name)
            return None
        self.codes.append("OK")
        return found


def everything(call: Caller) -> None:
    """What is stored, changed, found, exported and forgotten, and each way to be refused that could quote a text."""
    text, memory = f"I bought a {MARKER} in Porto and I like {MARKER}s", call.memory
    add = pb.AddRequest(scope=SCOPE, messages=said(text), metadata={"k": MARKER}, categories=[MARKER], request_id="a")
    kept = call(memory.Add, add).results[0].memory
    call(memory.Add, pb.AddRequest(scope=SCOPE, messages=said(f"{text} verbatim"), infer=False))
    call(memory.AddAsync, pb.AddRequest(scope=SCOPE, text=f"I sold a {MARKER}"))
    call(memory.UpdateMemory, pb.UpdateMemoryRequest(memory={"id": kept.id, "text": f"Has two {MARKER}s"}))
    call(memory.SetFeedback, pb.SetFeedbackRequest(memory_id=kept.id, feedback="FEEDBACK_POSITIVE", reason=MARKER))
    call(memory.ListMemories, pb.ListMemoriesRequest(scope=SCOPE, filter=NAMING))
    call(call.search.Search, search.SearchRequest(query=f"Who has a {MARKER}?", scope=SCOPE, explain=True))
    call(call.search.StreamSearch, search.SearchRequest(query=f"Who has a {MARKER}?", filter=NAMING))
    call(call.export.CreateExport, export.CreateExportRequest(filter=NAMING, format=export.EXPORT_FORMAT_JSONL))
    item = pb.ImportItem(text={"text": f"Imports a {MARKER}", "scope": SCOPE})
    call(memory.ImportMemories, [item, pb.ImportItem(text={"text": MARKER}), pb.ImportItem()])
    assert set(call.codes) == {"OK"}
    huge = f"{MARKER} " * 5000
    unknown = {"comparison": {**NAMING["comparison"], "field": MARKER}}
    wrong = [
        (memory.Add, pb.AddRequest(scope=SCOPE, messages=said(f"{text}, too"), request_id="a")),
        (memory.Add, pb.AddRequest(messages=said(text))),
        (memory.Add, pb.AddRequest(scope=SCOPE, messages=said(huge), infer=False)),
        (memory.Add, pb.AddRequest(scope=SCOPE, messages=[{"role": MARKER, "content": text}])),
        (memory.Add, pb.AddRequest(scope=SCOPE, messages=said(text), metadata={"k": huge})),
        (memory.Add, pb.AddRequest(scope=SCOPE, messages=said(f"{text}\0"))),
        (memory.UpdateMemory, pb.UpdateMemoryRequest(memory={"id": "nobody", "text": MARKER})),
        (memory.UpdateMemory, pb.UpdateMemoryRequest(memory={"id": kept.id, "text": MARKER, "etag": "old"})),
        (memory.UpdateMemory, pb.UpdateMemoryRequest(memory={"id": kept.id}, update_mask={"paths": [MARKER]})),
        (memory.ListMemories, pb.ListMemoriesRequest(filter=unknown)),
        (memory.ListMemories, pb.ListMemoriesRequest(page_token=MARKER)),
        (memory.DeleteMemories, pb.DeleteMemoriesRequest(filter=NAMING, expected_count=99)),
        (call.search.Search, search.SearchRequest(query=huge)),
        (call.search.Search, search.SearchRequest(query=MARKER, at_least_as_fresh=MARKER)),
        (call.search.StreamSearch, search.SearchRequest(query=MARKER, resume_token=MARKER)),
        (call.export.CreateExport, export.CreateExportRequest(filter=NAMING, json_schema=f'{{"title": "{MARKER}"}}')),
        (memory.DeleteByInstruction, pb.DeleteByInstructionRequest(instruction=MARKER, scope=SCOPE)),
    ]
    before = len(call.codes)
    for rpc, request in wrong:
        call(rpc, request)
    assert "OK" not in call.codes[before:], call.codes[before:]
    assert not {"INTERNAL", "UNKNOWN"} & set(call.codes)
    call(memory.ForgetMemories, pb.ForgetMemoriesRequest(scope=SCOPE, filter=NAMING))


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_nothing_of_a_text_is_told(received: Any, level: str) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.target}
    with testing.start_local(env=env, arguments=[f"--log-level={level}"]) as server:
        with grpc.insecure_channel(server.target) as channel:
            call = Caller(channel)
            everything(call)
        with urllib.request.urlopen(f"{server.http_url}/metrics", timeout=10) as answer:  # noqa: S310 - our own server
            figures = answer.read().decode()
        server.stop()  # sends what is left
        log = server.log
    lines = [json.loads(line) for line in log.splitlines()]
    logged = {line["correlation_id"]: line["trace_id"] for line in lines if "correlation_id" in line}
    assert call.traces.items() <= logged.items()
    assert {span.trace_id.hex() for span in received.spans()} >= set(call.traces.values())
    assert received.metrics
    assert "rpc_server_call_duration" in figures
    for told in (log, received.everything(), figures):
        assert MARKER not in told.lower()
