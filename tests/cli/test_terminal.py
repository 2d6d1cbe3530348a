"""No command prints a control character of a memory, to a terminal or a pipe."""

from __future__ import annotations

import ast
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recalld import testing
from recalld_server.cli import terminal

CLI = Path(terminal.__file__).parent
CLIPBOARD = "\x1b]52;c;aGk=\x07"
EVIL = f"Likes tea {CLIPBOARD}\x9b31m\rgone\x08\x7f \u202egnp.exe\u2028second"
ALLOWED = {"\n", "\t"}


def unsafe(text: str) -> set[str]:
    return {char for char in text if (terminal.CONTROLS.match(char) or char == "\r") and char not in ALLOWED}


def bars_left_out(text: str) -> str:
    """Progress bars end with a plain line; what they draw on something that is no terminal has no escapes."""
    return text.replace("\r\n", "\n")


@pytest.fixture
def user(server: testing.LocalServer) -> str:
    """A user with a memory whose text, metadata and category are hostile."""
    name = f"user-{uuid.uuid4()}"
    with server.client() as client:
        client.add(EVIL, user_id=name, infer=False, metadata={"note": EVIL}, categories=[EVIL])
    return name


def test_every_command_writes_controls_out(beside: Callable[..., Any], user: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"text": "x", "user_id": user, "metadata": {"a": 1}, EVIL: 1}))
    for command in (
        ("search", "tea", "--user", user),
        ("search", "tea", "--user", user, "--json"),
        ("search", "tea", "--filters", json.dumps({EVIL: 1})),
        ("add", EVIL, "--user", user + "2", "--verbatim"),
        ("add", EVIL, "--user", user + "3", "--verbatim", "--json"),
        ("import", bad),
        ("projects", "create", EVIL.replace("\x00", "")),
        ("keys", "revoke", EVIL, "--target", "from the environment"),
    ):
        done = beside(*command)
        assert not unsafe(bars_left_out(done.stdout + done.stderr)), command
    shown = beside("search", "tea", "--user", user)
    assert "\\x1b]52;c;aGk=\\x07" in shown.stdout
    assert len(shown.stdout.splitlines()) == 1, "a memory does not pass for two"


def test_json_stays_json(beside: Callable[..., Any], user: str) -> None:
    [line] = beside("search", "tea", "--user", user, "--json").stdout.splitlines()
    assert json.loads(line)["memory"] == EVIL


def test_ordinary_scripts_stay_readable() -> None:
    for text in ("Füttert 3 Katzen", "東京に住んでいます", "יש לי כלב", "👩‍👩‍👧 🚀", "a\tb"):
        assert terminal.visible(text) == text
        assert terminal.inline(text) == " ".join(text.split())


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.name)
def test_commands_print_in_one_way(path: Path) -> None:
    if path.name == "terminal.py":
        return
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    assert not calls & {"typer.echo", "print", "click.echo", "typer.secho"}
