"""Compiles filters to SQL, for both the ledger and the embedded index.

Ids, text and times are columns of the memory's row. Categories and metadata, which can have many elements, are
*facets*: rows of a child table, one per element, tested with EXISTS. Every expression here is true or false, never
NULL, so that NOT has the meaning that `domain.filters.matches` defines. All values are bound parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, Integer, Text, and_, exists, false, literal, not_, or_, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from recalld_server.adapters.sql.array_params import among
from recalld_server.domain.filters import (
    METADATA,
    OPTIONAL_TIMES,
    ORDER,
    SUBSTRING,
    TIME_FIELDS,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Instant,
    NoneOf,
    Operator,
    Scalar,
    kind_of,
    scalars,
)
from recalld_server.domain.folding import loose
from recalld_server.domain.memory import Memory


@dataclass(frozen=True, slots=True)
class Facet:
    """One element of a memory under `key`, which is the filter field: "categories" or "metadata.<key>".

    kind  holds                                    columns
    s     a string                                 text, folded
    n     a number                                 number
    b     a bool                                   number: 0 or 1
    x     no element, but something is there       none
    """

    key: str
    kind: str
    text: str | None = None
    folded: str | None = None
    number: float | None = None


def facets(memory: Memory) -> list[Facet]:
    """The distinct facet rows of a memory. The child table must hold exactly these for compiled filters to be right."""
    found = dict.fromkeys(_facet("categories", category) for category in memory.categories)
    for key, value in memory.metadata.items():
        elements = scalars(value)
        found |= dict.fromkeys(_facet(METADATA + key, element) for element in elements)
        if value is not None and not elements:
            found[Facet(METADATA + key, "x")] = None
    return list(found)


def _facet(key: str, element: str | float | bool) -> Facet:
    if isinstance(element, str):
        return Facet(key, "s", element, loose(element))
    return Facet(key, "b" if isinstance(element, bool) else "n", number=float(element))


class FilterCompiler:
    """Compiles valid filters to conditions on a pair of tables: memories and their facets.

    `columns` maps user_id, agent_id, app_id, run_id, id, text, folded (the `loose` form of the text) and TIME_FIELDS to
    columns of the memory's row. An absent id is the empty string; only OPTIONAL_TIMES may be NULL.
    `facets` has the columns of `Facet`. `join` is the condition that a facet belongs to the memory's row.
    """

    def __init__(
        self, columns: Mapping[str, ColumnElement[Any]], facets: FromClause, join: ColumnElement[bool]
    ) -> None:
        self._columns = columns
        self._facets = facets
        self._join = join

    def compile(self, condition: Filter) -> ColumnElement[bool]:
        """The filter as a condition for the WHERE clause of a statement that selects from the memories' table."""
        match condition:
            case AllOf(filters):
                return and_(true(), *(self.compile(inner) for inner in filters))
            case AnyOf(filters):
                return self._any(filters)
            case NoneOf(inner):
                return not_(self.compile(inner))
            case Comparison(field, Operator.NE, value):
                return not_(self.compile(Comparison(field, Operator.EQ, value)))
            case Comparison(field, Operator.EXISTS, value):
                return self._present(field) if value else not_(self._present(field))
            case Comparison(field, operator, value):
                values = value if isinstance(value, tuple) else (value,)
                if field in self._columns:
                    return self._column(field, operator, values)
                return self._some_facet(field, _element(self._facets, operator, values))

    def _any(self, filters: Iterable[Filter]) -> ColumnElement[bool]:
        """Combine all facet comparisons in one subquery, so that the facets of a row are read once, not per leaf."""
        elsewhere: list[ColumnElement[bool]] = []
        asked: list[ColumnElement[bool]] = []
        for inner in filters:
            match inner:
                case Comparison(field, operator, value) if field not in self._columns and operator not in (
                    Operator.NE,
                    Operator.EXISTS,
                ):
                    values = value if isinstance(value, tuple) else (value,)
                    asked.append(and_(self._facets.c.key == field, _element(self._facets, operator, values)))
                case _:
                    elsewhere.append(self.compile(inner))
        return or_(false(), *elsewhere, *([self._some(or_(*asked))] if asked else ()))

    def _present(self, field: str) -> ColumnElement[bool]:
        if field in OPTIONAL_TIMES:
            return self._columns[field].is_not(None)
        if field in self._columns:
            return self._columns[field] != ""
        return self._some_facet(field, true())

    def _column(self, field: str, operator: Operator, values: tuple[Scalar, ...]) -> ColumnElement[bool]:
        column = self._columns[field]
        if field not in TIME_FIELDS:
            return _text(column, self._columns.get("folded", column), operator, [str(value) for value in values])
        moments = [value.micros for value in values if isinstance(value, Instant)]
        holds = _compare(column, operator, moments)
        return and_(column.is_not(None), holds) if field in OPTIONAL_TIMES else holds

    def _some_facet(self, key: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        return self._some(and_(self._facets.c.key == key, condition))

    def _some(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        rows = exists(literal(1)).select_from(self._facets).where(self._join, condition)
        return rows.correlate_except(self._facets)


def _element(facets: FromClause, operator: Operator, values: Iterable[Scalar]) -> ColumnElement[bool]:
    """The condition that a facet row satisfies the comparison. Values are grouped by type: types never compare."""
    columns = facets.c
    groups: dict[str, list[Any]] = {}
    for value in values:
        groups.setdefault(kind_of(value), []).append(value)
    holds: list[ColumnElement[bool]] = []
    if strings := groups.get("string"):
        holds.append(and_(columns.kind == "s", _text(columns.text, columns.folded, operator, strings)))
    for letter, name in (("n", "number"), ("b", "bool")):
        if numbers := [float(value) for value in groups.get(name, ())]:
            holds.append(and_(columns.kind == letter, _compare(columns.number, operator, numbers)))
    return or_(false(), *holds)


def _text(
    text: ColumnElement[Any], folded: ColumnElement[Any], operator: Operator, values: list[str]
) -> ColumnElement[bool]:
    if operator not in SUBSTRING:
        # Equality compares bytes under every deterministic collation, and only the column's own collation can use its
        # index, so only the order operators need another collation.
        return _compare(CodePoints(text) if operator in ORDER else text, operator, values)
    if operator is Operator.CONTAINS:
        return Position(text, literal(values[0])) > 0
    return Position(folded, literal(loose(values[0]))) > 0


_COMPARE: dict[Operator, Callable[[ColumnElement[Any], Any], ColumnElement[bool]]] = {
    Operator.EQ: lambda column, value: column == value,
    Operator.GT: lambda column, value: column > value,
    Operator.GTE: lambda column, value: column >= value,
    Operator.LT: lambda column, value: column < value,
    Operator.LTE: lambda column, value: column <= value,
}


def _compare(column: ColumnElement[Any], operator: Operator, values: list[Any]) -> ColumnElement[bool]:
    return among(column, values) if operator is Operator.IN else _COMPARE[operator](column, values[0])


class Position(FunctionElement[int]):
    """The position of the second text in the first, from 1; 0 if it is not contained. An empty text is at 1."""

    type = Integer()
    inherit_cache = True


class CodePoints(FunctionElement[str]):
    """A text that compares by code point: the default of SQLite with UTF-8, collation "C" on PostgreSQL with UTF-8."""

    type = Text()
    inherit_cache = True


@compiles(Position)
def _instr(element: Position, compiler: SQLCompiler, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


@compiles(Position, "postgresql")
def _strpos(element: Position, compiler: SQLCompiler, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)})"


@compiles(CodePoints)
def _binary(element: CodePoints, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(element.clauses, **options)


@compiles(CodePoints, "postgresql")
def _collated(element: CodePoints, compiler: SQLCompiler, **options: Any) -> str:
    return f'({compiler.process(element.clauses, **options)} COLLATE "C")'
