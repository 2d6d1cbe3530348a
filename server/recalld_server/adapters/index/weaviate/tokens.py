"""Opaque tokens for the keyword leg: one for each combination of a term and an id of the scope.

Weaviate's tokeniser sees neither texts nor ids, so none of its rules can merge two of them. A query inside a user reads
only the postings of that user.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from recalld_server.domain.memory import Scope
from recalld_server.domain.vectors import UInt32Array

NARROWEST = ("run_id", "user_id", "agent_id", "app_id")  # in the order of preference: typically fewest memories first
Owner = tuple[str, str]  # scope field and id; two empty strings for the whole project


def document(scope: Scope, terms: UInt32Array) -> str:
    """The tokens of an entry, separated by spaces: each term, with repeats, for the project and for each scope id."""
    return " ".join(token for owner in (("", ""), *scope.items()) for token in tokens(owner, terms))


def tokens(owner: Owner, terms: UInt32Array) -> Iterable[str]:
    """One token per term: the letter k and a hexadecimal hash of 64 bits."""
    prefix = blake2b("\0".join(owner).encode(), digest_size=16).digest()
    words = terms.astype("<u4").tobytes()
    for at in range(0, len(words), 4):
        yield "k" + blake2b(prefix + words[at : at + 4], digest_size=8).hexdigest()


def narrowest(scope: Scope) -> Owner:
    """The narrowest id of a scope; see NARROWEST."""
    return next(((name, value) for name in NARROWEST if (value := getattr(scope, name))), ("", ""))


def question(scope: Scope, terms: UInt32Array) -> list[str]:
    """The distinct tokens of a query."""
    return list(tokens(narrowest(scope), np.unique(terms)))
