"""API keys: who may call, what for, and for how long. Secrets are no part of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from recalld_server.domain.memory import Scope


class Role(IntEnum):
    """What a key may do. Each of the first three includes the ones before it; OPERATOR stands beside them."""

    READER = 1
    WRITER = 2
    ADMIN = 3
    OPERATOR = 4


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. An operator's has no project and no pin. Times are µs; None: never."""

    id: str
    project: str
    role: Role
    pin: Scope = Scope()
    name: str = ""
    create_time: int = 0
    expire_time: int | None = None
    revoke_time: int | None = None
