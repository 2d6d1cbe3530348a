"""The contract of key rings: keys of one project each, permanent revocation, and idempotent requests.

Fixtures `ring` (without keys, on a ledger that has the project "other" and not yet "default") and `clock` come from the
engine.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from tests.contract.ledger_world import DAY, ELSEWHERE, HERE, SECOND, FakeClock

from recalld_server.domain.errors import OutcomeTaken, ProjectNotFound
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Scope
from recalld_server.domain.revision import RequestKey
from recalld_server.ports.keyring import KeyRing

OPERATOR = Access("", principal="operator")


def digest(id: str) -> bytes:
    """Stands for the SHA-256 of a secret; with bytes that are no text."""
    return bytes([0, 255, len(id)]) + id.encode().ljust(29, b"\xfe")


def key(id: str, project: str = "default", role: Role = Role.WRITER, **fields: Any) -> ApiKey:
    return ApiKey(id, project, role, **{"create_time": 1, **fields})


def asked(rpc: str = "CreateApiKey", request_id: str = "r", fingerprint: str = "f") -> RequestKey:
    return RequestKey(rpc, request_id, fingerprint)


async def put(
    ring: KeyRing, made: ApiKey, access: Access | None = None, request: RequestKey | None = None, **answer: Any
) -> ApiKey:
    await ring.add(access or Access(made.project), made, digest(made.id), request, answer)
    return made


async def ids(ring: KeyRing, project: str | None, **fields: Any) -> list[str]:
    return [found.id for found in await ring.page(project, **{"after": None, "limit": 100, **fields})]


class KeyRingSuite:
    """All of it."""

    async def test_the_first_key_begins_it_for_good(self, ring: KeyRing) -> None:
        assert await ring.begun() is False
        await put(ring, key("k"))
        assert await ring.begun() is True
        await ring.revoke(HERE, "k", None)
        assert await ring.begun() is True

    async def test_a_key_is_found_as_it_was_made(self, ring: KeyRing) -> None:
        pin = Scope(**{name: f" {name}/ä\U0001f511 " for name in SCOPE_FIELDS})
        plain = await put(ring, key("plain"))
        full = await put(
            ring, key("full", "other", Role.READER, pin=pin, name="für 🔑", create_time=2**50, expire_time=2**51)
        )
        operator = await put(ring, key("operator", "", Role.OPERATOR), OPERATOR)
        for made in (plain, full, operator):
            assert await ring.find(made.id) == (made, digest(made.id))

    @pytest.mark.parametrize("id", ["", "K", "k ", " k", "k%", "k_", "nobody"])
    async def test_no_other_id_finds_a_key(self, ring: KeyRing, id: str) -> None:
        await put(ring, key("k"))
        assert await ring.find(id) is None
        assert await ring.revoke(HERE, id, None) is None
        assert await ring.find("k") == (key("k"), digest("k"))

    async def test_a_key_needs_its_project_but_for_the_default_one(self, ring: KeyRing) -> None:
        with pytest.raises(ProjectNotFound) as caught:
            await put(ring, key("k", "nowhere"), request=asked())
        assert caught.value.metadata == {"project_id": "nowhere"}
        assert await ring.find("k") is None
        assert await ring.begun() is False
        assert await ring.outcome(Access("nowhere"), "CreateApiKey", "r") is None
        await put(ring, key("k"))

    async def test_the_first_revocation_sets_the_time(self, ring: KeyRing, clock: FakeClock) -> None:
        made = await put(ring, key("k", expire_time=5))
        assert await ring.revoke(HERE, "k", None) == (ended := replace(made, revoke_time=clock.time))
        clock.time += SECOND
        assert await ring.revoke(HERE, "k", None) == ended
        assert await ring.find("k") == (ended, digest("k"))
        assert await ids(ring, "default") == ["k"]

    async def test_nobody_ends_the_key_of_another_project_but_an_operator(self, ring: KeyRing) -> None:
        made = await put(ring, key("k"))
        operator = await put(ring, key("operator", "", Role.OPERATOR), OPERATOR)
        for access, id in ((ELSEWHERE, "k"), (HERE, "operator")):
            assert await ring.revoke(access, id, asked("RevokeApiKey")) is None
            assert await ring.outcome(access, "RevokeApiKey", "r") is None
        assert [(await ring.find(each.id) or ())[0] for each in (made, operator)] == [made, operator]
        for id in ("k", "operator"):
            assert (await ring.revoke(OPERATOR, id, None) or made).revoke_time is not None

    async def test_pages_are_latest_first_and_of_one_project(self, ring: KeyRing) -> None:
        for n, (id, project) in enumerate((i, p) for i in ("b", "a", "c") for p in ("default", "other")):
            await put(ring, key(f"{id}{project}", project, create_time=n // 4))
        await put(ring, key("operator", "", Role.OPERATOR, create_time=9), OPERATOR)
        ours = ["cdefault", "bdefault", "adefault"]
        assert await ids(ring, "default") == ours
        assert await ids(ring, "nowhere") == []
        everyone = await ids(ring, None)
        assert everyone == ["operator", "cother", "cdefault", "bother", "bdefault", "aother", "adefault"]
        assert await ids(ring, "") == ["operator"]
        seen: list[str] = []
        after = None
        while page := await ring.page(None, after, 2):
            seen += [each.id for each in page]
            after = (page[-1].create_time, page[-1].id)
        assert seen == everyone

    async def test_the_answer_is_kept_with_the_key(self, ring: KeyRing, clock: FakeClock) -> None:
        made = key("k", name="ops")
        await put(ring, made, HERE, asked(), **asdict(made))
        kept = await ring.outcome(HERE, "CreateApiKey", "r")
        assert kept is not None
        assert (kept.fingerprint, kept.answer["id"], kept.answer["name"]) == ("f", "k", "ops")
        with pytest.raises(OutcomeTaken):
            await put(ring, key("other"), HERE, asked(fingerprint="else"))
        assert await ring.find("other") is None
        for access in (ELSEWHERE, Access("default", principal="another key"), OPERATOR):
            assert await ring.outcome(access, "CreateApiKey", "r") is None
        assert await ring.outcome(HERE, "RevokeApiKey", "r") is None
        clock.time += DAY + SECOND
        assert await ring.outcome(HERE, "CreateApiKey", "r") is None

    async def test_a_revocation_is_answered_once(self, ring: KeyRing) -> None:
        await put(ring, key("k"))
        await put(ring, key("l"))
        assert await ring.revoke(HERE, "k", asked("RevokeApiKey"))
        kept = await ring.outcome(HERE, "RevokeApiKey", "r")
        assert kept is not None
        assert kept.answer == {"key_id": "k"}
        with pytest.raises(OutcomeTaken):
            await ring.revoke(HERE, "l", asked("RevokeApiKey"))
        assert (await ring.find("l") or ())[0] == key("l")
