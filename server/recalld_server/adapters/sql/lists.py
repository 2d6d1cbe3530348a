"""Conditions on a list that is a single parameter, however long it is.

`IN` with a parameter for each value is another statement for each length: it is written anew each time, which takes
longer than many of them run, and PostgreSQL plans it anew. Here the text is always the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ARRAY, Boolean, ColumnElement, Dialect, Integer, Text, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


def listed(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The column is one of the values bound as `name`: texts or integers, whichever the column holds; none is NULL."""
    item = Integer if isinstance(column.type, Integer) else Text
    return _Listed(column, bindparam(name, type_=_Array(item)))


def paired(text: ColumnElement[Any], other: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The columns, of a text and of a text or an integer, are together one of the pairs bound as `name`."""
    return _Paired(text, other, bindparam(name, type_=_Json()))


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


class _Paired(_Condition):
    name = "paired"
    inherit_cache = True


# What is put together below are columns of ours and the names of parameters.


@compiles(_Listed, "sqlite")
def _listed_sqlite(element: _Listed, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({values}))"  # noqa: S608


@compiles(_Listed, "postgresql")
def _listed_postgresql(element: _Listed, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({values})"


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
