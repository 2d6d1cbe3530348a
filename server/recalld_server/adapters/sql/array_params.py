"""Conditions on a list that is a single parameter, however long it is.

`IN` with a parameter for each value is another statement for each length: it is written anew each time, which takes
longer than many of them run, and PostgreSQL plans it anew. Drivers also bound how many parameters there may be, and
SQLite looks each name up among all of them. Here the text is always the same, and the cost is linear.

A list is the name of the parameter that will hold it, or the values themselves. Its values are texts or numbers,
whichever the column holds; none is NULL.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    Boolean,
    ColumnElement,
    Dialect,
    Float,
    Integer,
    Text,
    bindparam,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


def in_list(column: ColumnElement[Any], values: str | Collection[Any]) -> ColumnElement[bool]:
    """The column is one of the values; its index finds them."""
    return _Listed(column, _parameter(values, _Array(_item(column))))


def among(column: ColumnElement[Any], values: str | Collection[Any]) -> ColumnElement[bool]:
    """As `listed`, for a column that is looked at in every row: each time it costs the same, however many there are."""
    return _Among(column, _parameter(values, _Array(_item(column))))


def in_pairs(
    text: ColumnElement[Any], other: ColumnElement[Any], pairs: str | Collection[tuple[str, str] | tuple[str, int]]
) -> ColumnElement[bool]:
    """The columns, of a text and of a text or an integer, are together one of the pairs."""
    return _Paired(text, other, _parameter(pairs, _Json()))


def _parameter(values: str | Collection[Any], kind: TypeEngine[Any]) -> BindParameter[Any]:
    if isinstance(values, str):
        return bindparam(values, type_=kind)
    return bindparam(None, list(values), type_=kind, unique=True)


def _item(column: ColumnElement[Any]) -> type[TypeEngine[Any]]:
    return next((kind for kind in (BigInteger, Integer, Float) if isinstance(column.type, kind)), Text)


class _Json(TypeDecorator[Sequence[Any]]):
    """A list as JSON."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        return json.dumps(value)


class _Array(_Json):
    """An array in PostgreSQL, JSON in SQLite, which has no arrays."""

    cache_ok = True

    def __init__(self, item: type[TypeEngine[Any]]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        of: TypeEngine[Any] = ARRAY(self.item) if dialect.name == "postgresql" else Text()
        return dialect.type_descriptor(of)

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        return value if dialect.name == "postgresql" else super().process_bind_param(value, dialect)


class _Condition(FunctionElement[bool]):
    type = Boolean()

    def self_group(self, against: Any = None) -> _Condition:
        """As it stands: compared with 1, as other booleans are on SQLite, no index would be used."""
        return self


class _Listed(_Condition):
    name = "listed"
    inherit_cache = True


class _Among(_Condition):
    name = "among"
    inherit_cache = True


class _Paired(_Condition):
    name = "paired"
    inherit_cache = True


# What is put together below are columns of ours and the names of parameters.


@compiles(_Listed, "sqlite")
@compiles(_Among, "sqlite")
def _listed_sqlite(element: _Listed | _Among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608


@compiles(_Listed, "postgresql")
def _listed_postgresql(element: _Listed, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({values})"


@compiles(_Among, "postgresql")
def _among_postgresql(element: _Among, compiler: SQLCompiler, **options: Any) -> str:
    """A subquery is hashed once; an array is searched from its beginning for each row where the plan is generic."""
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT unnest({values}))"


@compiles(_Paired, "sqlite")
def _paired_sqlite(element: _Paired, compiler: SQLCompiler, **options: Any) -> str:
    text, other, pairs = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({text}, {other}) IN (SELECT value ->> 0, value ->> 1 FROM json_each({pairs}))"  # noqa: S608


@compiles(_Paired, "postgresql")
def _paired_postgresql(element: _Paired, compiler: SQLCompiler, **options: Any) -> str:
    text, other, pairs = (compiler.process(clause, **options) for clause in element.clauses)
    second = "CAST(pair ->> 1 AS integer)" if isinstance(list(element.clauses)[1].type, Integer) else "pair ->> 1"
    each = f"jsonb_array_elements(CAST({pairs} AS jsonb)) AS pair"
    return f"({text}, {other}) IN (SELECT pair ->> 0, {second} FROM {each})"  # noqa: S608
