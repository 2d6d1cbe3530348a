"""Memories that are imported with their history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from recalld_server.domain.memory import Cause, Kind, Memory
from recalld_server.domain.revision import Features, HistoricRevision
from recalld_server.domain.steps import Steps
from recalld_server.domain.vectors import FloatVector


@dataclass(frozen=True, slots=True)
class ImportedRevision:
    """A memory as it was at one revision; of a deletion, as it was before."""

    memory: Memory
    kind: Kind
    cause: Cause = Cause.NONE
    vector: FloatVector | None = None


@dataclass(frozen=True, slots=True)
class ImportedHistory:
    """All revisions of one memory, oldest first, with its id and growing numbers. `model` made their vectors."""

    revisions: Sequence[ImportedRevision]
    model: str = ""

    @property
    def memory(self) -> Memory:
        """What it came to."""
        return self.revisions[-1].memory

    @property
    def live(self) -> bool:
        """Whether it was not deleted in the end."""
        return self.revisions[-1].kind is not Kind.DELETED


def pasts(
    item: ImportedHistory,
    placed: Callable[[Memory], Memory],
    given: Callable[[Memory, FloatVector | None], Features | None],
) -> Steps[list[HistoricRevision]]:
    """The revisions as they are stored, a step each.

    `placed` puts a memory into its conversation; `given` makes features of the vector that came with it, or of none.
    """
    found: list[HistoricRevision] = []
    for revision in item.revisions:
        yield
        memory = placed(revision.memory)
        before = found[-1].memory if found else None
        if before and before.spoken == memory.spoken:
            memory, features = replace(memory, text_revision=before.text_revision), None
        else:
            memory = replace(memory, text_revision=memory.revision)
            features = given(memory, revision.vector)
        found.append(HistoricRevision(memory, revision.kind, revision.cause, features))
    return found


def wanting(past: HistoricRevision) -> bool:
    """Whether its text has no features yet."""
    return past.features is None and past.memory.text_revision == past.memory.revision
