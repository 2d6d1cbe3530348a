"""The pages of the documentation, and what stands in them to be run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Pages for readers; the changelog and the contributor's page have no fenced blocks.
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINKING = [*PAGES, ROOT / "SECURITY.md", ROOT / "CONTRIBUTING.md", ROOT / "deploy" / "README.md"]
RUN = ("sh", "python")
SHOWN = ("", "text", "json", "proto", "toml", "mermaid")  # only to be read
# The first words of a line that is not run, and why. Whatever it says to recalld is checked by its --help instead.
NOT_RUN = {
    "pip install": "tests/packaging installs the wheel, and .ci/run the checkout, in a fresh environment",
    "recalld bench": "takes minutes or needs data that is not part of the project; tests/bench runs it in small",
    "docker ": "needs a container engine; files and services are compared with the compose files",
}
# Words that stand for what a reader has, in lines that need an engine from elsewhere.
NEEDS = {"grpcurl ": "grpcurl", "postgresql://": "postgres", "weaviate://": "weaviate"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: page, number on it (from 1), language and text."""

    page: Path
    number: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{named(self.page)}, block {self.number}"

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block; continued ones are joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in map(str.strip, lines) if line and not line.startswith("#")]

    @property
    def script(self) -> str:
        """The commands that are run here."""
        return "\n".join(filter(run_here, self.commands))

    @property
    def needs(self) -> list[str]:
        """Programs from elsewhere that the script needs."""
        return [program for words, program in NEEDS.items() if words in self.script]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert text.count("```") == 2 * len(found), f"a fence of {named(page)} is not closed"
    return [Block(page, number, language, inside) for number, (language, inside) in enumerate(found, 1)]


def run_here(line: str) -> bool:
    return not line.startswith(tuple(NOT_RUN))


def said_to_recalld(page: Path) -> Iterator[list[str]]:
    """The arguments of recalld in lines that are not run and in the running text; not those that leave words out."""
    text = page.read_text()
    inline = re.findall(r"(?<!`)`(recalld [^`]+)`(?!`)", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    shown = [line for block in blocks(page) for line in block.commands if not run_here(line)]
    for line in (*inline, *shown):
        for command in re.findall(r"\brecalld (?!ready\b).+", line):
            words = shlex.split(command)[1:]
            if words and not {"|", "…"} & set(command) and words[0].isalpha():
                yield words
