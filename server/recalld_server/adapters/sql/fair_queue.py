"""A queue whose lines take turns: who puts much into one line delays that line, and no other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items in lines, each of which has a name. Items of one line keep their order.

    For one thread at a time: its owner holds a lock.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[T]] = {}  # in the order of their next turns; none is empty
        self._items = 0

    def __len__(self) -> int:
        """How many items wait in all lines."""
        return self._items

    def put(self, line: str, item: T) -> None:
        """Add an item to the end of a line. A line that had none has its turn after those that wait."""
        self._lines.setdefault(line, deque()).append(item)
        self._items += 1

    def take(self, allowed: Callable[[str], bool] = lambda _: True) -> tuple[str, T] | None:
        """Remove the first item of the allowed line whose turn it is, and the line's name; None if no item waits there."""
        line = next(filter(allowed, self._lines), None)
        if line is None:
            return None
        items = self._lines.pop(line)
        item = items.popleft()
        if items:
            self._lines[line] = items
        self._items -= 1
        return line, item
