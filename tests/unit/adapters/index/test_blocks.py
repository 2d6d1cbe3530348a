"""Vectors in memory: order, bounds, and deletions during reads."""

from __future__ import annotations

import numpy as np
import pytest

from recalld_server.adapters.index.embedded.blocks import BLOCK, DEAD, NEVER, SHARE, Block, Blocks, Key
from recalld_server.adapters.index.embedded.postings import Postings

ALICE: Key = (1, "user_id", "alice")
BOB: Key = (1, "user_id", "bob")
ROOMY = 2**24


def block(*rows: int) -> Block:
    numbers = np.array(rows, np.int64)
    until = np.full(len(rows), NEVER, np.int64)
    words = Postings.of([np.array([7, row], np.uint32) for row in rows])
    vectors = numbers[:, None].astype(np.float32) * np.ones(8, np.float32)
    return Block(numbers, until, np.zeros((len(rows), 4), np.int64), tuple(f"m{row}" for row in rows), words, vectors)


def alive(blocks: Blocks, key: Key = ALICE) -> list[int]:
    """The rows a search would see, after checking that everything beside them belongs to them."""
    found: list[int] = []
    for held in blocks.view(key)[0]:
        assert held.ids == tuple(f"m{row}" for row in held.rows)
        assert np.array_equal(held.vectors[:, 0], held.rows)
        asked = np.unique(np.append(held.rows, 7)).astype(np.uint32)
        rows, counts = held.words.counts(asked)
        assert np.array_equal(rows, np.arange(len(held)))
        assert np.array_equal(counts, (held.rows[:, None] == asked).astype(int) + (asked == 7))
        assert len(held) <= BLOCK
        found.extend(held.rows[held.until != DEAD].tolist())
    return found


def actual_size(blocks: Blocks, *keys: Key) -> int:
    return sum(held.size for key in keys for held in blocks.view(key)[0])


def test_rows_are_kept_in_order_in_few_blocks() -> None:
    blocks = Blocks(ROOMY)
    for row in range(1, 3001):
        assert blocks.extend(ALICE, row - 1, block(row), blocks.version)
    assert alive(blocks) == list(range(1, 3001))
    assert blocks.view(ALICE)[1] == 3000
    assert len(blocks.view(ALICE)[0]) < 20
    assert blocks.size == actual_size(blocks, ALICE)


def test_only_the_very_next_rows_are_kept() -> None:
    blocks = Blocks(ROOMY)
    assert not blocks.extend(ALICE, 5, block(6), 0)
    assert blocks.extend(ALICE, 0, block(2, 5), 0)
    assert not blocks.extend(ALICE, 0, block(2, 5), 0)  # another reader was first
    assert not blocks.extend(ALICE, 2, block(5), 0)
    assert blocks.extend(ALICE, 5, block(9), 0)
    assert alive(blocks) == [2, 5, 9]


def test_a_view_is_not_changed_by_what_is_added() -> None:
    blocks = Blocks(ROOMY)
    blocks.extend(ALICE, 0, block(1, 2), 0)
    before, last = blocks.view(ALICE)
    blocks.extend(ALICE, 2, block(3, 4), 0)
    assert (sum(map(len, before)), last) == (2, 2)


def test_deleted_rows_are_dead_in_every_scope_they_lie_in() -> None:
    blocks = Blocks(ROOMY)
    project: Key = (1, "", "")
    for key in (ALICE, project):
        blocks.extend(key, 0, block(1, 2, 3), blocks.version)
    blocks.discard([(2, [ALICE, project, BOB]), (99, [ALICE])])
    assert alive(blocks) == alive(blocks, project) == [1, 3]
    assert alive(blocks, BOB) == []


def test_a_reader_from_before_a_deletion_does_not_bring_the_row_back() -> None:
    blocks = Blocks(ROOMY)
    version = blocks.version  # its transaction sees row 2
    blocks.discard([(2, [ALICE])])
    assert blocks.extend(ALICE, 0, block(1, 2, 3), version)
    assert alive(blocks) == [1, 3]
    assert blocks.view(ALICE)[1] == 3


def test_a_reader_from_before_too_many_deletions_keeps_nothing() -> None:
    blocks = Blocks(ROOMY)
    version = blocks.version
    blocks.discard([(2, [ALICE])])
    for row in range(1000, 2000):
        blocks.discard([(row, [BOB])])
    assert not blocks.extend(ALICE, 0, block(1, 2, 3), version)
    assert alive(blocks) == []
    assert blocks.extend(ALICE, 0, block(1, 3), blocks.version)


def test_a_read_of_nothing_but_deleted_rows_leaves_nothing() -> None:
    blocks = Blocks(ROOMY)
    blocks.discard([(1, [ALICE])])
    assert not blocks.extend(ALICE, 0, block(1), 0)
    assert (blocks.view(ALICE), blocks.size) == (((), 0), 0)


def test_a_scope_of_mostly_dead_rows_is_read_anew() -> None:
    blocks = Blocks(ROOMY)
    blocks.extend(ALICE, 0, block(*range(1, 501)), 0)
    for row in range(1, 251):
        blocks.discard([(row, [ALICE])])
    assert len(alive(blocks)) == 250
    blocks.discard([(251, [ALICE])])
    assert (blocks.view(ALICE), blocks.size) == (((), 0), 0)


def test_the_least_recently_used_scope_gives_way_from_its_end() -> None:
    one = block(*range(1, BLOCK + 1)).size
    blocks = Blocks(int(one * 4.2))
    for at in range(3):
        assert blocks.extend(ALICE, at * BLOCK, block(*range(at * BLOCK + 1, (at + 1) * BLOCK + 1)), 0)
    assert blocks.extend(BOB, 0, block(*range(1, BLOCK + 1)), 0)
    assert blocks.extend(BOB, BLOCK, block(*range(BLOCK + 1, 2 * BLOCK + 1)), 0)
    assert alive(blocks) == list(range(1, 2 * BLOCK + 1))
    assert blocks.view(ALICE)[1] == 2 * BLOCK
    assert alive(blocks, BOB) == list(range(1, 2 * BLOCK + 1))
    assert blocks.size == actual_size(blocks, ALICE, BOB)
    assert blocks.extend(ALICE, 2 * BLOCK, block(5000), 0)  # goes on where it was cut


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_the_bound_holds_and_no_scope_takes_all(rows: int) -> None:
    blocks = Blocks(200_000)
    for number in range(500):
        key: Key = (1, "user_id", f"user{number}")
        blocks.extend(key, 0, block(*range(1, rows + 1)), 0)
        blocks.extend(ALICE, blocks.view(ALICE)[1], block(number * rows + 1), 0)
        assert blocks.size <= 200_000
        assert actual_size(blocks, ALICE) <= 200_000 * SHARE
    assert blocks.size > 100_000


def test_without_room_nothing_is_kept() -> None:
    blocks = Blocks(0)
    assert not blocks.extend(ALICE, 0, block(1), 0)
    assert blocks.view(ALICE) == ((), 0)
