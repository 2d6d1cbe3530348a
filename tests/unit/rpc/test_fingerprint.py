"""Which requests count as the same."""

from __future__ import annotations

from typing import Any

import pytest

from recalld.v1 import memory_pb2, project_service_pb2, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.rpc.parse.fingerprint import DEFAULTS, fingerprint


def add(**fields: Any) -> pb.AddRequest:
    return pb.AddRequest(**{"text": "x", "metadata": {"a": 1, "b": 2}} | fields)


def test_it_is_of_everything_but_the_request_id() -> None:
    same = {fingerprint(add(request_id=id)) for id in ("", "one", "two")}
    assert same == {fingerprint(add(metadata={"b": 2, "a": 1}))}
    others = [
        add(text="y"),
        add(infer=False),
        add(metadata={"a": "1", "b": 2}),
        add(metadata={"a": 1}),
        add(scope={"user_id": "u"}),
        add(expire_time={}),  # 1970
        add(categories=["a", "b"]),
        add(categories=["a, b"]),
        add(includes="x"),
        add(excludes="x"),
    ]
    assert len({fingerprint(other) for other in others} | same) == len(others) + 1
    nameless = pb.BatchUpdateMemoriesRequest(updates=[{"memory": {"id": "x", "text": "request_id"}}])
    assert len(fingerprint(nameless)) == 64


def settings(**fields: Any) -> project_service_pb2.CreateProjectRequest:
    return project_service_pb2.CreateProjectRequest(project={"project_id": "p"}, settings=fields)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (add(), add(infer=True)),
        (add(), add(scope={})),
        (add(), add(text="", messages=[{"role": "user", "content": "x"}])),
        (pb.AddRequest(text="x"), pb.AddRequest(text="x", metadata={})),
        (pb.ListMemoriesRequest(), pb.ListMemoriesRequest(order_by="create_time desc")),
        (
            search_service_pb2.SearchRequest(query="x"),
            search_service_pb2.SearchRequest(
                query="x", limit=10, threshold=0, mode=search_service_pb2.SEARCH_MODE_HYBRID
            ),
        ),
        (pb.UpdateMemoryRequest(memory={"id": "x"}), pb.UpdateMemoryRequest(memory={"id": "x"}, update_mask={})),
        (settings(extractor=1), settings(extractor=1, language="english")),
    ],
)
def test_a_default_that_is_given_says_no_more_than_one_that_is_not(one: Any, other: Any) -> None:
    assert fingerprint(one) == fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pb.UpdateMemoryRequest(memory={"id": "x"}), pb.UpdateMemoryRequest(memory={"id": "x", "metadata": {}})),
        (pb.UpdateMemoryRequest(memory={"id": "x"}), pb.UpdateMemoryRequest(memory={"id": "x", "expire_time": {}})),
        (pb.RestoreMemoryRequest(memory_id="x"), pb.RestoreMemoryRequest(memory_id="x", revision=0)),
        (pb.DeleteMemoriesRequest(), pb.DeleteMemoriesRequest(expected_count=0)),
        (pb.ListMemoriesRequest(), pb.ListMemoriesRequest(as_of={"sequence": 0})),
        (add(timestamp={}), add()),
        (
            add(text="", messages=[{"role": "user", "content": "x", "time": {}}]),
            add(text="", messages=[{"role": "user", "content": "x"}]),
        ),
    ],
)
def test_a_zero_that_is_given_is_not_one_that_is_left_out(one: Any, other: Any) -> None:
    assert fingerprint(one) != fingerprint(other)


def test_fields_can_be_left_out_by_name() -> None:
    request = pb.ListMemoriesRequest(page_size=5, skip=2)
    assert fingerprint(request, ["page_size"]) == fingerprint(pb.ListMemoriesRequest(skip=2))


def test_every_default_is_of_a_field_there_is() -> None:
    files = [pb.DESCRIPTOR, memory_pb2.DESCRIPTOR, search_service_pb2.DESCRIPTOR, project_service_pb2.DESCRIPTOR]
    known = {kind.full_name: kind for file in files for kind in file.message_types_by_name.values()}
    for name, defaults in DEFAULTS.items():
        assert defaults
        assert set(defaults) <= set(known[name].fields_by_name)
