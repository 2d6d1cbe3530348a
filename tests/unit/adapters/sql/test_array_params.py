"""Lists as one SQL parameter: results, use of indexes, any length. The contract suites test them on PostgreSQL."""

from __future__ import annotations

import random
import struct

import pytest
import sqlean
from sqlalchemy import BigInteger, Column, Float, Integer, MetaData, Table, Text, create_engine, func, insert, select
from sqlalchemy.pool import StaticPool

from recalld_server.adapters.sql.array_params import among, in_list, in_pairs

METADATA = MetaData()
t = Table("t", METADATA, Column("a", Text, primary_key=True), Column("n", Integer, primary_key=True))
numbers = Table("numbers", METADATA, Column("real", Float), Column("time", BigInteger))
TEXTS = ["a", 'quote "', "comma,", "Straße", "日本\U0001f30d", "back\\slash"]
ONE = select(t.c.a).where(in_list(t.c.a, "texts"), in_list(t.c.n, "numbers")).order_by(t.c.a)
TWO = select(t.c.a, t.c.n).where(in_pairs(t.c.a, t.c.n, "pairs"))


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


def test_values_may_be_given_in_place_of_a_name(connection) -> None:
    found = select(t.c.a).where(among(t.c.a, TEXTS[:2]), in_list(t.c.n, {2}), in_pairs(t.c.a, t.c.n, [(TEXTS[0], 2)]))
    assert connection.execute(found).scalars().all() == [TEXTS[0]]
    assert connection.execute(select(t.c.a).where(~among(t.c.a, TEXTS), t.c.n == 1)).all() == []


def test_numbers_are_found_to_the_last_bit(connection) -> None:
    """They go there as decimals and are compared with what was stored as it is."""
    chance = random.Random(7)
    doubles = [
        *struct.unpack("<5000d", chance.randbytes(40_000)),
        5e-324,
        1.7976931348623157e308,
        2.0**53 + 2,
        0.1 + 0.2,
    ]
    doubles = [value for value in doubles if value == value and abs(value) != float("inf")]
    times = [chance.randrange(-(2**62), 2**62) for _ in doubles]
    connection.execute(insert(numbers), [{"real": a, "time": b} for a, b in zip(doubles, times, strict=True)])
    count = select(func.count()).select_from(numbers)
    assert connection.execute(count.where(among(numbers.c.real, doubles))).scalar_one() == len(doubles)
    assert connection.execute(count.where(among(numbers.c.time, times))).scalar_one() == len(doubles)
    assert connection.execute(count.where(among(numbers.c.time, [n + 1 for n in times]))).scalar_one() == 0
