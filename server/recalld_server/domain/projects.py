"""Projects, their settings and their usage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import snowballstemmer

DEFAULT_PROJECT = "default"  # the first start of a server creates it
PROJECT_ID = re.compile(r"[a-z][a-z0-9-]{0,63}")
DAY = 24 * 3600 * 1_000_000  # µs
MINUTE = 60 * 1_000_000  # µs


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant. `name` is the display name, empty if the id is used instead. Times are in µs."""

    id: str
    name: str = ""
    description: str = ""
    create_time: int = 0
    update_time: int = 0


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """The settings of a project; None or an empty value stands for the default. Retention times are in µs.

    `custom_categories` are (name, description). `extractor` names an extractor, empty for the default of the server.
    """

    custom_instructions: str = ""
    custom_categories: tuple[tuple[str, str], ...] = ()
    language: str = ""
    history_retention: int | None = None
    export_retention: int | None = None
    extractor: str = ""

    def stored(self) -> dict[str, Any]:
        """Return the settings as JSON values, without defaults."""
        return {name: value for name, value in asdict(self).items() if value not in ("", (), None)}

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> ProjectSettings:
        """Return the settings from their `stored` form."""
        categories = tuple((name, description) for name, description in stored.get("custom_categories", ()))
        return cls(**{**stored, "custom_categories": categories})


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of the project's data at the sequence number `seq`; `export_bytes` is the size of the kept exports."""

    memories: int
    revisions: int
    entities: int
    messages: int
    seq: int
    export_bytes: int


@dataclass(frozen=True, slots=True)
class Backlog:
    """The number of pending changes of an index, and the commit time (µs) of the oldest, None if there are none.

    `operation` is the id of the reindex operation of the project, empty if there is none.
    """

    pending: int
    oldest_time: int | None
    operation: str = ""


def languages() -> frozenset[str]:
    """Return the supported languages, which are those with a Snowball stemmer, by their Snowball names."""
    return frozenset(snowballstemmer.algorithms())
