"""The contract of operation stores: one fenced holder at a time, idempotent requests, and always an end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.ledger_world import ALICE, DAY, ELSEWHERE, HERE, FakeClock

from recalld_server.adapters.ledger import operations as store
from recalld_server.domain.errors import LeaseLost, OperationNotFound, Overloaded, RequestIdReused, WriteConflict
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.operations import NewOperation, Operation, OperationKind, OperationState
from recalld_server.domain.revision import RequestKey
from recalld_server.ports.operations import Operations

LEASE = 10.0
ADDS = (OperationKind.ADD,)


def new(id: str = "1", kind: OperationKind = OperationKind.ADD, request: RequestKey | None = None) -> NewOperation:
    return NewOperation(id, kind, f"subject of {id}", b"what was asked", total=3, request=request)


def key(request_id: str = "r", fingerprint: str = "f", rpc: str = "AddAsync") -> RequestKey:
    return RequestKey(rpc, request_id, fingerprint)


async def claimed(operations: Operations) -> Operation:
    held = await operations.claim(LEASE)
    assert held is not None
    return held


async def end(operations: Operations, held: Operation, state: OperationState = OperationState.SUCCEEDED) -> None:
    await operations.finish(held, state, result={"n": 1}, error={})


class OperationsSuite:
    """Fixtures `operations` (empty, with the projects of the ledger's world) and `clock` come from the engine."""

    async def test_work_waits_until_it_is_claimed(self, operations: Operations, clock: FakeClock) -> None:
        made = await operations.create(HERE, new())
        assert (made.state, made.attempt, made.start_time) == (OperationState.PENDING, 0, None)
        clock.time += 5
        held = await claimed(operations)
        assert (held.id, held.state, held.attempt, held.start_time) == ("1", OperationState.RUNNING, 1, clock.time)
        assert (held.payload, held.access, held.total) == (b"what was asked", HERE, 3)
        assert await operations.claim(LEASE) is None

    async def test_the_oldest_work_comes_first(self, operations: Operations, clock: FakeClock) -> None:
        for id in "ba":
            await operations.create(HERE, new(id))
            clock.time += 1
        assert [(await claimed(operations)).id for _ in range(2)] == ["b", "a"]

    async def test_projects_take_turns(self, operations: Operations, clock: FakeClock) -> None:
        for project, count in (("b", 4), ("a", 1), ("c", 2)):
            for number in range(count):
                await operations.create(Access(project), new(f"{project}{number}"))
                clock.time += 1
        order: list[str] = []
        after = ""
        while held := await operations.claim(LEASE, ADDS, after):
            order.append(held.id)
            after = held.access.project
        assert order == ["a0", "b0", "c0", "b1", "c1", "b2", "b3"]

    async def test_what_has_waited_longest_comes_first_without_turns(
        self, operations: Operations, clock: FakeClock
    ) -> None:
        for project in "cbacb":
            await operations.create(Access(project), new(f"{project}{clock.time}"))
            clock.time += 1
        held = await claimed(operations)
        assert held.access.project == "c"
        await operations.release(held, 0)  # it waits from now on
        order = []
        for besides in ("", "", "c", ""):
            taken = await operations.claim(LEASE, ADDS, None, besides)
            assert taken is not None
            order.append(taken.access.project)
        assert order == ["b", "a", "b", "c"]

    async def test_a_turn_leaves_out_projects_that_have_enough_and_what_is_leased(self, operations: Operations) -> None:
        for project in "abcd":
            for kind in (OperationKind.ADD, OperationKind.EXPORT):
                await operations.create(Access(project), new(f"{project} {kind.value}", kind))
        seen = []
        for after, besides in (("b", ["c"]), ("b", ["c"]), ("b", ["c"]), ("b", ["c"]), (None, "abd"), ("c", "")):
            held = await operations.claim(LEASE, ADDS, after, besides)
            seen.append(held and held.id)
        assert seen == ["d ADD", "a ADD", "b ADD", None, "c ADD", None]
        held = await operations.claim(LEASE, (OperationKind.REBUILD_INDEX, OperationKind.EXPORT), "d")
        assert held is not None
        assert held.id == "a EXPORT"

    async def test_only_who_does_the_work_has_its_payload(self, operations: Operations) -> None:
        made = await operations.create(HERE, new("1", request=key()))
        again = await operations.create(HERE, new("1", request=key()))
        [in_list] = await operations.page(HERE, None, 10)
        seen = [made, again, in_list, await operations.get(HERE, "1")]
        held = await claimed(operations)
        assert held.payload == b"what was asked"
        seen += [await operations.get(HERE, "1"), await operations.cancel(HERE, "1")]
        assert [each.payload for each in seen] == [b""] * 6
        await operations.release(held, 0)
        held = await claimed(operations)
        assert held.payload == b"what was asked"
        await end(operations, held)
        assert await self.payloads(operations) == 0
        await operations.create(HERE, new("2"))
        assert await self.payloads(operations) == 1
        await operations.cancel(HERE, "2")
        assert await self.payloads(operations) == 0

    async def payloads(self, operations: Operations) -> int:
        """How many the store still has; an engine's own."""
        raise NotImplementedError

    async def test_a_project_has_a_bound_of_work_that_waits(
        self, operations: Operations, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store, "WAITING_OPERATIONS", 3)
        for id in "123":
            await operations.create(HERE, new(id, request=key(id)))
        with pytest.raises(Overloaded) as refused:
            await operations.create(HERE, new("4"))
        assert (refused.value.subject, refused.value.metadata["limit"]) == ("operations", "3")
        assert (await operations.create(HERE, new("5", request=key("1")))).id == "1"  # it waits already
        await operations.create(ELSEWHERE, new("6"))
        await operations.create(HERE, new("7", OperationKind.EXPORT))
        await end(operations, await claimed(operations))
        await operations.create(HERE, new("8"))
        monkeypatch.setattr(store, "WAITING_BYTES", len(b"what was asked"))
        with pytest.raises(Overloaded):
            await operations.create(HERE, new("9", OperationKind.EXPORT))

    async def test_adds_that_wait_are_counted_by_what_they_will_store(self, operations: Operations) -> None:
        bob = Scope(user_id="bob", run_id="r1")
        for id, scope in (("1", ALICE), ("2", bob), ("3", ALICE), ("4", Scope(agent_id="bob"))):
            await operations.create(HERE, replace(new(id), scope=scope))
        await operations.create(ELSEWHERE, replace(new("5"), scope=ALICE))
        await operations.create(HERE, new("6", OperationKind.EXPORT))
        count = operations.waiting
        assert [await count("default", s) for s in (ALICE, Scope(user_id="bob"), Scope(run_id="r1"), Scope())] == [
            2,
            1,
            1,
            4,
        ]
        await end(operations, await claimed(operations))
        assert await count("default", ALICE) == 1

    async def test_work_of_some_kinds_is_left_to_others(self, operations: Operations) -> None:
        await operations.create(HERE, new("build", OperationKind.REBUILD_INDEX))
        assert await operations.claim(LEASE, ADDS) is None
        await operations.create(HERE, new("add"))
        held = await operations.claim(LEASE, ADDS)
        assert held is not None
        assert held.id == "add"
        assert (await claimed(operations)).id == "build"

    async def test_a_lease_that_ended_is_taken_over_and_its_holder_fenced_off(
        self, operations: Operations, clock: FakeClock
    ) -> None:
        await operations.create(HERE, new())
        stale = await claimed(operations)
        await operations.advance(stale, {"at": 7}, 1, 3)
        await clock.sleep(LEASE + 1)
        fresh = await claimed(operations)
        assert fresh.fence > stale.fence
        assert (fresh.attempt, fresh.checkpoint, fresh.completed) == (2, {"at": 7}, 1)
        for write in (
            operations.renew(stale, LEASE),
            operations.advance(stale, {"at": 99}, 2, 3),
            operations.release(stale, 0),
            end(operations, stale),
        ):
            with pytest.raises(LeaseLost):
                await write
        now = await operations.get(HERE, "1")
        assert (now.state, now.checkpoint, now.fence) == (OperationState.RUNNING, {"at": 7}, fresh.fence)
        await end(operations, fresh)

    async def test_a_heartbeat_keeps_the_lease(self, operations: Operations, clock: FakeClock) -> None:
        await operations.create(HERE, new())
        held = await claimed(operations)
        for _ in range(4):
            await clock.sleep(LEASE - 1)
            assert await operations.renew(held, LEASE) is False
            assert await operations.claim(LEASE) is None

    async def test_what_has_ended_stays_ended(self, operations: Operations, clock: FakeClock) -> None:
        await operations.create(HERE, new())
        held = await claimed(operations)
        await end(operations, held)
        done = await operations.get(HERE, "1")
        assert (done.state, done.result, done.end_time, done.payload) == (
            OperationState.SUCCEEDED,
            {"n": 1},
            clock.time,
            b"",
        )
        with pytest.raises(LeaseLost):
            await end(operations, held, OperationState.FAILED)
        assert (await operations.cancel(HERE, "1")).state is OperationState.SUCCEEDED
        await clock.sleep(LEASE + 1)
        assert await operations.claim(LEASE) is None

    async def test_released_work_waits_for_its_time(self, operations: Operations, clock: FakeClock) -> None:
        await operations.create(HERE, new())
        await operations.release(await claimed(operations), 5)
        assert (await operations.get(HERE, "1")).state is OperationState.PENDING
        assert await operations.claim(LEASE) is None
        await clock.sleep(5)
        assert (await claimed(operations)).attempt == 2

    async def test_leases_are_freed_at_a_lone_start(self, operations: Operations) -> None:
        await operations.create(HERE, new())
        stale = await claimed(operations)
        await operations.free()
        assert (await claimed(operations)).fence > stale.fence

    async def test_cancelling(self, operations: Operations) -> None:
        await operations.create(HERE, new("waits"))
        assert (await operations.cancel(HERE, "waits")).state is OperationState.CANCELLED
        assert await operations.claim(LEASE) is None
        await operations.create(HERE, new("runs"))
        held = await claimed(operations)
        asked = await operations.cancel(HERE, "runs")
        assert (asked.state, asked.cancel_requested) == (OperationState.RUNNING, True)
        assert await operations.renew(held, LEASE) is True
        await end(operations, held, OperationState.CANCELLED)
        assert (await operations.get(HERE, "runs")).state is OperationState.CANCELLED

    async def test_a_request_id_is_one_operation(self, operations: Operations, clock: FakeClock) -> None:
        first = await operations.create(HERE, new("1", request=key()))
        assert await operations.create(HERE, new("2", request=key())) == first
        with pytest.raises(RequestIdReused):
            await operations.create(HERE, new("3", request=key(fingerprint="other")))
        others = [Access("default", principal="other key"), ELSEWHERE]
        assert [(await operations.create(who, new(f"4{i}", request=key()))).id for i, who in enumerate(others)] == [
            "40",
            "41",
        ]
        bare = [await operations.create(HERE, new(id, request=key(""))) for id in "56"]
        assert [each.id for each in bare] == ["5", "6"]
        await end(operations, await claimed(operations))
        assert (await operations.create(HERE, new("7", request=key()))).id == "1"

    async def test_builds_are_joined_or_refused(self, operations: Operations) -> None:
        rebuild, reembed = OperationKind.REBUILD_INDEX, OperationKind.REEMBED_PROJECT
        await operations.create(HERE, new("1", rebuild, key("", "all")))
        assert (await operations.create(HERE, new("2", rebuild, key("", "all")))).id == "1"
        for kind, fingerprint in ((reembed, "all"), (rebuild, "other")):
            with pytest.raises(WriteConflict):
                await operations.create(HERE, new("3", kind, key("", fingerprint)))
        assert (await operations.create(ELSEWHERE, new("4", reembed, key("", "all")))).id == "4"
        await operations.cancel(HERE, "1")
        assert (await operations.create(HERE, new("5", reembed, key("", "all")))).id == "5"

    async def test_only_the_access_that_started_it_and_wider_ones_see_it(self, operations: Operations) -> None:
        alice = Access("default", ALICE, "pinned")
        await operations.create(alice, new())
        for who in (alice, HERE, Access("default", ALICE, "another key")):
            assert (await operations.get(who, "1")).id == "1"
            assert [each.id for each in await operations.page(who, None, 10)] == ["1"]
        for user in ("bob", "alice-smith", "ALICE", " alice"):
            who = Access("default", Scope(user_id=user))
            assert await operations.page(who, None, 10) == []
            for call in (operations.get, operations.cancel, operations.hide):
                with pytest.raises(OperationNotFound):
                    await call(who, "1")
        with pytest.raises(OperationNotFound):
            await operations.get(ELSEWHERE, "1")

    async def test_pages_are_latest_first(self, operations: Operations, clock: FakeClock) -> None:
        for id in "12345":
            await operations.create(HERE, new(id))
            clock.time += int(id) % 2
        seen: list[str] = []
        after = None
        while page := await operations.page(HERE, after, 2):
            seen += [each.id for each in page]
            after = (page[-1].create_time, page[-1].id)
        assert seen == list("54321")

    async def test_hidden_work_goes_on(self, operations: Operations) -> None:
        await operations.create(HERE, new())
        await operations.hide(HERE, "1")
        with pytest.raises(OperationNotFound):
            await operations.get(HERE, "1")
        assert (await claimed(operations)).id == "1"

    async def test_ended_work_is_kept_a_day(self, operations: Operations, clock: FakeClock) -> None:
        await operations.create(HERE, new("1"))
        await end(operations, await claimed(operations))
        await operations.create(HERE, new("2"))
        clock.time += DAY - 1
        assert await operations.sweep() == 0
        clock.time += 1
        assert await operations.sweep() == 1
        assert [each.id for each in await operations.page(HERE, None, 10)] == ["2"]
