"""The port of the extractor, which turns conversations into facts."""

from __future__ import annotations

from typing import Protocol

from recalld_server.domain.extraction.facts import Extraction, ExtractRequest, Fact, VerdictReason

__all__ = ["ExtractRequest", "Extraction", "Extractor", "Fact", "VerdictReason"]


class Extractor(Protocol):
    """Extracts the facts worth remembering from messages. Stateless."""

    async def extract(self, request: ExtractRequest) -> Extraction:
        """Return the facts of `request` and one verdict per message.

        Facts are ordered by their first source message. A message with the verdict STORED is a source of a fact; no
        other message is the first source of one. A fact has at most SOURCES source messages, of SOURCE_BYTES in total.

        Raises LimitExceeded if there are more than FACTS facts. An extractor that uses a model raises ExtractorFailed
        if the model cannot be reached or repeatedly returns invalid answers.
        """
        ...
