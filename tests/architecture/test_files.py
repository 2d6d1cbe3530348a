"""Rules for source files: their length, their names, and patterns that hide faults."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("server", "clients", "tests", "proto", "deploy", "docs")
# Protos are left out: a service is one file by the API's conventions, and most of it is its documentation.
LANGUAGES = {".py", ".ts", ".js", ".go", ".java", ".html", ".css", ".sh"}
GENERATED = ("clients/python/recalld/v1/", "node_modules/", "third_party/", "/target/", "/dist/", "/gen/")
VAGUE = re.compile(r"utils?|helpers?|common|managers?|misc", re.IGNORECASE)
LONGEST = 400
HEAD = 10  # lines in which a longer file must say "long because …"


def handwritten() -> Iterator[Path]:
    for tree in TREES:
        for path in sorted((ROOT / tree).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix in LANGUAGES and path.is_file() and not any(part in name for part in GENERATED):
                yield path


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


FILES = list(handwritten())
SOURCES = [path for path in FILES if path.suffix == ".py"]


def test_there_is_something_to_look_at() -> None:
    found = {named(path) for path in SOURCES}
    assert {"server/recalld_server/domain/memory.py", "tests/architecture/test_files.py"} <= found
    assert not any("recalld/v1/" in name for name in found)


def too_long(text: str) -> bool:
    lines = text.splitlines()
    return len(lines) > LONGEST and "long because" not in " ".join(lines[:HEAD]).lower()


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_is_short_or_says_why_not(path: Path) -> None:
    assert not too_long(path.read_text())


def test_a_long_file_is_noticed() -> None:
    assert too_long("x\n" * (LONGEST + 1))
    assert not too_long("x\n" * LONGEST)
    assert not too_long('"""A table.\n\nLong because it is one."""\n' + "x\n" * LONGEST)


def test_files_and_folders_are_named_for_what_they_are() -> None:
    parts = {part.partition(".")[0] for path in FILES for part in path.relative_to(ROOT).parts}
    assert {part for part in parts if VAGUE.fullmatch(part)} == set()


def lacks_annotations(tree: ast.Module) -> bool:
    code = [node for node in tree.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return bool(code) and "from __future__ import annotations" not in map(ast.unparse, code)


def swallowed(tree: ast.AST) -> Iterator[int]:
    """Lines where any error at all disappears without a trace."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "BaseException"
            idle = all(isinstance(step, ast.Pass | ast.Continue | ast.Break | ast.Expr) for step in node.body)
            silent = idle and not any(isinstance(inner, ast.Call) for step in node.body for inner in ast.walk(step))
            if silent and re.search(r"\b(Base)?Exception\b", caught):
                yield node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            everything = any(ast.unparse(argument) in ("Exception", "BaseException") for argument in node.args)
            yield from [node.lineno] if everything else []


def skipping(tree: ast.AST) -> Iterator[int]:
    """Lines that keep a test from running or from counting."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in (
            *("pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"),
            *("pytest.skip", "pytest.xfail", "pytest.importorskip"),
        ):
            yield node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_source_keeps_the_house_rules(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not lacks_annotations(tree), "needs from __future__ import annotations"
    assert list(swallowed(tree)) == [], "an error disappears"
    assert list(skipping(tree)) == [], "a test is skipped"


def test_what_breaks_the_rules_is_noticed() -> None:
    assert lacks_annotations(ast.parse('"""Text."""\nx = 1\n'))
    assert not lacks_annotations(ast.parse('"""Text."""\n'))
    assert not lacks_annotations(ast.parse('"""Text."""\nfrom __future__ import annotations\nx = 1\n'))
    for caught in ("", " Exception", " BaseException as error", " (ValueError, Exception)"):
        for body in ("pass", "continue", "..."):
            source = f"for x in y:\n    try:\n        f()\n    except{caught}:\n        {body}\n"
            assert list(swallowed(ast.parse(source))) == [4], source
    assert list(swallowed(ast.parse("with contextlib.suppress(Exception):\n    f()\n"))) == [1]
    for body in ("log.warning('it')", "raise", "return None"):
        source = f"def g():\n    try:\n        f()\n    except Exception:\n        {body}\n"
        assert list(swallowed(ast.parse(source))) == [], source
    assert list(swallowed(ast.parse("try:\n    f()\nexcept OSError:\n    pass\n"))) == []
    assert list(skipping(ast.parse("@pytest.mark.skip\ndef test(): ...\n"))) == [1]
