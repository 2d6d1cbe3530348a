"""Apache Parquet encoder. Metadata and sources are JSON text; times are UTC with microseconds."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recalld_server.adapters.exports.jsonl import fields
from recalld_server.domain.exports import Row
from recalld_server.domain.memory import SCOPE_FIELDS

GROUP = 1_000  # rows per row group; they take some 20 MB as Python objects if they have vectors
_TIME = pa.timestamp("us", tz="UTC")
_COLUMNS = {
    "id": pa.string(),
    "memory": pa.string(),
    **dict.fromkeys(SCOPE_FIELDS, pa.string()),
    "metadata": pa.string(),
    "categories": pa.list_(pa.string()),
    "created_at": _TIME,
    "updated_at": _TIME,
    "expiration_date": _TIME,
    "event_date": _TIME,
    "timestamp": _TIME,
    "revision": pa.int32(),
    "immutable": pa.bool_(),
    "speaker": pa.string(),
    "add_id": pa.string(),
    "feedback": pa.string(),
    "feedback_reason": pa.string(),
    "input": pa.string(),
}
_HISTORY = {
    **dict.fromkeys(("event", "cause", "principal"), pa.string()),
    "sequence": pa.int64(),
    "superseded": pa.bool_(),
}
_VECTORS = {"vector": pa.list_(pa.float32()), "vector_model": pa.string()}
_TIMES = {
    "created_at": "create_time",
    "updated_at": "update_time",
    "expiration_date": "expire_time",
    "event_date": "event_time",
    "timestamp": "said_time",
}


class Parquet:
    """See ports.exports.Encoder. The footer describes the whole file, so a new attempt rewrites the file."""

    resumable = False

    def __init__(self, *, history: bool, model: str) -> None:
        self._history = history
        self._model = model
        columns = _COLUMNS | (_HISTORY if history else {}) | (_VECTORS if model else {})
        self._schema = pa.schema([pa.field(name, kind) for name, kind in columns.items()])
        self._sink = _Sink()
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def encode(self, row: Row) -> bytes:
        self._rows.append(self._record(row))
        if len(self._rows) >= GROUP:
            self._write()
        return self._sink.take()

    def finish(self) -> bytes:
        if self._rows:
            self._write()
        self._writer.close()
        return self._sink.take()

    def _write(self) -> None:
        self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._rows = []

    def _record(self, row: Row) -> dict[str, Any]:
        found = fields(row, self._history)
        for name in ("metadata", "input"):
            if name in found:
                found[name] = json.dumps(found[name], ensure_ascii=False)
        found |= {name: getattr(row.memory, field) for name, field in _TIMES.items()}
        found["immutable"] = row.memory.immutable
        if self._history:
            found["superseded"] = row.seq_to is not None
        if self._model and row.vector is not None:
            found |= {"vector": row.vector.tolist(), "vector_model": self._model}
        return found


class _Sink:
    """A write-only file object that buffers bytes until `take`."""

    closed = False

    def __init__(self) -> None:
        self._held = bytearray()
        self._taken = 0

    def write(self, data: Any) -> int:
        self._held += data
        return len(data)

    def tell(self) -> int:
        return self._taken + len(self._held)

    def flush(self) -> None:
        """Does nothing: writes go to the buffer directly."""

    def close(self) -> None:
        """Does nothing: the bytes stay until `take`."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def take(self) -> bytes:
        """The bytes written since the last call."""
        data = bytes(self._held)
        self._taken += len(data)
        self._held.clear()
        return data
