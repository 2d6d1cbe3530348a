"""The port that turns conversations into facts."""

from __future__ import annotations

from typing import Protocol

from recalld_server.domain.extraction.facts import Extraction, ExtractRequest, Fact, VerdictReason

__all__ = ["ExtractRequest", "Extraction", "Extractor", "Fact", "VerdictReason"]


class Extractor(Protocol):
    """Reads what is worth remembering out of messages. Stores nothing and keeps no state between calls."""

    async def extract(self, request: ExtractRequest) -> Extraction:
        """The facts of `request` and one verdict per message.

        Facts come in the order of the messages they belong to. A message whose verdict is STORED gave a fact or is
        among the sources of one; no other message is the first source of a fact. A fact has at most SOURCES messages,
        of SOURCE_BYTES together. Raises LimitExceeded when there are more than FACTS facts. An extractor that asks a
        model raises Unavailable when the model cannot be reached or its answer stays invalid, and then gives no facts
        at all.
        """
        ...
