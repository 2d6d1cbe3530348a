"""Implements ports.exports.Encoders: creates the encoder of a format."""

from __future__ import annotations

from recalld_server.adapters.exports.jsonl import Jsonl
from recalld_server.domain.commands import Format
from recalld_server.ports.exports import Encoder


def encoder(format: str, *, history: bool, model: str) -> Encoder:
    """A new encoder. `model` names the vectors to include; empty for none."""
    if format == Format.PARQUET.value:
        from recalld_server.adapters.exports.parquet import Parquet  # pyarrow is slow to import

        return Parquet(history=history, model=model)
    return Jsonl(history=history, model=model)
