"""Validation of arguments before anything is sent. Each function returns the value.

They raise InvalidRequest, naming the argument, so that callers never see a TypeError of protobuf or a UnicodeError.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recalld.errors import invalid

MAX_INT32 = 2**31 - 1
MAX_INT64 = 2**63 - 1


def text(value: Any, path: str, *, empty: bool = True) -> str:
    """A string that UTF-8 can encode; with `empty=False` a non-empty one."""
    if not isinstance(value, str):
        raise invalid(path, f"must be a string, not {type(value).__name__}")
    if not value and not empty:
        raise invalid(path, "must not be empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        description = f"has a lone surrogate at character {error.start}, which UTF-8 cannot encode"
        raise invalid(path, description, reason="TEXT_INVALID") from None
    return value


def optional_text(value: Any, path: str) -> str | None:
    """A string, or None."""
    return None if value is None else text(value, path)


def texts(value: Any, path: str) -> list[str]:
    """A list of strings. A single string becomes a list of one."""
    if isinstance(value, str):
        return [text(value, path)]
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise invalid(path, f"must be a list of strings, not {type(value).__name__}")
    return [text(each, f"{path}[{number}]") for number, each in enumerate(value)]


def flag(value: Any, path: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise invalid(path, f"must be True or False, not {type(value).__name__}")
    return value


def whole(value: Any, path: str, low: int = 0, high: int = MAX_INT32) -> int:
    """A whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(path, f"must be a whole number, not {type(value).__name__}")
    if not low <= value <= high:
        raise invalid(path, f"must be from {low} to {high}")
    return value


def optional_whole(value: Any, path: str, low: int = 0, high: int = MAX_INT32) -> int | None:
    """A whole number, or None."""
    return None if value is None else whole(value, path, low, high)


def number(value: Any, path: str) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(path, f"must be a number, not {type(value).__name__}")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise invalid(path, "must be a finite number")
    return found


def optional_number(value: Any, path: str) -> float | None:
    """A finite number, or None."""
    return None if value is None else number(value, path)


def numbers(value: Any, path: str) -> list[float]:
    """A list of finite numbers. NumPy arrays are accepted too."""
    given = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        raise invalid(path, f"must be a list of numbers, not {type(value).__name__}")
    return [number(each, f"{path}[{place}]") for place, each in enumerate(given)]


def choice(value: Any, path: str, allowed: Sequence[str]) -> str:
    """One of the `allowed` strings."""
    if not isinstance(value, str) or value not in allowed:
        raise invalid(path, f"must be {', '.join(allowed[:-1])} or {allowed[-1]}")
    return value
