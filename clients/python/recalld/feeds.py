"""Sends the items of an import and follows their progress.

Invalid rows are skipped and reported as failures, so that one bad line in a million does not end the import.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from dataclasses import replace
from typing import Any

import grpc

from recalld.errors import InvalidRequest, from_rpc, from_status
from recalld.imports import Importable, ImportFailure, ImportProgress, history, item
from recalld.v1 import memory_service_pb2
from recalld.v1.memory_service_pb2 import ImportItem

NOTHING = ImportProgress(-1, 0, 0, (), "")


class Feed:
    """Converts rows to items, in order. Consecutive rows of one memory's history become one item.

    The server counts only the items that were sent. `through` translates its index to an index among all items.
    """

    def __init__(self, request_id: str) -> None:
        self.problem: Exception | None = None  # an exception of the caller's iterable
        self.count = 0  # items so far, including refused ones
        self._request_id = request_id
        self._row = -1
        self._history: list[Mapping[str, Any]] = []  # rows of the current history
        self._history_row = 0
        self._first_rows = array("Q")  # index of the first row of each item
        self._refused: list[ImportFailure] = []
        self._told = 0  # how many of _refused were reported
        self._before = array("Q")  # for each refused item, how many were sent before it

    def items(self, given: Iterable[Importable]) -> Iterator[ImportItem]:
        """Runs in a thread of gRPC, where an exception would only be logged."""
        try:
            for each in given:
                yield from self._taken(each)
            yield from self._finished()
        except Exception as error:  # noqa: BLE001  raised again where the caller reads progress
            self.problem = error

    async def items_async(self, given: Iterable[Importable] | AsyncIterable[Importable]) -> AsyncIterator[ImportItem]:
        """Runs in a task of gRPC, where an exception would only be logged."""
        try:
            if isinstance(given, AsyncIterable):
                async for each in given:
                    for made in self._taken(each):
                        yield made
            else:
                for each in given:
                    for made in self._taken(each):
                        yield made
            for made in self._finished():
                yield made
        except Exception as error:  # noqa: BLE001  raised again where the caller reads progress
            self.problem = error

    def through(self, sent: int) -> int:
        """Translate the server's index of an item to the index among all items; -1 stays -1."""
        return sent + bisect_right(self._before, sent) if sent >= 0 else sent

    def row(self, index: int) -> int:
        """The index of an item's first row."""
        return self._first_rows[index]

    def refused(self) -> tuple[ImportFailure, ...]:
        """The refused items that no earlier call returned."""
        told, self._told = self._told, len(self._refused)
        return tuple(self._refused[told : self._told])

    def _taken(self, given: Importable) -> Iterator[ImportItem]:
        """The items that this row completes."""
        self._row += 1
        row = given if isinstance(given, Mapping) and "event" in given else None
        if self._history and (row is None or row.get("id") != self._history[-1].get("id")):
            yield from self._finished()
        if row is None:
            yield from self._made(lambda index: item(given, index), self._row)
            return
        if not self._history:
            self._history_row = self._row
        self._history.append(row)

    def _finished(self) -> Iterator[ImportItem]:
        """The item of the current history, which is complete."""
        rows, self._history = self._history, []
        if rows:
            yield from self._made(lambda index: history(rows, index), self._history_row)

    def _made(self, make: Callable[[int], ImportItem], row: int) -> Iterator[ImportItem]:
        index = self.count
        self.count += 1
        self._first_rows.append(row)
        try:
            made = make(index)
        except InvalidRequest as error:
            self._before.append(index - len(self._before))
            self._refused.append(ImportFailure(index, error, row))
            return
        if index == len(self._before) and not made.request_id:  # the first item sent carries the request id
            first = ImportItem(request_id=self._request_id)
            first.MergeFrom(made)
            made = first
        yield made


def run(open_call: Callable[[], Any], feed: Feed, correlation_id: str) -> Generator[ImportProgress, None, None]:
    """Yield progress until all items are settled. Raises RecalldError, or the exception of the caller's iterable."""
    call, last = open_call(), NOTHING
    try:
        for answer in call:
            yield (last := progress(answer, feed))
    except grpc.RpcError as error:
        raise from_rpc(error, correlation_id) from error
    finally:
        call.cancel()
    if end := _end(feed, last):
        yield end
    if feed.problem:
        raise feed.problem


async def run_async(
    open_call: Callable[[], Any], feed: Feed, correlation_id: str
) -> AsyncGenerator[ImportProgress, None]:
    """As `run`."""
    call, last = open_call(), NOTHING
    try:
        async for answer in call:
            yield (last := progress(answer, feed))
    except grpc.RpcError as error:
        raise from_rpc(error, correlation_id) from error
    finally:
        call.cancel()
    if end := _end(feed, last):
        yield end
    if feed.problem:
        raise feed.problem


def progress(answer: memory_service_pb2.ImportProgress, feed: Feed) -> ImportProgress:
    """Convert a progress message and add the items refused since the last one."""
    failed = []
    for each in answer.failed:
        index = feed.through(each.index)
        failed.append(ImportFailure(index, from_status(each.status), feed.row(index)))
    failed += feed.refused()
    failed.sort(key=lambda failure: failure.index)
    through = feed.through(answer.through_index)
    return ImportProgress(through, answer.stored, answer.unchanged, tuple(failed), answer.consistency_token)


def _end(feed: Feed, last: ImportProgress) -> ImportProgress | None:
    """A final progress if items after the last one sent were refused, which the server does not know; else None."""
    through = feed.count - 1
    return replace(last, through_index=through, failed=feed.refused()) if through > last.through_index else None
