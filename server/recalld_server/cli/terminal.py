"""What the command line prints: never a control character of somebody's text.

Memories, names and messages come from whoever may write. On a terminal an escape sequence can set its title, fill the
clipboard or hide lines, and a pipe often ends at a terminal too, so the rule holds for all output.
"""

from __future__ import annotations

import json
import re
from typing import Any

import typer

# C0 and C1 controls, delete, line separators, marks that reorder a line, and lone surrogates; not tab and line feed.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def echo(text: object = "", *, err: bool = False) -> None:
    """Prints a line, or lines, with every control character written out."""
    typer.echo(visible(str(text)), err=err)


def echo_json(value: Any) -> None:
    """Prints one line of JSON. Controls that JSON would leave as they are become escapes of JSON."""
    line = json.dumps(value, ensure_ascii=False)
    typer.echo(CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", line))


def visible(text: str) -> str:
    """The text with control characters as \\x1b or \\u202e."""
    return CONTROLS.sub(_written, text)


def inline(text: str) -> str:
    """The text on one line, so that it can't pass for another line of the output."""
    return visible(" ".join(text.split()))


def _written(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
