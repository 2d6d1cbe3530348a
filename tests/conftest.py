"""Options of the whole test suite."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests import profiles, weaviate_node

if TYPE_CHECKING:
    from tests.postgres import PostgresServer

ENGINES = ("embedded", "all")
PROGRAMS = ("grpcurl", "postgres", "weaviate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        choices=ENGINES,
        default="embedded",
        help="embedded: what pip installs; all: also tests that need programs from elsewhere",
    )
    parser.addoption("--profile", choices=profiles.PROFILES, default="ci", help="how thorough the run is")


def pytest_configure(config: pytest.Config) -> None:
    profiles.choose(config.getoption("--profile"))
    for name in PROGRAMS:
        config.addinivalue_line("markers", f"needs_{name}: runs the real {name}; part of --engines=all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of other engines are not part of a plain run at all, rather than skipped."""
    if config.getoption("--engines") == "all":
        return
    kept = [item for item in items if not any(item.get_closest_marker(f"needs_{name}") for name in PROGRAMS)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture(scope="session")
def grpcurl() -> str:
    """The program grpcurl: from GRPCURL, or on the PATH."""
    found = os.environ.get("GRPCURL") or shutil.which("grpcurl")
    assert found, "set GRPCURL to the program, or put it on the PATH: go install …/grpcurl/cmd/grpcurl@latest"
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One PostgreSQL for all tests, with the database `ledger` as a template. It does not wait for the disk."""
    from tests.postgres import QUICK, PostgresServer

    from recalld_server.adapters.ledger.store import open_postgres

    async def migrate() -> None:
        await (await open_postgres(server.url("ledger"))).close()

    server = PostgresServer(**QUICK)
    try:
        server.start()
        server.run("CREATE DATABASE ledger")
        asyncio.run(migrate())
        # Every ledger makes an identity of its own.
        server.run("DELETE FROM ledger", "ledger")
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty ledger in a database of its own."""
    with postgres.database("ledger") as url:
        yield url


@pytest.fixture(scope="session")
def weaviate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[weaviate_node.Node]:
    """One node for the whole run. Tests that kill a node start their own."""
    with weaviate_node.running(tmp_path_factory.mktemp("weaviate")) as node:
        yield node
