"""Building the next generation of a project's index beside the current one, and switching to it."""

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
TRIES = 20  # switches that others' writes prevent, before writes are held back for one
DROPPED = 1_000  # rows in one transaction


class ReindexJob:
    """The job behind RebuildIndex and ReembedProject.

    All it does can be done again. A new attempt goes through everything once more: features that are there are kept,
    and entries are put again, whatever stands there, since the engine may have done half of it or lost it again.
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
        """The embedder of a model. Raises FieldInvalid for one the server is not configured for."""
        found = self._embedders.get(model)
        if found is None:
            text = f"must be one of {', '.join(sorted(self._embedders))}"
            raise FieldInvalid.at("model", text)
        return found

    async def run(self, held: Operation) -> Mapping[str, Any]:
        """Build, switch, clear away; see worker.Job. Raises LeaseLost, EmbedderUnavailable, IndexUnavailable."""
        project = held.access.project
        current = await self._ledger.generation(project)
        old = held.checkpoint.get("old")
        if old and old != current.name:  # a crash came after the switch: only the rest is left
            return await self._cleared(held, Generation.parse(old), current)
        settings, _ = await self._projects.settings(project)
        language = settings.language or DEFAULT_LANGUAGE
        following = replace(current, number=current.number + 1, analyser=ANALYSER_VERSION, language=language)
        if held.kind is OperationKind.REEMBED_PROJECT:
            embedder = self.embedder(reindex_command(held.payload).model)
            following = replace(following, model=embedder.model, dimension=embedder.dimension)
        if not held.checkpoint:  # a build that failed may have left something under this number
            await self._clear(held, following)
            await self._operations.advance(held, {"old": current.name}, 0, 0)
        begun = await self._generations.begin(held, following)
        if begun != following:  # what was begun is not what this server would make now: its settings have changed
            raise FieldInvalid("model: the settings of the server changed during the work.", field="model")
        while True:
            outage_count = await self._index.outage_count()
            await self._walk(held, current, following)
            if await self._index.outage_count() == outage_count:  # what was put before one may be lost
                break
        await self._switched(held, current, following)
        return await self._cleared(held, current, following)

    async def _walk(self, held: Operation, current: Generation, following: Generation) -> None:
        """Features of every text there is, entries of what is live.

        Whatever changes from here on is pending, so the walk ends at the last id of now: it would never catch up with
        writers who go on adding.
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
        # An earlier attempt may have put entries of memories that are gone since.
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
        """Until less than a page is left at the look before: writers who go on add to it all the time."""
        project = held.access.project
        while waiting := await self._ledger.pending(project, following, PAGE):
            await self._feature(held, current, following, waiting)
            await self._projection.apply(project, following, waiting)
            if len(waiting) < PAGE:
                return

    async def _feature(self, held: Operation, current: Generation, following: Generation, ids: Sequence[str]) -> None:
        """A rebuild keeps the vectors there are; a re-embedding makes them all anew."""
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
        """Features first: without them nobody makes entries any more."""
        after: str | None = ""
        while after is not None:
            after = await self._generations.drop(held, after, DROPPED)
        await self._index.drop(held.access.project, generation)

    async def _cleared(self, held: Operation, old: Generation, new: Generation) -> dict[str, Any]:
        """Drop what the switch left behind; the state of the index then."""
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
