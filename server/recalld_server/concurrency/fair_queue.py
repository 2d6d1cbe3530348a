"""A queue of named lines that take turns (round robin): a long line delays itself, but no other line."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items in named lines. The items of a line are distinct and keep their order.

    `put`, `remove`, `served` and `take` without `allowed` run in constant time. Not thread-safe: the owner must lock.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()  # in the order of turns; no line is empty
        self._items = 0

    def __len__(self) -> int:
        """The number of items in all lines."""
        return self._items

    def __iter__(self) -> Iterator[T]:
        for items in self._lines.values():
            yield from items

    def of(self, line: str) -> Iterator[T]:
        """The items of one line, in order."""
        return iter(self._lines.get(line, ()))

    def put(self, line: str, item: T) -> None:
        """Append an item to a line. A new line gets its turn after all lines that wait."""
        self._lines.setdefault(line, OrderedDict())[item] = None
        self._items += 1

    def first(self) -> T | None:
        """The item whose turn it is; None if the queue is empty."""
        return next(iter(self), None)

    def take(self, allowed: Callable[[str], bool] = lambda _: True) -> tuple[str, T] | None:
        """Remove the next item of the first allowed line. Returns (line, item); None if no allowed line has items."""
        line = next(filter(allowed, self._lines), None)
        if line is None:
            return None
        item = next(iter(self._lines[line]))
        self.remove(line, item)
        return line, item

    def served(self, line: str, item: T) -> None:
        """Record that an item had its turn: it moves to the end of its line, and the line moves behind all others."""
        if item in self._lines.get(line, ()):
            self._lines[line].move_to_end(item)
            self._lines.move_to_end(line)

    def remove(self, line: str, item: T) -> None:
        """Remove an item, if it is there. This counts as a turn of its line, which moves behind all others."""
        items = self._lines.get(line)
        if items is None or item not in items:
            return
        del items[item]
        self._items -= 1
        if items:
            self._lines.move_to_end(line)
        else:
            del self._lines[line]
