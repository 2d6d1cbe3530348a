"""The keyword leg's words: opaque tokens, one for each term and id of an entry.

The engine's tokeniser then sees neither texts nor ids, so none of its rules can make two of them one, and a question
asked inside a user reads only the postings of that user.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np

from recalld_server.domain.memory import Scope
from recalld_server.domain.vectors import UInt32Array

NARROWEST = ("run_id", "user_id", "agent_id", "app_id")  # the id with the fewest memories is asked first
Owner = tuple[str, str]  # field and id; two empty strings for the project as a whole


def document(scope: Scope, terms: UInt32Array) -> str:
    """The tokens of an entry: each term, with repeats, once plain and once for each id."""
    return " ".join(token for owner in (("", ""), *scope.items()) for token in tokens(owner, terms))


def tokens(owner: Owner, terms: UInt32Array) -> Iterable[str]:
    """A token for each term: 64 bits of a hash in hexadecimal, led by a letter."""
    prefix = blake2b("\0".join(owner).encode(), digest_size=16).digest()
    words = terms.astype("<u4").tobytes()
    for at in range(0, len(words), 4):
        yield "k" + blake2b(prefix + words[at : at + 4], digest_size=8).hexdigest()


def narrowest(scope: Scope) -> Owner:
    """The id of a scope that leaves the least to search."""
    return next(((name, value) for name in NARROWEST if (value := getattr(scope, name))), ("", ""))


def question(scope: Scope, terms: UInt32Array) -> list[str]:
    """The distinct tokens to look for."""
    return list(tokens(narrowest(scope), np.unique(terms)))
