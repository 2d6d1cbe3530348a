"""Authentication: the cache of keys and of wrong guesses."""

from __future__ import annotations

from typing import Any

import pytest

from recalld_server.domain.errors import KeyInvalid
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.usecases import keys as module
from recalld_server.usecases.keys import Keys

KEY = ApiKey("known", "default", Role.READER)


class Ring:
    """A key ring with one key, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def find(self, id: str) -> tuple[ApiKey, bytes] | None:
        self.asked.append(id)
        return (KEY, module._digest("secret")) if id == KEY.id else None


async def test_guesses_take_no_keys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED", 10)
    monkeypatch.setattr(module, "FRESH", 60.0)
    ring: Any = Ring()
    unread: Any = None  # clock and ids
    keys = Keys(ring, unread, unread)
    assert await keys.authenticate("rk_known_secret") == KEY
    for number in range(100):
        with pytest.raises(KeyInvalid):
            await keys.authenticate(f"rk_{number}_secret")
        with pytest.raises(KeyInvalid):
            await keys.authenticate(f"rk_{number}_other")  # remembered as no key's
    assert await keys.authenticate("rk_known_secret") == KEY
    assert ring.asked == [KEY.id, *map(str, range(100))]
    assert len(keys._unknown) == 10
