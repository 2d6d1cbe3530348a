"""The comments of the proto sources. Generated Python code has descriptors, but no comments."""

from __future__ import annotations

import re
from pathlib import Path

PROTOS = Path(__file__).resolve().parents[2] / "proto" / "recalld" / "v1"
_BLOCK = re.compile(r"(service|message|enum|oneof) (\w+) \{")
_RPC = re.compile(r"rpc (\w+)\(")
_FIELD = re.compile(r"(?:optional |repeated )?[\w.<>, ]+ (\w+) = \d+")
_VALUE = re.compile(r"(\w+) = \d+")


def comments() -> dict[str, list[str]]:
    """The lines of the comment before each element, by full name without the package, such as `Filter.all_of`.

    Raises ValueError for an element without a comment.
    """
    found: dict[str, list[str]] = {}
    for path in sorted(PROTOS.glob("*.proto")):
        found.update(_of_file(path.read_text()))
    return found


def _of_file(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    blocks: list[tuple[str, str]] = []  # kind and name of the blocks around a line
    waiting: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if line.startswith("//"):
            waiting.append(line.removeprefix("//").removeprefix(" "))
            continue
        kind, name = _element(line, blocks[-1][0] if blocks else "")
        if name:
            # A oneof is no part of its fields' names.
            outer = [block for each, block in blocks if each in ("service", "message", "enum")]
            full = ".".join((*outer, name))
            if not waiting:
                raise ValueError(f"{full} has no comment")
            found[full] = waiting
        if line.endswith("{"):
            blocks.append((kind or "options", name))
        elif line.startswith("}"):
            blocks.pop()
        waiting = []
    return found


def _element(line: str, around: str) -> tuple[str, str]:
    """Kind and name of the element that a line begins; two empty strings when it begins none."""
    if block := _BLOCK.match(line):
        return block[1], block[2]
    if rpc := _RPC.match(line):
        return "rpc", rpc[1]
    if around == "enum" and (value := _VALUE.match(line)):
        return "value", value[1]
    if around in ("message", "oneof") and (named := _FIELD.match(line)):
        return "field", named[1]
    return "", ""


def paragraphs(lines: list[str]) -> list[str]:
    """The paragraphs of a comment, each on one line; tables and indented examples keep their lines."""
    found: list[str] = []
    for block in "\n".join(lines).split("\n\n"):
        kept = block.lstrip().startswith("|") or block.startswith("    ")
        found.append(block if kept else " ".join(block.split()))
    return [each for each in found if each]


def cell(text: str) -> str:
    """A text as the cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
