"""In-memory cache of vectors and terms: the rows of a scope in blocks, with a limit in bytes.

A *strip* holds the first rows of one scope, in order; later rows are read from the file. Blocks are immutable except
for `until`, which marks deleted rows. New rows arrive as small blocks that are merged like the digits of a binary
counter, so each row is copied only a few times and a strip has few blocks.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from recalld_server.adapters.index.embedded.postings import Postings
from recalld_server.domain.vectors import FloatMatrix, Int64Array

BLOCK = 4096  # rows of a full block: smaller blocks have more overhead in a search, larger ones cost more to build
SHARE = 0.75  # largest share of the limit for one strip, so that a search of a whole project leaves room for others
DISCARDS = 256  # deletions remembered; a reader that began before the oldest of them adds nothing to the cache
STRING = 57  # bytes of a str object and its reference in a tuple, without the characters
FEW = 64  # dead rows that a strip may always have; with fewer it is never reread
HEAD = 1024  # overhead of a block's objects, bytes
NEVER = np.iinfo(np.int64).max
DEAD = np.iinfo(np.int64).min

Key = tuple[int, str, str]  # space, name of the narrowest scope field, its id


@dataclass(frozen=True, slots=True)
class Block:
    """n rows of one scope, ordered by row number.

    `until` (n,): the expiry time in µs (NEVER without one, DEAD for deleted rows). `owners` (n, 4): hashes of the scope
    ids in the order of SCOPE_FIELDS, from Python's 64-bit hash, which is seeded per process, so that nobody outside can
    construct collisions. `vectors` (n, d) is column-major: the product with a query vector then takes half as long when
    the vectors come from main memory.
    """

    rows: Int64Array
    until: Int64Array
    owners: Int64Array
    ids: tuple[str, ...]
    words: Postings
    vectors: FloatMatrix

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def size(self) -> int:
        """Size in bytes, including the overhead of Python objects."""
        return self.vectors.nbytes + self.words.size + (48 + STRING) * len(self) + sum(map(len, self.ids)) + HEAD

    def without(self, rows: Iterable[int]) -> Block:
        """The block without the rows that have these numbers."""
        stays = ~np.isin(self.rows, np.fromiter(rows, np.int64))
        if stays.all():
            return self
        ids = tuple(id for id, kept in zip(self.ids, stays, strict=True) if kept)
        words = self.words.only(stays)
        return Block(
            self.rows[stays], self.until[stays], self.owners[stays], ids, words, columnwise(self.vectors[stays])
        )

    def joined(self, later: Block) -> Block:
        """This block followed by a later block of the same scope."""
        return Block(
            np.concatenate((self.rows, later.rows)),
            np.concatenate((self.until, later.until)),
            np.concatenate((self.owners, later.owners)),
            self.ids + later.ids,
            self.words.joined(later.words),
            columnwise(np.concatenate((self.vectors, later.vectors))),
        )


def columnwise(vectors: FloatMatrix) -> FloatMatrix:
    """The matrix in column-major order; copies it if it has another order."""
    return np.asfortranarray(vectors)


@dataclass(slots=True)
class Strip:
    """The cached rows of one scope.

    `blocks` in order, the `last` row number that they cover, their `size` in bytes, and the number of `dead` rows.
    """

    blocks: list[Block] = field(default_factory=list)
    last: int = 0
    size: int = 0
    dead: int = 0

    def append(self, block: Block) -> None:
        """Append a block of later rows. Merges it with the blocks before it while those are not much larger."""
        while self.blocks and len(self.blocks[-1]) <= min(2 * len(block), BLOCK - len(block)):
            before = self.blocks.pop()
            self.size -= before.size
            block = before.joined(block)
        self.blocks.append(block)
        self.size += block.size

    def kill(self, row: int) -> None:
        """Mark a row as deleted, if the strip has it."""
        for block in self.blocks:
            if block.rows[-1] >= row:
                at = int(np.searchsorted(block.rows, row))
                if block.rows[at] == row and block.until[at] != DEAD:
                    block.until[at] = DEAD
                    self.dead += 1
                return

    def shrink(self) -> int:
        """Drop the last block. Returns its size in bytes."""
        block = self.blocks.pop()
        self.size -= block.size
        self.dead -= int(np.count_nonzero(block.until == DEAD))
        self.last = int(self.blocks[-1].rows[-1]) if self.blocks else 0
        return block.size


class Blocks:
    """The strips of many scopes. Above the limit, the least recently used strips lose blocks from their ends.

    Thread-safe. A reader's snapshot may be older than a deletion. So a reader notes `version` before its transaction,
    and `extend` leaves out rows that were discarded after that.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._strips: OrderedDict[Key, Strip] = OrderedDict()
        self._size = 0
        self._lock = Lock()
        self._version = 0
        self._discards: deque[tuple[int, frozenset[int]]] = deque(maxlen=DISCARDS)

    @property
    def size(self) -> int:
        """Size of all strips in bytes."""
        return self._size

    @property
    def version(self) -> int:
        """The number of calls of `discard` so far."""
        return self._version

    def view(self, key: Key) -> tuple[Sequence[Block], int]:
        """The cached blocks of a scope and the last row number they cover; later rows are only in the file."""
        with self._lock:
            strip = self._strips.get(key)
            if strip is None:
                return (), 0
            self._strips.move_to_end(key)
            return tuple(strip.blocks), strip.last

    def extend(self, key: Key, after: int, block: Block, version: int) -> bool:
        """Cache the rows of a scope that directly follow row `after`. Returns False if they were not cached."""
        last = int(block.rows[-1])
        with self._lock:
            strip = self._strips.get(key) or Strip()
            if strip.last != after or strip.size + block.size > self._capacity * SHARE:
                return False
            if version < self._version:
                if self._discards[0][0] > version + 1:
                    return False
                block = block.without({row for at, rows in self._discards if at > version for row in rows})
            if not len(block):
                return False
            before = strip.size
            strip.append(block)
            strip.last = last
            self._size += strip.size - before
            self._strips[key] = strip
            self._strips.move_to_end(key)
            self._evict()
            return True

    def discard(self, dead: Sequence[tuple[int, Sequence[Key]]]) -> None:
        """Mark rows as deleted in the strips that may hold them. Call it after the deletion was committed."""
        with self._lock:
            self._version += 1
            self._discards.append((self._version, frozenset(row for row, _ in dead)))
            for row, keys in dead:
                for key in keys:
                    if strip := self._strips.get(key):
                        strip.kill(row)
                        if strip.dead > max(FEW, sum(map(len, strip.blocks)) // 2):
                            # More dead than live rows: drop the strip, and the next search rereads the live ones.
                            self._size -= self._strips.pop(key).size

    def clear(self) -> None:
        """Drop all strips."""
        with self._lock:
            self._strips.clear()
            self._size = 0

    def _evict(self) -> None:
        while self._size > self._capacity and self._strips:
            oldest = next(iter(self._strips))
            strip = self._strips[oldest]
            self._size -= strip.shrink()
            if not strip.blocks:
                del self._strips[oldest]
