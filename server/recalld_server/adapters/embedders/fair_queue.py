"""A queue in which projects take turns, and within a project its items."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Items by project. Every step takes the same time, however many wait. Not safe for threads without a lock."""

    def __init__(self) -> None:
        self._projects: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._projects)

    def __iter__(self) -> Iterator[T]:
        for items in self._projects.values():
            yield from items

    def of(self, project: str) -> Iterator[T]:
        """The items of one project, in the order of their turns."""
        return iter(self._projects.get(project, ()))

    def add(self, project: str, item: T) -> None:
        """The item goes behind those of its project, a new project behind the others."""
        self._projects.setdefault(project, OrderedDict())[item] = None

    def first(self) -> T | None:
        """The item whose turn it is."""
        return next(iter(next(iter(self._projects.values()))), None) if self._projects else None

    def pop(self) -> T | None:
        """Take out the item whose turn it is."""
        if not self._projects:
            return None
        project, items = next(iter(self._projects.items()))
        item = next(iter(items))
        self.remove(project, item)
        return item

    def served(self, project: str, item: T) -> None:
        """The item has had its turn: it goes behind those of its project, and the project behind the others."""
        if item in self._projects.get(project, ()):
            self._projects[project].move_to_end(item)
            self._projects.move_to_end(project)

    def remove(self, project: str, item: T) -> None:
        """The item waits no more; without effect if it does not wait. Its project has had a turn."""
        items = self._projects.get(project)
        if items is None or item not in items:
            return
        del items[item]
        if items:
            self._projects.move_to_end(project)
        else:
            del self._projects[project]
