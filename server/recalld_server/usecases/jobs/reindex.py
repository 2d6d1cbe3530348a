"""The reindex job: builds the next generation of a project's index beside the current one and switches to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from recalld_server.domain.analysis import ANALYSER_VERSION
from recalld_server.domain.commands import reindex_command
from recalld_server.domain.errors import FieldInvalid
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import Operation, OperationKind
from recalld_server.domain.revision import DEFAULT_LANGUAGE, Features, Generation, Positions
from recalld_server.ports.embedder import Embedder, Priority
from recalld_server.ports.generations import Generations
from recalld_server.ports.index import Index
from recalld_server.ports.ledger import Ledger
from recalld_server.ports.operations import Operations
from recalld_server.ports.projects import Projects
from recalld_server.usecases.commits import CommitCoordinator
from recalld_server.usecases.features import FeatureMaker, features_of
from recalld_server.usecases.index_audit import paged
from recalld_server.usecases.projection import Projection

PAGE = 200  # memories embedded and applied together
TRIES = 20  # failed attempts to switch under concurrent writes before new commits are blocked for one attempt
DROPPED = 1_000  # rows deleted in one transaction


class ReindexJob:
    """The job behind RebuildIndex and ReembedProject.

    Every step is idempotent. A new attempt walks through all memories again: it keeps existing features but writes
    every entry again, because the engine may have stored only a part of the entries or lost some.
    """

    def __init__(
        self,
        ledger: Ledger,
        generations: Generations,
        projects: Projects,
        operations: Operations,
        index: Index,
        features: FeatureMaker,
        projection: Projection,
        commits: CommitCoordinator,
        embedders: Mapping[str, Embedder],
    ) -> None:
        self._ledger = ledger
        self._generations = generations
        self._projects = projects
        self._operations = operations
        self._index = index
        self._features = features
        self._projection = projection
        self._commits = commits
        self._embedders = embedders

    def embedder(self, model: str) -> Embedder:
        """Return the embedder of a model. Raises FieldInvalid if the server has none for it."""
        found = self._embedders.get(model)
        if found is None:
            text = f"must be one of {', '.join(sorted(self._embedders))}"
            raise FieldInvalid.at("model", text)
        return found

    async def run(self, held: Operation) -> Mapping[str, Any]:
        """Build the generation, switch to it and delete the old one; see background.worker.Job.

        Raises LeaseLost, FieldInvalid (model), EmbedderUnavailable, IndexUnavailable.
        """
        project = held.access.project
        current = await self._ledger.generation(project)
        old = held.checkpoint.get("old")
        if old and old != current.name:  # the last attempt stopped after the switch: only the clean-up is left
            return await self._cleared(held, Generation.parse(old), current)
        settings, _ = await self._projects.settings(project)
        language = settings.language or DEFAULT_LANGUAGE
        following = replace(current, number=current.number + 1, analyser=ANALYSER_VERSION, language=language)
        if held.kind is OperationKind.REEMBED_PROJECT:
            embedder = self.embedder(reindex_command(held.payload).model)
            following = replace(following, model=embedder.model, dimension=embedder.dimension)
        if not held.checkpoint:  # an earlier failed build may have left features and entries under this number
            await self._clear(held, following)
            await self._operations.advance(held, {"old": current.name}, 0, 0)
        begun = await self._generations.begin(held, following)
        if begun != following:  # an earlier attempt began a generation that this server would not make
            raise FieldInvalid("model: the server settings changed during the reindex; start it again.", field="model")
        while True:
            outage_count = await self._index.outage_count()
            await self._walk(held, current, following)
            if await self._index.outage_count() == outage_count:  # an outage may have lost entries written before it
                break
        await self._switched(held, current, following)
        return await self._cleared(held, current, following)

    async def _walk(self, held: Operation, current: Generation, following: Generation) -> None:
        """Make features of the texts of all revisions, and entries of the live memories.

        The walk ends at the memory id that is the last one now, because it would never catch up with constant adds;
        changes from now on are pending for the new generation.
        """
        project = held.access.project
        total, last = await self._generations.extent(project)
        done, after = 0, ""
        while ids := await self._generations.ids(project, after, last, PAGE):
            after = ids[-1]
            await self._feature(held, current, following, ids)
            await self._projection.apply(project, following, ids)
            done += len(ids)
            await self._operations.advance(held, {"old": current.name}, done, total)
        # An earlier attempt may have written entries of memories that have been deleted since.
        async for page in paged(self._index.entries(project, following), PAGE):
            await self._remove_gone(project, following, [id for id, _ in page])

    async def _remove_gone(self, project: str, following: Generation, ids: Sequence[str]) -> None:
        live = await self._ledger.live_among(project, ids)
        if gone := [id for id in ids if id not in live]:
            await self._projection.apply(project, following, gone)

    async def _switched(self, held: Operation, current: Generation, following: Generation) -> Positions:
        tries = 0
        while True:
            await self._drained(held, current, following)
            if stand := await self._generations.switch(held, following):
                return stand
            tries += 1
            if tries % TRIES == 0:
                async with self._commits.held():
                    await self._drained(held, current, following)
                    if stand := await self._generations.switch(held, following):
                        return stand

    async def _drained(self, held: Operation, current: Generation, following: Generation) -> None:
        """Apply pending changes until a read returns less than a page; under constant writes there are always some."""
        project = held.access.project
        while waiting := await self._ledger.pending(project, following, PAGE):
            await self._feature(held, current, following, waiting)
            await self._projection.apply(project, following, waiting)
            if len(waiting) < PAGE:
                return

    async def _feature(self, held: Operation, current: Generation, following: Generation, ids: Sequence[str]) -> None:
        """Make the missing features. A rebuild takes existing vectors; a re-embedding computes all vectors."""
        memories = await self._generations.unfeatured(held.access.project, following, ids)
        kept: Sequence[Features | None] = [None] * len(memories)
        if memories and held.kind is OperationKind.REBUILD_INDEX:
            kept = await self._generations.known(held.access.project, current, memories)
        missing = [memory for memory, found in zip(memories, kept, strict=True) if found is None]
        made = iter(
            await self._features.of(following, missing, project=held.access.project, priority=Priority.BACKGROUND)
        )
        features = [
            features_of(following, memory, found.vector) if found else next(made)
            for memory, found in zip(memories, kept, strict=True)
        ]
        await self._generations.feature(held, following, memories, features)

    async def _clear(self, held: Operation, generation: Generation) -> None:
        """Delete the features, then the entries of a generation: without features no writer makes new entries."""
        after: str | None = ""
        while after is not None:
            after = await self._generations.drop(held, after, DROPPED)
        await self._index.drop(held.access.project, generation)

    async def _cleared(self, held: Operation, old: Generation, new: Generation) -> dict[str, Any]:
        """Delete the old generation and return the state of the index, which is the result of the operation."""
        project = held.access.project
        await self._clear(held, old)
        stand = await self._ledger.positions(Access(project))
        await self._index.apply(project, new, [], [], stand.applied)
        return {
            "generation": new.number,
            "model": new.model,
            "dimension": new.dimension,
            "analyser_version": new.analyser,
            "engine": self._index.name,
            "healthy": True,
            "head_sequence": stand.head,
            "applied_sequence": stand.applied,
        }
