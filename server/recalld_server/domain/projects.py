"""Projects: their names, how they treat what they are told, and what they hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import snowballstemmer

DEFAULT_PROJECT = "default"  # there from the first start on
PROJECT_ID = re.compile(r"[a-z][a-z0-9-]{0,63}")
DAY = 24 * 3600 * 1_000_000  # µs
MINUTE = 60 * 1_000_000  # µs


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant. `name` is empty where its id stands for it. Times are µs."""

    id: str
    name: str = ""
    description: str = ""
    create_time: int = 0
    update_time: int = 0


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """What a project wants otherwise than by default; the default is None or empty. Spans are µs.

    `custom_categories` are (name, description). `extractor` is "rules" or "openai", empty for the server's.
    """

    custom_instructions: str = ""
    custom_categories: tuple[tuple[str, str], ...] = ()
    language: str = ""
    history_retention: int | None = None
    export_retention: int | None = None
    extractor: str = ""

    def stored(self) -> dict[str, Any]:
        """As JSON values, without defaults."""
        return {name: value for name, value in asdict(self).items() if value not in ("", (), None)}

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> ProjectSettings:
        """The settings of `stored`."""
        categories = tuple((name, description) for name, description in stored.get("custom_categories", ()))
        return cls(**{**stored, "custom_categories": categories})


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project holds, counted at sequence number `seq`; `export_bytes` are those of exports kept."""

    memories: int
    revisions: int
    entities: int
    messages: int
    seq: int
    export_bytes: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """Changes an index has not confirmed yet, and when (µs) the oldest of them was committed; None: none waits.

    `operation` builds the next index; empty: none does.
    """

    pending: int
    oldest_time: int | None
    operation: str = ""


def languages() -> frozenset[str]:
    """The languages that have a stemmer, by their Snowball names."""
    return frozenset(snowballstemmer.algorithms())
