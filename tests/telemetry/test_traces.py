"""The traces of an add and a search, as received by a real OTLP receiver."""

from __future__ import annotations

from typing import Any

import grpc

from recalld import testing
from recalld.v1 import memory_service_pb2, memory_service_pb2_grpc, search_service_pb2, search_service_pb2_grpc
from recalld_server.telemetry import metric_names

MARKER = "xylophonequartz"
SERVER = 2  # SpanKind in OTLP
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_spans_form_the_tree_of_the_request_path_and_hold_no_text(received: Any) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.target, "OTEL_SERVICE_NAME": "kitchen"}
    caller = [("traceparent", f"00-{TRACE}-{PARENT}-01"), ("x-correlation-id", "call-17")]
    with testing.start_local(env=env) as server:
        with grpc.insecure_channel(server.target) as channel:
            scope = {"user_id": "alex"}
            add = memory_service_pb2.AddRequest(scope=scope, text=f"I play the {MARKER}", infer=False, request_id="1")
            memory_service_pb2_grpc.MemoryServiceStub(channel).Add(add, metadata=caller)
            search = search_service_pb2.SearchRequest(scope=scope, query=f"Who plays the {MARKER}?")
            found = search_service_pb2_grpc.SearchServiceStub(channel).Search(search, metadata=caller)
        assert [MARKER in hit.memory.text for hit in found.hits] == [True]
        server.stop()  # sends what is left
        log = server.log

    ours = [span for span in received.spans() if span.trace_id.hex() == TRACE]
    by_id = {span.span_id: span for span in ours}
    add_span = next(span for span in ours if span.name == "recalld.v1.MemoryService/Add")
    search_span = next(span for span in ours if span.name == "recalld.v1.SearchService/Search")
    assert {add_span.parent_span_id.hex(), search_span.parent_span_id.hex()} == {PARENT}
    assert attributes(add_span) == {
        metric_names.SYSTEM: "grpc",
        metric_names.METHOD: "recalld.v1.MemoryService/Add",
        metric_names.STATUS: "OK",
        metric_names.CORRELATION: "call-17",
    }
    paths = {path(span, by_id) for span in ours}
    assert {
        "recalld.v1.MemoryService/Add > ledger > ledger.outcome",
        "recalld.v1.MemoryService/Add > embed > embeddings minilm-l6-v2-int8",
        "recalld.v1.MemoryService/Add > commit > ledger.commit",
        "recalld.v1.MemoryService/Add > apply > index.apply",
        "recalld.v1.MemoryService/Add > ledger > ledger.settle",
        "recalld.v1.SearchService/Search > ledger > ledger.search_state",
        "recalld.v1.SearchService/Search > embed > embeddings minilm-l6-v2-int8",
        "recalld.v1.SearchService/Search > index > index.nominate",
        "recalld.v1.SearchService/Search > ledger.pool",
        "recalld.v1.SearchService/Search > ledger > ledger.chosen",
        "recalld.v1.SearchService/Search > ledger > ledger.chosen > rank",
    } <= paths
    assert all(by_id.get(span.parent_span_id) or span.parent_span_id.hex() == PARENT for span in ours)
    roots = [span for span in received.spans() if not span.parent_span_id]
    assert [span.name for span in roots if span.kind != SERVER] == [], "what goes on without a call is no trace"
    resources = {a.value.string_value for t in received.traces for r in t.resource_spans for a in r.resource.attributes}
    assert "kitchen" in resources
    instances = {
        a.value.string_value
        for m in received.metrics
        for r in m.resource_metrics
        for a in r.resource.attributes
        if a.key == "service.instance.id"
    }
    assert len(instances) == 1
    assert "" not in instances

    sent = {
        metric.name
        for request in received.metrics
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert sent == {metric.name for metric in metric_names.METRICS}
    calls = [line for line in log.splitlines() if "call-17" in line]
    assert len(calls) == 2
    assert all(TRACE in line for line in calls)
    assert MARKER not in received.everything() + log


def attributes(span: Any) -> dict[str, str]:
    return {attribute.key: attribute.value.string_value for attribute in span.attributes}


def path(span: Any, by_id: dict[bytes, Any]) -> str:
    parent = by_id.get(span.parent_span_id)
    return f"{path(parent, by_id)} > {span.name}" if parent else str(span.name)
