"""Fair queues, in which lines take turns."""

from __future__ import annotations

from recalld_server.concurrency.fair_queue import FairQueue


def test_lines_take_turns_and_keep_their_order() -> None:
    queue: FairQueue[int] = FairQueue()
    for n in range(4):
        queue.put("much", n)
    queue.put("little", 10)
    queue.put("", 20)
    assert len(queue) == 6
    assert [queue.take() for _ in range(3)] == [("much", 0), ("little", 10), ("", 20)]
    queue.put("little", 11)  # its turn comes after those that wait
    assert [queue.take() for _ in range(5)] == [("much", 1), ("little", 11), ("much", 2), ("much", 3), None]
    assert len(queue) == 0


def test_a_line_that_is_not_allowed_keeps_its_turn() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.put("first", 1)
    queue.put("second", 2)
    assert queue.take(lambda line: line == "second") == ("second", 2)
    assert queue.take(lambda line: line == "second") is None
    assert queue.take() == ("first", 1)


def test_an_item_that_leaves_or_was_served_gives_its_line_s_turn_away() -> None:
    queue: FairQueue[int] = FairQueue()
    for line, item in (("first", 1), ("first", 2), ("second", 3), ("third", 4)):
        queue.put(line, item)
    queue.served("first", 1)
    assert (list(queue.of("first")), queue.first(), list(queue)) == ([2, 1], 3, [3, 4, 2, 1])
    queue.remove("first", 2)
    queue.remove("first", 2)
    queue.remove("second", 3)
    queue.remove("nowhere", 5)
    assert (len(queue), list(queue)) == (2, [4, 1])
