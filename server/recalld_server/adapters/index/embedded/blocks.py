"""Vectors and words in memory: the rows of a scope in blocks, under a bound in bytes.

A *strip* holds the rows of one scope from the first up to some row, in order; what lies beyond is read from the file.
Blocks are immutable but for `until`, which takes a deleted row out. New rows come as small blocks that are merged as a
binary counter is: each row is copied a few times at most, and a strip has few blocks.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from recalld_server.adapters.index.embedded.postings import Postings
from recalld_server.domain.vectors import FloatMatrix, Int64Array

BLOCK = (
    4096  # rows of a full block: in smaller ones a search spends its time between blocks, larger ones cost more to make
)
SHARE = 0.75  # of the bound for one strip, so that a search of a whole project leaves room for the users' strips
DISCARDS = 256  # remembered; a reader that began before the oldest of them keeps nothing of what it read
STRING = 57  # bytes of a str and its place in a tuple, beside its characters
FEW = 64  # dead rows that are never worth reading the others anew
HEAD = 1024  # bytes of a block's objects
NEVER = np.iinfo(np.int64).max
DEAD = np.iinfo(np.int64).min

Key = tuple[int, str, str]  # space, field of the narrowest id, the id


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of one scope by row number.

    `until`: usable while above the time, in µs. `owners` (n, 4): hashes of the ids in the order of SCOPE_FIELDS, from
    Python's own hash, whose 64 bits nobody outside the process can aim at. `vectors` (n, d) lie column by column: the
    product with a question's vector then takes half as long when they come from main memory.
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
        """Bytes, with what Python's objects cost beside their contents."""
        return self.vectors.nbytes + self.words.size + (48 + STRING) * len(self) + sum(map(len, self.ids)) + HEAD

    def without(self, rows: Iterable[int]) -> Block:
        """The block without some of its rows."""
        stays = ~np.isin(self.rows, np.fromiter(rows, np.int64))
        if stays.all():
            return self
        ids = tuple(id for id, kept in zip(self.ids, stays, strict=True) if kept)
        words = self.words.only(stays)
        return Block(
            self.rows[stays], self.until[stays], self.owners[stays], ids, words, columnwise(self.vectors[stays])
        )

    def joined(self, later: Block) -> Block:
        """This block followed by another of the same scope."""
        return Block(
            np.concatenate((self.rows, later.rows)),
            np.concatenate((self.until, later.until)),
            np.concatenate((self.owners, later.owners)),
            self.ids + later.ids,
            self.words.joined(later.words),
            columnwise(np.concatenate((self.vectors, later.vectors))),
        )


def columnwise(vectors: FloatMatrix) -> FloatMatrix:
    """The matrix as blocks keep it; copied if it lies otherwise."""
    return np.asfortranarray(vectors)


@dataclass(slots=True)
class Strip:
    """What is held of one scope: blocks in order, the last row they reach, their bytes, and how many rows are dead."""

    blocks: list[Block] = field(default_factory=list)
    last: int = 0
    size: int = 0
    dead: int = 0

    def append(self, block: Block) -> None:
        """Take a block of later rows, merged with the ones before while those are not much larger."""
        while self.blocks and len(self.blocks[-1]) <= min(2 * len(block), BLOCK - len(block)):
            before = self.blocks.pop()
            self.size -= before.size
            block = before.joined(block)
        self.blocks.append(block)
        self.size += block.size

    def kill(self, row: int) -> None:
        """Take a row out, if it is here."""
        for block in self.blocks:
            if block.rows[-1] >= row:
                at = int(np.searchsorted(block.rows, row))
                if block.rows[at] == row and block.until[at] != DEAD:
                    block.until[at] = DEAD
                    self.dead += 1
                return

    def shrink(self) -> int:
        """Let go of the last block. Returns its bytes."""
        block = self.blocks.pop()
        self.size -= block.size
        self.dead -= int(np.count_nonzero(block.until == DEAD))
        self.last = int(self.blocks[-1].rows[-1]) if self.blocks else 0
        return block.size


class Blocks:
    """The strips of many scopes, the least recently used cut from their ends when the bound is reached.

    Many threads read and one at a time deletes. What a reader read in a transaction may be older than what was deleted
    since: it takes `version` before it begins, and `extend` leaves out what was discarded after that.
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
        """Bytes held."""
        return self._size

    @property
    def version(self) -> int:
        """How many times rows were discarded."""
        return self._version

    def view(self, key: Key) -> tuple[Sequence[Block], int]:
        """The blocks of a scope and the last row they reach; later rows are in the file only."""
        with self._lock:
            strip = self._strips.get(key)
            if strip is None:
                return (), 0
            self._strips.move_to_end(key)
            return tuple(strip.blocks), strip.last

    def extend(self, key: Key, after: int, block: Block, version: int) -> bool:
        """Keep rows of a scope, the very next ones after row `after`. False if they were not kept."""
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
        """Take rows out of the strips they may lie in, after the deletion was committed."""
        with self._lock:
            self._version += 1
            self._discards.append((self._version, frozenset(row for row, _ in dead)))
            for row, keys in dead:
                for key in keys:
                    if strip := self._strips.get(key):
                        strip.kill(row)
                        if strip.dead > max(FEW, sum(map(len, strip.blocks)) // 2):
                            # Mostly dead rows: the next search reads the living ones anew.
                            self._size -= self._strips.pop(key).size

    def clear(self) -> None:
        """Hold nothing."""
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
