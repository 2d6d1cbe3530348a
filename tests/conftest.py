"""Options of the whole suite."""

from __future__ import annotations

import os
import shutil

import pytest

ENGINES = ("embedded", "all")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        choices=ENGINES,
        default="embedded",
        help="embedded: what pip installs; all: also tests that need programs from elsewhere",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs_grpcurl: runs the real grpcurl; part of --engines=all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of other engines are not part of a plain run at all, rather than skipped."""
    if config.getoption("--engines") == "all":
        return
    kept = [item for item in items if item.get_closest_marker("needs_grpcurl") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.fixture(scope="session")
def grpcurl() -> str:
    """The program grpcurl: from GRPCURL, or on the PATH."""
    found = os.environ.get("GRPCURL") or shutil.which("grpcurl")
    assert found, "set GRPCURL to the program, or put it on the PATH: go install …/grpcurl/cmd/grpcurl@latest"
    return found
