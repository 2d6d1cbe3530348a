"""Streams resume after interruptions, without duplicates, and are cancelled when closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

import recalld
from recalld import AsyncMemoryClient, MemoryClient, imports, resuming, watching
from recalld.errors import Details
from recalld.v1 import memory_pb2, memory_service_pb2
from recalld.v1.search_service_pb2 import Checkpoint, Done, StreamSearchResponse

QUICK = pytest.mark.parametrize("kind", ["blocking", "asyncio"])


def hit(number: int) -> StreamSearchResponse:
    found = memory_pb2.Hit(memory=memory_pb2.Memory(id=f"m{number}"), relevance=0.5)
    return StreamSearchResponse(hit=found, resume_token=f"t{number}")


def checkpoint(changed: bool) -> StreamSearchResponse:
    return StreamSearchResponse(checkpoint=Checkpoint(changed=changed), resume_token="c")


DONE = StreamSearchResponse(done=Done(hit_count=1, sequence=7, candidate_count=50))


def outage_count(*messages: StreamSearchResponse, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Any:
    """An answer that sends messages and then fails."""

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[StreamSearchResponse]:
        yield from messages
        context.abort(code, "gone")

    return answer


def collect(kind: str, target: str, **options: Any) -> tuple[list[str], Any]:
    """All hits of a stream, and its summary."""
    if kind == "blocking":
        with MemoryClient(target) as client, client.stream_search("q", **options) as stream:
            return [each["id"] for each in stream], stream.done

    async def run() -> tuple[list[str], Any]:
        async with AsyncMemoryClient(target) as client, client.stream_search("q", **options) as stream:
            return [each["id"] async for each in stream], stream.done

    return asyncio.run(run())


@QUICK
def test_a_stream_to_its_end(fake: Any, kind: str) -> None:
    fake.answers["StreamSearch"] = [iter([hit(1), checkpoint(False), hit(2), DONE])]
    ids, done = collect(kind, fake.target, user_id="alex", timeout=5)
    assert ids == ["m1", "m2"]
    assert (done.hit_count, done.sequence, done.changed, done.candidate_count) == (2, 7, False, 50)
    assert fake.asked[0].request.scope.user_id == "alex"
    assert 4 < fake.asked[0].seconds_left < 5.1


@QUICK
def test_a_broken_stream_goes_on_by_token(fake: Any, kind: str) -> None:
    fake.answers["StreamSearch"] = [outage_count(), outage_count(hit(1), hit(2)), outage_count(), iter([hit(3), DONE])]
    ids, done = collect(kind, fake.target)
    assert ids == ["m1", "m2", "m3"]
    assert done.hit_count == 3
    assert [each.request.resume_token for each in fake.asked] == ["", "", "t2", "t2"]
    assert len({each.metadata["x-correlation-id"] for each in fake.asked}) == 1


@QUICK
def test_hits_seen_before_a_change_are_dropped(fake: Any, kind: str) -> None:
    fake.answers["StreamSearch"] = [outage_count(hit(1), hit(2)), iter([checkpoint(True), hit(2), hit(3), DONE])]
    ids, done = collect(kind, fake.target)
    assert ids == ["m1", "m2", "m3"]
    assert done.changed


@QUICK
def test_a_stream_without_done_was_broken(fake: Any, kind: str) -> None:
    fake.answers["StreamSearch"] = [iter([hit(1)]), iter([hit(2), DONE])]
    assert collect(kind, fake.target)[0] == ["m1", "m2"]


@QUICK
@pytest.mark.parametrize(("first", "calls"), [(outage_count(hit(1)), 8), (outage_count(), 4)])
def test_resuming_ends_without_progress(
    fake: Any, kind: str, first: Any, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "LAST_PAUSE", 0.01)
    fake.answers["StreamSearch"] = [first] + [outage_count()] * 9
    with pytest.raises(recalld.Unavailable):
        collect(kind, fake.target)
    assert len(fake.asked) == calls


@QUICK
def test_other_errors_end_a_stream(fake: Any, kind: str) -> None:
    fake.answers["StreamSearch"] = [outage_count(hit(1), code=grpc.StatusCode.INVALID_ARGUMENT)]
    with pytest.raises(recalld.InvalidRequest):
        collect(kind, fake.target)


def endless(fake: Any) -> None:
    """Lets the server send hits until it is cancelled."""
    ended = threading.Event()

    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[StreamSearchResponse]:
        context.add_callback(ended.set)
        yield hit(1)
        assert ended.wait(10)  # a client that never cancels fails the test below
        fake.cancelled.set()

    fake.answers["StreamSearch"] = [answer]


@pytest.mark.parametrize("manner", ["close", "with", "dropped"])
def test_leaving_a_stream_cancels_the_call(fake: Any, manner: str) -> None:
    endless(fake)
    client = MemoryClient(fake.target)
    if manner == "dropped":
        for _ in client.stream_search("q"):
            break
    elif manner == "with":
        with client.stream_search("q") as stream:
            next(stream)
    else:
        stream = client.stream_search("q")
        next(stream)
        stream.close()
        assert list(stream) == []
        assert stream.done is None
    assert fake.cancelled.wait(5)
    client.close()


async def test_leaving_an_async_stream_cancels_the_call(fake: Any) -> None:
    endless(fake)
    async with AsyncMemoryClient(fake.target) as client:
        async with client.stream_search("q") as stream:
            assert (await anext(stream))["id"] == "m1"
        assert await asyncio.to_thread(fake.cancelled.wait, 5)
        endless(fake)
        fake.cancelled.clear()

        begun = asyncio.Event()

        async def read() -> None:
            async for _ in client.stream_search("q"):
                begun.set()

        reading = asyncio.create_task(read())
        await begun.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await asyncio.to_thread(fake.cancelled.wait, 5)


def settle(request: Any, context: grpc.ServicerContext) -> Iterator[memory_service_pb2.ImportProgress]:
    """Answers an import item by item; items without text fail."""
    stored = 0
    for number, each in enumerate(request):
        progress = memory_service_pb2.ImportProgress(through_index=number, stored=stored)
        if each.text.text:
            stored += 1
            progress.stored = stored
        else:
            failure = progress.failed.add(index=number)
            failure.status.code = 3
        progress.consistency_token = each.request_id
        yield progress


@QUICK
def test_import(fake: Any, kind: str) -> None:
    fake.answers["ImportMemories"] = [settle]
    items = [{"text": "Likes tea", "user_id": "a"}, {"id": "m", "user_id": "a"}, {"text": "Likes jam", "user_id": "a"}]
    progress = run_import(kind, fake.target, items, request_id="mine")
    assert [(each.through_index, each.stored) for each in progress] == [(0, 1), (1, 1), (2, 2)]
    assert [(each.index, type(each.error)) for each in progress[1].failed] == [(1, recalld.InvalidRequest)]
    assert [each.consistency_token for each in progress] == ["mine", "", ""]


@QUICK
def test_bad_items_are_skipped_and_told(fake: Any, kind: str) -> None:
    def every_second(request: Any, context: grpc.ServicerContext) -> Iterator[memory_service_pb2.ImportProgress]:
        stored = 0
        for number, each in enumerate(request):
            answer = memory_service_pb2.ImportProgress(through_index=number)
            if each.text.text == "refused by the server":
                answer.failed.add(index=number, status={"code": 3, "message": "no"})
            else:
                stored += 1
            answer.stored = stored
            yield answer

    fake.answers["ImportMemories"] = [every_second]
    good, refused = {"text": "Likes tea", "user_id": "a"}, {"text": "refused by the server", "user_id": "a"}
    deleted = {"id": "h", "memory": "x", "user_id": "a", "revision": 2, "event": "DELETED"}
    rows = [{**deleted, "revision": 1, "event": "ADDED"}, deleted]
    given = [{"colour": "red"}, good, None, *rows, refused, {"text": "\ud83d", "user_id": "a"}, good, {"text": 1}]
    progress = run_import(kind, fake.target, given)
    failed = [(each.index, each.row, each.error.reason) for step in progress for each in step.failed]
    # By the order of the messages; a history is one item and two rows.
    assert sorted(failed) == [
        (0, 0, "FIELD_INVALID"),
        (2, 2, "FIELD_INVALID"),
        (4, 5, ""),
        (5, 6, "TEXT_INVALID"),
        (7, 8, "FIELD_INVALID"),
    ]
    assert progress[-1].through_index == 7
    assert progress[-1].stored == 3


@QUICK
def test_an_import_of_nothing_but_bad_items_says_so(fake: Any, kind: str) -> None:
    fake.answers["ImportMemories"] = [lambda request, context: iter(())]
    (only,) = run_import(kind, fake.target, [None, {"text": 7}])
    assert [each.index for each in only.failed] == [0, 1]
    assert (only.through_index, only.stored) == (1, 0)


@QUICK
def test_what_the_callers_own_rows_raise_comes_out(fake: Any, kind: str) -> None:
    fake.answers["ImportMemories"] = [settle]

    def rows() -> Iterator[dict[str, Any]]:
        yield {"text": "Likes tea", "user_id": "a"}
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        run_import(kind, fake.target, rows())


@QUICK
def test_rows_of_a_history_become_one_item(fake: Any, kind: str) -> None:
    given: list[memory_service_pb2.ImportItem] = []

    def keep(request: Any, context: grpc.ServicerContext) -> Iterator[memory_service_pb2.ImportProgress]:
        for number, each in enumerate(request):
            given.append(each)
            yield memory_service_pb2.ImportProgress(through_index=number)

    fake.answers["ImportMemories"] = [keep, keep]
    rows: list[dict[str, Any]] = [
        {"id": "a", "memory": "Likes tea", "user_id": "u", "revision": 1, "event": "ADDED", "superseded": True},
        {"id": "a", "memory": "Likes tea", "user_id": "u", "revision": 2, "event": "DELETED", "cause": "expired"},
        {"id": "b", "memory": "Likes jam", "user_id": "u", "revision": 1, "event": "ADDED", "sequence": 3},
        {"text": "Likes milk", "user_id": "u"},
    ]
    run_import(kind, fake.target, rows)
    *sent, last = given
    told = [[(each.memory.id, each.kind, each.cause) for each in item.history.revisions] for item in sent]
    added, gone = memory_pb2.KIND_ADDED, memory_pb2.KIND_DELETED
    assert told == [[("a", added, 0), ("a", gone, memory_pb2.CAUSE_EXPIRED)], [("b", added, 0)]]
    assert last.text.text == "Likes milk"
    assert [bool(item.request_id) for item in (*sent, last)] == [True, False, False]
    (lost,) = run_import(kind, fake.target, [rows[0], {**rows[1], "event": "LOST"}])
    assert [each.error.violations[0].field for each in lost.failed] == ["items[0].history[1]"]


@QUICK
def test_a_stream_that_gets_no_further_gives_up(fake: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resuming, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(resuming, "LAST_PAUSE", 0.001)
    fake.answers["StreamSearch"] = [outage_count(checkpoint(False)) for _ in range(100)]
    with pytest.raises(recalld.Unavailable):
        collect(kind, fake.target, user_id="alex", timeout=None)
    assert len(fake.asked) < 20


def test_a_quiet_watch_that_lasts_is_not_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 0.0
    monkeypatch.setattr(resuming.time, "monotonic", lambda: seconds)
    progress = watching.WatchProgress("t", "")
    for _ in range(10 * watching.FAILURES):
        progress.opened()
        seconds += resuming.LASTED
        progress.take(memory_service_pb2.WatchResponse(checkpoint={"sequence": 1}, resume_token="t"))
        progress.broken(None)
    for _ in range(watching.FAILURES - 2):
        progress.opened()
        progress.broken(None)
    progress.opened()
    with pytest.raises(recalld.Unavailable):
        progress.broken(None)


def test_clients_that_are_told_when_to_return_do_not_return_at_once() -> None:
    delay = Details("OVERLOADED", retry_delay=1.0)
    error = recalld.Unavailable("later", details=delay)
    waits = set()
    for _ in range(20):
        progress = watching.WatchProgress("t", "")
        waits.add(progress.pause(error))
    assert len(waits) > 10
    assert min(waits) >= 1.0
    assert max(waits) <= 1.5


def run_import(kind: str, target: str, items: Any, into: Any = None, **options: Any) -> list[imports.ImportProgress]:
    progress: list[imports.ImportProgress] = [] if into is None else into
    if kind == "blocking":
        with MemoryClient(target) as client:
            progress.extend(client.import_memories(items, **options))
        return progress

    async def given() -> Any:
        for each in items:
            yield each

    async def run() -> None:
        async with AsyncMemoryClient(target) as client:
            async for each in client.import_memories(given(), **options):
                progress.append(each)  # noqa: PERF401  what came before an error counts

    asyncio.run(run())
    return progress
