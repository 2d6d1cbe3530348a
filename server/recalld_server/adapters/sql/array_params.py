"""SQL conditions that pass a list of any length as one bound parameter.

`IN` with one parameter per value gives a different statement text for every length. SQLAlchemy must compile each text,
which often takes longer than running it, and PostgreSQL must plan it. Drivers limit the number of parameters, and
SQLite looks up each parameter name among all the others. With one parameter the text never changes and the cost is
linear.

A list argument is either the name of the bound parameter or the values themselves. The values have the type of the
column (text or numbers) and are never NULL.
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
    """The column equals one of the values. Use it where an index on the column finds the rows."""
    return _Listed(column, _parameter(values, _Array(_item(column))))


def among(column: ColumnElement[Any], values: str | Collection[Any]) -> ColumnElement[bool]:
    """Like `in_list`, but for a column that is checked in every row: the check costs the same for any list length."""
    return _Among(column, _parameter(values, _Array(_item(column))))


def in_pairs(
    text: ColumnElement[Any], other: ColumnElement[Any], pairs: str | Collection[tuple[str, str] | tuple[str, int]]
) -> ColumnElement[bool]:
    """The two columns together equal one of the pairs. `text` is a text column, `other` a text or an integer column."""
    return _Paired(text, other, _parameter(pairs, _Json()))


def _parameter(values: str | Collection[Any], kind: TypeEngine[Any]) -> BindParameter[Any]:
    if isinstance(values, str):
        return bindparam(values, type_=kind)
    return bindparam(None, list(values), type_=kind, unique=True)


def _item(column: ColumnElement[Any]) -> type[TypeEngine[Any]]:
    return next((kind for kind in (BigInteger, Integer, Float) if isinstance(column.type, kind)), Text)


class _Json(TypeDecorator[Sequence[Any]]):
    """Binds a list as JSON text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        return json.dumps(value)


class _Array(_Json):
    """Binds a list as an array on PostgreSQL and as JSON on SQLite, which has no arrays."""

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
        """Return self, so that SQLAlchemy does not append "= 1" on SQLite, which would prevent the use of an index."""
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


# The f-strings below contain only our own column names and parameter names, so S608 does not apply.


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
    """PostgreSQL hashes the subquery once. With a generic plan it would scan an array from its start for every row."""
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
