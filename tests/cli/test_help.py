"""`--help` is fast: it does not import what only a server needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from recalld_server.cli import cli

HEAVY = {"alembic", "grpc", "numpy", "onnxruntime", "openai", "rich", "sqlalchemy", "tokenizers", "uvloop"}
COMMANDS = ("serve", "add", "search", "import", "export", "watch", "keys", "projects", "doctor", "demo", "bench")


@pytest.mark.parametrize("command", [(), ("serve",), ("bench",)])
def test_help_imports_nothing_heavy(recalld: Callable[..., Any], command: tuple[str, ...]) -> None:
    done = recalld(*command, "--help", python=("-X", "importtime"))
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"typer", "recalld_server"} <= imported  # the list is real
    assert imported & HEAVY == set()


def test_help_names_every_command(recalld: Callable[..., Any]) -> None:
    for arguments in (("--help",), ()):
        done = recalld(*arguments)
        assert all(f"  {command} " in done.stdout + done.stderr for command in COMMANDS)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "bench"])  # the entry point adds it
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(cli, [command, "--help"], prog_name="recalld")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: recalld {command}")


def test_serve_names_its_variables(recalld: Callable[..., Any]) -> None:
    shown = recalld("serve", "--help").stdout
    for option in ("data-dir", "grpc-port", "http-port", "host", "ledger", "index"):
        assert f"--{option} " in shown
        assert f"RECALLD_{option.upper().replace('-', '_')}" in shown


@pytest.mark.parametrize("arguments", [("serv",), ("serve", "--grpc-port", "x"), ("add",)])
def test_a_wrong_command_line_is_refused(recalld: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    done = recalld(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert "Usage:" in done.stderr
