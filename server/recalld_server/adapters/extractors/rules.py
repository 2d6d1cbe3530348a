"""The default extractor: the rules of domain.extraction, offline and deterministic."""

from __future__ import annotations

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.extraction.facts import Extraction, ExtractRequest
from recalld_server.domain.extraction.pipeline import extracting


class RulesExtractor:
    """Implements ports.extractor.Extractor with rules. Long input is processed outside the event loop."""

    async def extract(self, request: ExtractRequest) -> Extraction:
        """See Extractor.extract. `custom_instructions` have no effect."""
        size = sum(len(message.content) for message in request.messages) + len(request.includes) + len(request.excludes)
        size += sum(len(name) + len(description) for name, description in request.custom_categories)
        return await sliced(extracting(request), size)
