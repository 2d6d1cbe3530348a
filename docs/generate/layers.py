"""The table of docs/architecture.md: which room may import which, from tests/architecture/test_layers.py.

What is in a room is the first paragraph of the docstring of its package.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from comments import cell

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "server" / "recalld_server"
SOURCE = ROOT / "tests" / "architecture" / "test_layers.py"
OF_THEIR_OWN = "each its own driver"


def generate() -> str:
    """Rooms, what they are, and what they may import."""
    table = _literal("TABLE")
    rows = ["| room | what is in it | imports of ours | imports of others |", "|---|---|---|---|"]
    for room, (ours, others) in table.items():
        path = f"`{room}.py`" if (SERVER / f"{room}.py").is_file() else f"`{room}/`"
        foreign = [*map(_code, others), *([OF_THEIR_OWN] if room == "adapters" else [])]
        rows.append(f"| {path} | {_text(room)} | {', '.join(map(_code, ours)) or '–'} | {', '.join(foreign) or '–'} |")
    return "\n".join(rows)


def _text(room: str) -> str:
    path = SERVER / f"{room}.py"
    source = path if path.is_file() else SERVER / room / "__init__.py"
    text = ast.get_docstring(ast.parse(source.read_text()))
    if not text:
        raise ValueError(f"{source} has no docstring that says what is in the room")
    return cell(text.partition("\n\n")[0])


def _code(name: str) -> str:
    return f"`{name}`"


def _literal(name: str) -> Any:
    """The value of a constant of the test."""
    for node in ast.parse(SOURCE.read_text()).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value) if found == name:
                return ast.literal_eval(value)
    raise ValueError(f"{SOURCE} has no {name}")
