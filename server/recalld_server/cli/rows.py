"""Rows of a file to import: JSON Lines, or a Parquet export."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

PAGE = 500  # rows of Parquet in memory at once
JSON_COLUMNS = ("metadata", "input")


class Rows:
    """The rows of a file, in order. Skips lines that are not JSON; `unreadable` reports them.

    `done` of `total` is the progress, in rows of Parquet or bytes of JSON Lines. Raises typer.BadParameter if a
    .parquet file is not Parquet.
    """

    def __init__(self, file: Path) -> None:
        self.done = 0
        self._file = file
        self._parquet = file.suffix == ".parquet"
        self._lines_of_rows = array("Q")
        self._unreadable: list[tuple[int, str]] = []
        self.total = self._table().metadata.num_rows if self._parquet else file.stat().st_size

    def __iter__(self) -> Iterator[Any]:
        return self._records() if self._parquet else self._lines()

    def line(self, row: int) -> int:
        """The line number, from 1, of the row that the iterator yielded at index `row`."""
        return row + 1 if self._parquet else self._lines_of_rows[row]

    def unreadable(self) -> list[tuple[int, str]]:
        """Line numbers, from 1, of lines that are not JSON, each with the reason. A call returns only new ones."""
        found, self._unreadable = self._unreadable, []
        return found

    def _lines(self) -> Iterator[Any]:
        with self._file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                self.done += len(line)
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError as error:
                    self._unreadable.append((number, f"is not JSON: {error}"))
                except RecursionError:
                    self._unreadable.append((number, "is JSON that is nested too deeply"))
                else:
                    self._lines_of_rows.append(number)
                    yield row

    def _records(self) -> Iterator[dict[str, Any]]:
        for batch in self._table().iter_batches(PAGE):
            for record in batch.to_pylist():
                self.done += 1
                yield {name: _value(name, value) for name, value in record.items() if value is not None}

    def _table(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self._file)
        except pa.ArrowException as error:
            raise typer.BadParameter(f"{self._file.name} is not Parquet: {error}") from None


def json_option(text: str | bytes, where: str) -> Any:
    """Parse JSON from a user. Raises typer.BadParameter, naming `where`, if it is invalid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{where} is not JSON: {error}") from None


def _value(name: str, value: Any) -> Any:
    if name in JSON_COLUMNS:
        return json_option(value, name)
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value
