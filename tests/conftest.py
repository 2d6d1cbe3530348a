"""Options of the whole suite."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from tests import weaviate_node

ENGINES = ("embedded", "all")
PROGRAMS = ("grpcurl", "weaviate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        choices=ENGINES,
        default="embedded",
        help="embedded: what pip installs; all: also tests that need programs from elsewhere",
    )


def pytest_configure(config: pytest.Config) -> None:
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
def weaviate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[weaviate_node.Node]:
    """One node for the whole run. Tests that kill a node start their own."""
    with weaviate_node.running(tmp_path_factory.mktemp("weaviate")) as node:
        yield node
