"""API keys: their project, role, pin and expiry. A key object never contains the secret."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from recalld_server.domain.memory import Scope


class Role(IntEnum):
    """The role of a key. ADMIN includes WRITER, and WRITER includes READER; OPERATOR is separate from them."""

    READER = 1
    WRITER = 2
    ADMIN = 3
    OPERATOR = 4


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret. An operator key has no project and no pin. Times are in µs; None means never."""

    id: str
    project: str
    role: Role
    pin: Scope = Scope()
    name: str = ""
    create_time: int = 0
    expire_time: int | None = None
    revoke_time: int | None = None
