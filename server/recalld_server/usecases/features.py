"""Features of texts: the terms and vectors made by the analyser and the model of a generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.analysis import Analyser
from recalld_server.domain.errors import SettingMissing
from recalld_server.domain.memory import Memory
from recalld_server.domain.query import Question, ask
from recalld_server.domain.revision import Features, Generation
from recalld_server.domain.steps import Steps, once
from recalld_server.domain.vectors import FloatMatrix, FloatVector
from recalld_server.ports.embedder import Embedder, Priority
from recalld_server.telemetry.span import span

analyser = lru_cache(maxsize=64)(Analyser)  # shared per language and version, because an Analyser caches stems


class FeatureMaker:
    """Makes the features of memories and questions for every generation whose model is configured."""

    def __init__(self, embedders: Mapping[str, Embedder]) -> None:
        self._embedders = embedders

    async def of(
        self, generation: Generation, memories: Sequence[Memory], *, project: str, priority: Priority = Priority.WRITE
    ) -> list[Features]:
        """Return the features in the order of the memories; all texts are embedded in one call.

        Raises EmbedderUnavailable, Overloaded, SettingMissing.
        """
        if not memories:
            return []
        with span("embed"):
            vectors = await self.embedder(generation).embed(
                [m.spoken for m in memories], priority=priority, project=project
            )
        return await sliced(_features(generation, memories, vectors), sum(len(memory.text) for memory in memories))

    async def question(self, generation: Generation, text: str, speakers: frozenset[str]) -> Question:
        """Analyse a search text with the analyser of the generation."""
        return await sliced(
            once(lambda: ask(text, speakers, analyser(generation.language, generation.analyser))), len(text)
        )

    async def vector(self, generation: Generation, question: Question, *, project: str) -> FloatVector | None:
        """Return the vector of a question, shape (d,), unit length; None if the model knows too few of its words.

        Raises EmbedderUnavailable, Overloaded, SettingMissing.
        """
        with span("embed"):
            embedder = self.embedder(generation)
            vectors = await embedder.embed([question.embed_text], priority=Priority.SEARCH, project=project)
        vector: FloatVector = vectors[0]
        return vector if vector.any() else None

    def embedder(self, generation: Generation) -> Embedder:
        """Return the embedder of the generation's model. Raises SettingMissing if none has this model and dimension."""
        found = self._embedders.get(generation.model)
        if found is None:
            known = ", ".join(sorted(self._embedders))
            raise SettingMissing(
                f"The ledger needs the model {generation.model!r}, but no embedder is configured for it.",
                configured=known,
            )
        if found.dimension != generation.dimension:
            raise SettingMissing(
                f"The embedder for the model {generation.model!r} makes vectors of {found.dimension} dimensions, but "
                f"the ledger has {generation.dimension}. Configure it with {generation.dimension} dimensions."
            )
        return found


def features_of(generation: Generation, memory: Memory, vector: FloatVector) -> Features:
    """The terms of a memory's text beside its vector, (d,) of unit length."""
    return Features(analyser(generation.language, generation.analyser).terms(memory.text), vector, generation.number)


def _features(generation: Generation, memories: Sequence[Memory], vectors: FloatMatrix) -> Steps[list[Features]]:
    found = []
    for memory, vector in zip(memories, vectors, strict=True):
        found.append(features_of(generation, memory, vector))
        yield
    return found
