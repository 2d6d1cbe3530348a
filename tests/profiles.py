"""How thorough a run is: `ci` for every change, `nightly` for the hours when nobody waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """`examples` multiplies what hypothesis tries, `tenants` share the engines, `kills` end each long operation."""

    examples: int
    tenants: int
    kills: int


PROFILES = {"ci": Profile(1, 200, 2), "nightly": Profile(4, 1000, 20)}
_chosen = PROFILES["ci"]


def choose(name: str) -> None:
    """Before any module of tests is imported: conftest.py does it."""
    global _chosen
    _chosen = PROFILES[name]


def chosen() -> Profile:
    """That of this run."""
    return _chosen


def examples(count: int) -> int:
    """How many examples hypothesis tries where `ci` tries `count`."""
    return count * _chosen.examples
