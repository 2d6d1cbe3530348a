"""Random memories and filters, on which indexes and the reference implementation must agree."""

from __future__ import annotations

import random
from typing import Any

from recalld_server.domain.filters import OPTIONAL_TIMES, AllOf, AnyOf, Comparison, Filter, Instant, NoneOf, Operator
from recalld_server.domain.memory import Memory, Scope

NOW = 1_000_000
WORDS = ("tea", "Tea time", "STRASSE", "straße", "100%", "a_b", "")
TIMES = (1, NOW, NOW + 5)


def memory(rng: random.Random, number: int) -> Memory:
    """A memory with an id of its own and something of everything that filters are about."""
    values: tuple[Any, ...] = (*WORDS, 1, 1.0, 2.5, -3, True, False, None, [], ["tea", 1], [True, "x"], {"k": 1})
    keys = ("k", "a.b", 'q"')
    return Memory(
        id=f"m{number}",
        text=rng.choice(WORDS) or "text",
        scope=Scope(rng.choice(("", "alice", "bob")), rng.choice(("", "bot"))),
        metadata={key: rng.choice(values) for key in keys if rng.random() < 0.7},
        categories=tuple(rng.sample(("food", "Travel", "work"), rng.randrange(3))),
        create_time=rng.choice(TIMES),
        update_time=rng.choice(TIMES),
        **{name: rng.choice((None, *TIMES)) for name in OPTIONAL_TIMES},
        revision=1,
    )


FILTERED = ("user_id", "text", "categories", "times", *OPTIONAL_TIMES, "metadata.k", "metadata.a.b", 'metadata.q"')


def condition(rng: random.Random, depth: int = 0) -> Filter:
    """Any filter without violations, three levels deep at most."""
    shape = rng.randrange(8 if depth < 3 else 5)
    if shape == 5:
        return AllOf(tuple(condition(rng, depth + 1) for _ in range(rng.randrange(3))))
    if shape == 6:
        return AnyOf(tuple(condition(rng, depth + 1) for _ in range(rng.randrange(4))))
    if shape == 7:
        return NoneOf(condition(rng, depth + 1))
    order = (Operator.EQ, Operator.NE, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
    substring = (Operator.CONTAINS, Operator.ICONTAINS)
    field = rng.choice(FILTERED)
    if field == "user_id":
        return Comparison("user_id", rng.choice((Operator.EQ, Operator.NE)), rng.choice(("alice", "bob", "al")))
    if field == "text":
        return Comparison("text", rng.choice((Operator.EQ, *substring)), rng.choice(WORDS))
    if field == "categories":
        return Comparison("categories", rng.choice((*order[:2], *substring)), rng.choice(("food", "travel", "o")))
    if field in ("times", *OPTIONAL_TIMES):
        name = rng.choice(("create_time", "update_time")) if field == "times" else field
        return Comparison(name, rng.choice(order), Instant(rng.choice(TIMES)))
    if rng.random() < 0.3:
        return Comparison(field, Operator.EXISTS, rng.random() < 0.5)
    if rng.random() < 0.3:
        return Comparison(field, Operator.IN, ("tea", 1, True))
    value = rng.choice((*WORDS, 1, 2.5))
    return Comparison(field, rng.choice((*order, *substring) if isinstance(value, str) else order), value)
