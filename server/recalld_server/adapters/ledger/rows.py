"""Conversion between rows of `revisions` and memories, and the SQL conditions that the ledger's statements share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
)

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.array_params import in_list, in_pairs
from recalld_server.adapters.sql.filters import FilterCompiler
from recalld_server.domain import limits
from recalld_server.domain.filters import TIME_FIELDS, Filter
from recalld_server.domain.folding import loose
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Memory, Message, Scope, kept_sources
from recalld_server.domain.revision import Features

T = TypeVar("T")
R = TypeVar("R", bound=Sequence[Any])

CHUNK = 100  # rows whose messages are read with one statement
SOURCES_READ = limits.CALL_BYTES  # characters of source messages that one call reads

MEMORY_COLUMNS = (
    "memory_id",
    "text",
    "user_id",
    "agent_id",
    "app_id",
    "run_id",
    "metadata",
    "categories",
    "create_time",
    "update_time",
    "expire_time",
    "event_time",
    "revision",
    "text_revision",
    "speaker",
    "named",
    "add_id",
    "source_positions",
    "conversation",
    "position",
    "ordinal",
    "said_time",
    "immutable",
    "feedback",
    "feedback_reason",
    "given_categories",
)


def memory_columns(source: FromClause = t.revisions) -> list[ColumnElement[Any]]:
    """The columns that `memory_of` reads, in its order."""
    return [source.c[name] for name in MEMORY_COLUMNS]


def memory_of(row: Sequence[Any], sources: tuple[Message, ...] = ()) -> Memory:
    """A memory from a row that begins with `memory_columns`."""
    return Memory(
        id=row[0],
        text=row[1],
        scope=Scope(row[2], row[3], row[4], row[5]),
        metadata=_parsed(row[6]),
        categories=tuple(_parsed(row[7])),
        create_time=row[8],
        update_time=row[9],
        expire_time=row[10],
        event_time=row[11],
        revision=row[12],
        text_revision=row[13],
        speaker=row[14],
        named=bool(row[15]),
        add_id=row[16],
        source_positions=tuple(_parsed(row[17])),
        sources=sources,
        conversation=row[18],
        position=row[19],
        ordinal=row[20],
        said_time=row[21],
        immutable=bool(row[22]),
        feedback=row[23],
        feedback_reason=row[24],
        given_categories=None if row[25] is None else tuple(_parsed(row[25])),
    )


def _parsed(text: str) -> Any:
    """Parse compact JSON, with a shortcut for the frequent empty values."""
    return {} if text == "{}" else [] if text == "[]" else json.loads(text)


def row_of(memory: Memory) -> dict[str, Any]:
    """The columns of a memory, without the columns that describe its revision (kind, cause, sequence numbers)."""
    return {
        "memory_id": memory.id,
        "text": memory.text,
        "folded": loose(memory.text),
        "text_key": memory.text_key,
        **{name: getattr(memory.scope, name) for name in SCOPE_FIELDS},
        "scope_key": memory.scope.key(),
        "metadata": dump(memory.metadata),
        "categories": dump(list(memory.categories)),
        "create_time": memory.create_time,
        "update_time": memory.update_time,
        "expire_time": memory.expire_time,
        "event_time": memory.event_time,
        "revision": memory.revision,
        "text_revision": memory.text_revision,
        "speaker": memory.speaker,
        "named": memory.named,
        "add_id": memory.add_id,
        "source_positions": dump(list(memory.source_positions)),
        "conversation": memory.conversation,
        "position": memory.position,
        "ordinal": memory.ordinal,
        "said_time": memory.said_time,
        "immutable": memory.immutable,
        "feedback": memory.feedback,
        "feedback_reason": memory.feedback_reason,
        "given_categories": None if memory.given_categories is None else dump(list(memory.given_categories)),
    }


def dump(value: object) -> str:
    """Compact JSON without ASCII escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def feature_row(found: Features) -> dict[str, bytes]:
    """Stored form: terms as little-endian uint32, the vector as float16.

    With float16, at half the size, recall stays within .002 of float32.
    """
    return {"terms": found.terms.astype("<u4").tobytes(), "vector": found.vector.astype("<f2").tobytes()}


def features_of(terms: bytes, vector: bytes) -> Features:
    """Features from their stored form."""
    return Features(np.frombuffer(terms, "<u4"), np.frombuffer(vector, "<f2").astype(np.float32))


def inside(access: Access, scope: Scope = Scope(), source: FromClause = t.revisions) -> ColumnElement[bool]:
    """The condition that a row belongs to the project and has every id of the pin and of the scope."""
    terms = [source.c.project == access.project]
    terms += [source.c[name] == value for limit in (access.pin, scope) for name, value in limit.items()]
    return and_(*terms)


# A literal in the statement's text: a dozen bound parameters that are always empty cost measurable time.
EMPTY_TEXT: ColumnElement[str] = literal_column("''", Text)


def scope_of(row: Any) -> Scope:
    """The scope in the id columns of a row."""
    return Scope(*(getattr(row, name) for name in SCOPE_FIELDS))


def given(*scopes: Scope, source: FromClause = t.revisions) -> list[ColumnElement[bool]]:
    """Conditions that let the planner use the partial index of a scope id.

    These indexes cover non-empty ids, and a planner cannot know that a bound id is not empty.
    """
    return [source.c[name] != EMPTY_TEXT for name in {name: None for scope in scopes for name, _ in scope.items()}]


def pinned(source: FromClause = t.revisions) -> ColumnElement[bool]:
    """Like `inside`, with the access as bound parameters, for prebuilt statements that find rows by memory id.

    The planner cannot use the index of a scope id that may be empty, so this condition only checks rows that another
    index finds.
    """
    admitted = (
        or_(bindparam(f"pin_{name}", type_=Text) == EMPTY_TEXT, source.c[name] == bindparam(f"pin_{name}", type_=Text))
        for name in SCOPE_FIELDS
    )
    return and_(source.c.project == bindparam("p"), *admitted)


def who(access: Access) -> dict[str, str]:
    """The parameters of `pinned`."""
    return {"p": access.project, **{f"pin_{name}": getattr(access.pin, name) for name in SCOPE_FIELDS}}


def satisfying(filter: Filter | None, source: FromClause = t.revisions) -> list[ColumnElement[bool]]:
    """The filter as a condition on rows of `source`; an empty list for None."""
    if filter is None:
        return []
    names = ("text", "folded", *TIME_FIELDS, *SCOPE_FIELDS)
    columns = {name: source.c[name] for name in names} | {"id": source.c.memory_id}
    owner = and_(
        t.facets.c.project == source.c.project,
        t.facets.c.memory_id == source.c.memory_id,
        t.facets.c.revision == source.c.revision,
    )
    return [FilterCompiler(columns, t.facets, owner).compile(filter)]


def repeating() -> ColumnElement[bool]:
    """Live, not expired at the bound `now`, and with one of the (scope key, text key) pairs bound as `texts`."""
    return and_(
        t.revisions.c.seq_to.is_(None),
        in_pairs(t.revisions.c.scope_key, t.revisions.c.text_key, "texts"),
        unexpired(bindparam("now")),
    )


def versions(as_of: int | None, source: FromClause = t.revisions) -> list[ColumnElement[bool]]:
    """Conditions for the rows live now, or as of a sequence number, as disjoint parts.

    An index serves each part. No index would serve a single condition with OR.
    """
    if as_of is None:
        return [source.c.seq_to.is_(None)]
    older = begun(as_of, source)
    ended_later = and_(source.c.seq_to.is_not(None), source.c.seq_to > as_of)
    return [and_(source.c.seq_to.is_(None), older), and_(ended_later, older)]


def live_at(as_of: int | BindParameter[int], source: FromClause = t.revisions) -> ColumnElement[bool]:
    """Live as of a sequence number, for rows that are found by memory id. No index serves it; see also `versions`."""
    return and_(begun(as_of, source), func.coalesce(source.c.seq_to, _NEVER) > as_of)


_NEVER = literal(2**62, BigInteger)  # greater than any sequence number


def begun(as_of: int | BindParameter[int], source: FromClause = t.revisions) -> ColumnElement[bool]:
    """The revision began at or before a sequence number.

    The sum keeps planners from using the index of `seq_from`, along which they would scan all older revisions.
    """
    return source.c.seq_from + literal_column("0") <= as_of


def unexpired(now: int | BindParameter[int], source: FromClause = t.revisions) -> ColumnElement[bool]:
    """The condition that the memory has not expired at `now`, µs."""
    return or_(source.c.expire_time.is_(None), source.c.expire_time > now)


_MESSAGES = select(
    t.messages.c.add_id,
    t.messages.c.position,
    t.messages.c.role,
    t.messages.c.content,
    t.messages.c.name,
    t.messages.c.time,
).where(t.messages.c.project == bindparam("p"))
SOURCES = _MESSAGES.where(in_pairs(t.messages.c.add_id, t.messages.c.position, "at"))
SAID = _MESSAGES.where(in_list(t.messages.c.add_id, "ids"))


def messages(
    connection: Connection, statement: Select[Any], parameters: Mapping[str, Any]
) -> Iterator[tuple[tuple[str, int], Message]]:
    """Run SOURCES or SAID. Yields ((add id, position), message)."""
    for add_id, position, role, content, name, time in connection.execute(statement, parameters).all():
        yield (add_id, position), Message(role, content, name, time, position)


def with_sources(connection: Connection, project: str, rows: Sequence[Sequence[Any]]) -> list[Memory]:
    """The memories of the rows, each with its source messages.

    Messages are read for CHUNK rows at a time. Once SOURCES_READ characters are read, the remaining memories get none.
    """
    found: list[Memory] = []
    left = SOURCES_READ
    for at in range(0, len(rows), CHUNK):
        chunk = rows[at : at + CHUNK]
        made = _with_sources(connection, project, chunk) if left > 0 else [memory_of(row) for row in chunk]
        left -= sum(len(source.content) for memory in made for source in memory.sources)
        found += made
    return found


def _with_sources(connection: Connection, project: str, rows: Sequence[Sequence[Any]]) -> list[Memory]:
    said = [[(row[16], position) for position in _parsed(row[17])[: limits.SOURCES]] for row in rows]
    wanted = list(dict.fromkeys(at for places in said for at in places))
    found = dict(messages(connection, SOURCES, {"p": project, "at": wanted})) if wanted else {}
    return [
        memory_of(row, kept_sources([found[at] for at in places if at in found]))
        for row, places in zip(rows, said, strict=True)
    ]


def in_order(rows: Sequence[R], wanted: Sequence[Any], key: Callable[[R], Any]) -> Sequence[R]:
    """Sort rows in the order of `wanted`, so that those without sources (see `with_sources`) are the last ones wanted.

    Up to CHUNK rows keep their order, because all of them get their sources.
    """
    if len(rows) <= CHUNK:
        return rows
    places = {item: place for place, item in enumerate(wanted)}
    return sorted(rows, key=lambda row: places[key(row)])


def page_of(
    connection: Connection,
    statement: Select[Any],
    limit: int,
    made: Callable[[Sequence[Row[Any]]], Sequence[T]],
    memories: Callable[[T], Sequence[Memory | None]],
) -> tuple[list[T], bool]:
    """One page of results, and whether more follow. `statement` must ask for `limit + 1` rows.

    `made` converts rows to results, one per row. The page has at most `limit` results, and ends early with the result
    whose `memories` bring the total above PAGE_BYTES characters, the limit of an answer.
    """
    found: list[T] = []
    total = 0
    with connection.execute(statement) as rows:
        for chunk in rows.partitions(CHUNK):
            for used, item in enumerate(made(chunk[: limit - len(found)]), 1):
                found.append(item)
                total += sum(map(_length, memories(item)))
                if total > limits.PAGE_BYTES or len(found) == limit:
                    return found, used < len(chunk) or rows.fetchone() is not None
    return found, False


def _length(memory: Memory | None) -> int:
    """Characters of a memory's text and sources. Metadata has at most 16 KiB and is not counted."""
    return len(memory.text) + sum(len(source.content) for source in memory.sources) if memory else 0
