"""A queue whose lines take turns: who puts much into one line delays that line, and no other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items in lines, each of which has a name. Items of one line keep their order; none stands in it twice.

    Every step takes the same time, however many items wait. For one thread at a time: its owner holds a lock.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()  # by their turns; none is empty
        self._items = 0

    def __len__(self) -> int:
        """How many items wait in all lines."""
        return self._items

    def __iter__(self) -> Iterator[T]:
        for items in self._lines.values():
            yield from items

    def of(self, line: str) -> Iterator[T]:
        """The items of one line, in the order of their turns."""
        return iter(self._lines.get(line, ()))

    def put(self, line: str, item: T) -> None:
        """Add an item to the end of a line. A line that had none has its turn after those that wait."""
        self._lines.setdefault(line, OrderedDict())[item] = None
        self._items += 1

    def first(self) -> T | None:
        """The item whose turn it is."""
        return next(iter(self), None)

    def take(self, allowed: Callable[[str], bool] = lambda _: True) -> tuple[str, T] | None:
        """Remove the item of an allowed line whose turn it is, with the line's name; None if no item waits there."""
        line = next(filter(allowed, self._lines), None)
        if line is None:
            return None
        item = next(iter(self._lines[line]))
        self.remove(line, item)
        return line, item

    def served(self, line: str, item: T) -> None:
        """The item has had its turn: it goes behind those of its line, and the line behind the others."""
        if item in self._lines.get(line, ()):
            self._lines[line].move_to_end(item)
            self._lines.move_to_end(line)

    def remove(self, line: str, item: T) -> None:
        """The item waits no more; without effect if it does not wait. Its line has had a turn."""
        items = self._lines.get(line)
        if items is None or item not in items:
            return
        del items[item]
        self._items -= 1
        if items:
            self._lines.move_to_end(line)
        else:
            del self._lines[line]
