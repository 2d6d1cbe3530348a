"""Limits calls per second with one token bucket per caller."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import TypeVar

T = TypeVar("T")

REMEMBERED = 10_000  # buckets kept; the least recently used one is evicted


@dataclass(slots=True)
class TokenBucket:
    """The tokens `left` at the time `at` (monotonic seconds). A bucket holds at most the tokens of one second."""

    left: float
    at: float


class RateLimiter:
    """Allows `rate` calls per second to each caller; with rate 0, any number."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, who: str) -> bool:
        """Take a token of a caller; return False if there is none."""
        if not self._rate:
            return True
        now, most = monotonic(), max(1.0, self._rate)
        bucket = self._buckets.setdefault(who, TokenBucket(most, now))
        bucket.left = min(most, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        self._buckets.move_to_end(who)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True


def count_down(counter: Counter[T], name: T) -> None:
    """One less of a name; without any it takes no memory."""
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
