"""Output of the command line. Control characters are always escaped.

Memories, names and messages are untrusted text. On a terminal an escape sequence can set the title, fill the clipboard
or hide lines. A pipe often ends at a terminal too, so all output is escaped.
"""

from __future__ import annotations

import json
import re
from typing import Any

import typer

# C0 and C1 controls, delete, line separators, bidirectional marks and lone surrogates; tab and line feed are allowed.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def echo(text: object = "", *, err: bool = False) -> None:
    """Print text with every control character escaped."""
    typer.echo(visible(str(text)), err=err)


def echo_json(value: Any) -> None:
    """Print one line of JSON. Control characters that json.dumps leaves as they are become JSON escapes."""
    line = json.dumps(value, ensure_ascii=False)
    typer.echo(CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", line))


def visible(text: str) -> str:
    """The text with control characters escaped, such as \\x1b or \\u202e."""
    return CONTROLS.sub(_written, text)


def inline(text: str) -> str:
    """The text on a single line, escaped, so that it cannot imitate other lines of the output."""
    return visible(" ".join(text.split()))


def _written(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
