"""The names of everything measured."""

from __future__ import annotations

STAGES = {
    "embed": "texts to vectors",
    "extract": "messages to facts",
    "index": "candidates from the index",
    "ledger": "reads of the ledger",
    "rank": "the order of the candidates",
    "commit": "the transaction of a write",
    "apply": "a write's entries put into the index",
    "wait": "until the index is as fresh as asked",
}
