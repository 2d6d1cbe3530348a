"""Import of memories with their history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from recalld_server.domain.memory import Cause, Kind, Memory
from recalld_server.domain.revision import Features, HistoricRevision
from recalld_server.domain.steps import Steps
from recalld_server.domain.vectors import FloatVector


@dataclass(frozen=True, slots=True)
class ImportedRevision:
    """One revision of an imported memory; a deletion carries the memory as it was before."""

    memory: Memory
    kind: Kind
    cause: Cause = Cause.NONE
    vector: FloatVector | None = None


@dataclass(frozen=True, slots=True)
class ImportedHistory:
    """All revisions of one memory, oldest first, with one id and increasing numbers. `model` made their vectors."""

    revisions: Sequence[ImportedRevision]
    model: str = ""

    @property
    def memory(self) -> Memory:
        """The memory at its newest revision."""
        return self.revisions[-1].memory

    @property
    def live(self) -> bool:
        """Whether the newest revision is not a deletion."""
        return self.revisions[-1].kind is not Kind.DELETED


def pasts(
    item: ImportedHistory,
    placed: Callable[[Memory], Memory],
    given: Callable[[Memory, FloatVector | None], Features | None],
) -> Steps[list[HistoricRevision]]:
    """Return the revisions in their stored form, one step per revision.

    `placed` puts a memory into its conversation. `given` makes features from an imported vector, or returns None if the
    text must be embedded.
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
    """Whether the revision has a new text that has no features yet."""
    return past.features is None and past.memory.text_revision == past.memory.revision
