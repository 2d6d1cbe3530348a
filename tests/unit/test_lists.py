"""Lists as one parameter: what they find, by index, at any length. The contract suites ask them of PostgreSQL."""

from __future__ import annotations

import pytest
import sqlean
from sqlalchemy import Column, Integer, MetaData, Table, Text, create_engine, insert, select
from sqlalchemy.pool import StaticPool

from recalld_server.adapters.sql.lists import listed, paired

t = Table("t", MetaData(), Column("a", Text, primary_key=True), Column("n", Integer, primary_key=True))
TEXTS = ["a", 'quote "', "comma,", "Straße", "日本\U0001f30d", "back\\slash"]
ONE = select(t.c.a).where(listed(t.c.a, "texts"), listed(t.c.n, "numbers")).order_by(t.c.a)
TWO = select(t.c.a, t.c.n).where(paired(t.c.a, t.c.n, "pairs"))


@pytest.fixture
def connection():
    engine = create_engine("sqlite://", module=sqlean.dbapi2, poolclass=StaticPool)
    with engine.connect() as connection:
        t.metadata.create_all(connection)
        connection.execute(insert(t), [{"a": text, "n": n} for text in TEXTS for n in (1, 2)])
        yield connection
    engine.dispose()


@pytest.mark.parametrize("texts", [[], TEXTS[:1], TEXTS, [*TEXTS, "nobody"], [f"x{i}" for i in range(40_000)]])
def test_what_is_in_the_list_is_found(connection, texts) -> None:
    found = connection.execute(ONE, {"texts": texts, "numbers": [2, 3]}).scalars().all()
    assert found == sorted(set(texts) & set(TEXTS))
    pairs = [(text, 1) for text in texts] + [("a", 3)]
    assert set(connection.execute(TWO, {"pairs": pairs}).all()) == {(text, 1) for text in found}


@pytest.mark.parametrize(("statement", "columns"), [(ONE, "a=? AND n=?"), (TWO, "a=? AND n=?")])
def test_an_index_finds_it_and_its_length_is_not_in_the_statement(connection, statement, columns) -> None:
    sql = str(statement.compile(dialect=connection.dialect))
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", ("[]",) * sql.count("?")).all()
    assert any(f"sqlite_autoindex_t_1 ({columns})" in row.detail for row in plan), plan
