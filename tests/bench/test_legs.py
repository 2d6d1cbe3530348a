"""`recalld bench load` on running engines: its output, and that it cleans up."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import Result
from tests.bench.test_bench import CONVERSATION
from tests.weaviate_node import Node, running
from typer.testing import CliRunner

from recalld import testing
from recalld_server.bench import bench
from recalld_server.bench.engines import SCHEMA
from recalld_server.domain.ranking import DEPTH

RECALLS = ("recall@5", "recall@10", "recall@20")
SMALL = ("load", "--memories=60", "--callers=1,2", "--seconds=0.5", "--import-texts=20", "--json")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(bench, [*SMALL, *arguments])


def measured(*arguments: str) -> dict[str, Any]:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(*arguments: str) -> str:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    return done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One of its own: others have left their projects on the shared one."""
    with running(tmp_path_factory.mktemp("weaviate")) as node:
        yield node


@pytest.mark.needs_weaviate
@pytest.mark.needs_postgres
def test_retrieval_is_measured_beside_the_embedded_engines(node: Node, postgres_url: str, tmp_path: Path) -> None:
    data = tmp_path / "conversations.json"
    data.write_text(json.dumps([CONVERSATION]))
    given = ["retrieval", "--data", str(data), "--index", node.url, "--ledger", postgres_url]
    done = CliRunner().invoke(bench, [*given, "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["overlap@10"] == 1.0
    assert [report[name] for name in RECALLS] == [report["embedded"][name] for name in RECALLS]
    done = CliRunner().invoke(bench, given)
    assert "mean overlap of the first ten hits: 1.0000" in done.stdout


@pytest.mark.needs_weaviate
def test_searches_are_measured_beside_the_legs_and_nothing_stays(node: Node) -> None:
    for _ in range(2):  # the second time would be refused if something had stayed
        report = measured("--index", node.url)
        [size] = report["sizes"]
        assert [one["callers"] for one in size["beside"]] == [1, 2]
        for one in size["beside"]:
            assert one["count"] >= 2
            assert one["limit"] == DEPTH
            assert 0 < one["legs_p50"] <= one["legs_p99"] < 5_000
            assert 0 < one["search_p50"] <= one["search_p99"] < 5_000
            assert one["ratio"] == pytest.approx(one["search_p50"] / one["legs_p50"])
            assert 0.5 < one["ratio"] < 50  # a search has these legs in it
        assert report["import"]["texts"] == 20
        assert report["import"]["ratio"] == pytest.approx(
            report["import"]["import_per_second"] / report["import"]["embedder_per_second"]
        )


@pytest.mark.needs_weaviate
def test_an_index_in_use_is_left_alone(node: Node) -> None:
    with testing.start_local(env={"RECALLD_INDEX": node.url}) as server:
        client = server.client()
        client.add("Keeps bees", user_id="ann", infer=False)
        assert "project `default`" in refused("--index", node.url)
        assert [hit["memory"] for hit in client.search("bees", user_id="ann")] == ["Keeps bees"]


@pytest.mark.needs_weaviate
def test_an_index_that_is_not_there_is_told_in_one_line() -> None:
    with socket.socket() as http, socket.socket() as grpc:
        for taken in (http, grpc):
            taken.bind(("127.0.0.1", 0))  # and does not listen
        port, other = http.getsockname()[1], grpc.getsockname()[1]
        assert "cannot reach Weaviate" in refused("--index", f"weaviate://127.0.0.1:{port}?grpc_port={other}")
        assert "--index must be" in refused("--index", f"weaviate://127.0.0.1:{port}?grpc_port={port}")
    assert "--index must be" in refused("--index", "http://127.0.0.1:1")


@pytest.mark.needs_postgres
def test_a_database_is_as_it_was_afterwards(postgres_url: str) -> None:
    def state() -> list[Any]:
        with psycopg.connect(postgres_url) as connection:
            schemas = connection.execute("SELECT nspname FROM pg_namespace ORDER BY 1").fetchall()
            return [schemas, connection.execute("SELECT project, head FROM projects ORDER BY 1").fetchall()]

    before = state()
    [size] = measured("--ledger", postgres_url)["sizes"]
    assert size["beside"] == []
    assert {call["call"] for call in size["calls"]} == {"get", "search", "stream", "add"}
    assert state() == before
    assert not any(SCHEMA in name for [name] in before[0])


@pytest.mark.needs_postgres
def test_a_ledger_that_is_not_there_is_told_without_its_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        told = refused("--ledger", f"postgresql://me:hunter2@127.0.0.1:{taken.getsockname()[1]}/none")
    assert "cannot use the database of --ledger" in told
    assert "hunter2" not in told
    assert "--ledger must be" in refused("--ledger", "mysql://me:hunter2@127.0.0.1/none")
