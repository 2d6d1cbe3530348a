"""The default extractor: the rules of the domain, offline and deterministic."""

from __future__ import annotations

import asyncio

from recalld_server.domain.extraction import extract
from recalld_server.domain.facts import Extraction, ExtractRequest

# Reading costs about a millisecond per thousand characters: beyond this the event loop would stall for too long.
INLINE_CHARACTERS = 4_000


class RulesExtractor:
    """Implements the Extractor port by rules. Never raises on any text; long input is read in a worker thread."""

    async def extract(self, request: ExtractRequest) -> Extraction:
        """See Extractor.extract. `custom_instructions` have no effect."""
        if sum(len(message.content) for message in request.messages) <= INLINE_CHARACTERS:
            return extract(request)
        return await asyncio.to_thread(extract, request)
