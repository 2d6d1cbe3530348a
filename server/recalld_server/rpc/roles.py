"""The roles that may make each call, one row per RPC. A call without a row is refused; a test reports missing rows."""

from __future__ import annotations

from dataclasses import dataclass

from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.operations import OperationKind


@dataclass(frozen=True, slots=True)
class Rule:
    """The API keys that may make a call.

    `least` is the lowest sufficient role of a project's own keys (None: no such key may). `operator` admits operator
    keys, `pinned` admits keys with a pin.
    """

    least: Role | None
    operator: bool = False
    pinned: bool = True

    @property
    def needed(self) -> str:
        """The sufficient roles in words, for error messages."""
        own = f"{self.least.name}{'' if self.pinned else ' without a pin'}" if self.least else ""
        return " or ".join(part for part in (own, "OPERATOR" if self.operator else "") if part)

    def admits(self, key: ApiKey) -> bool:
        """Whether the key may make the call."""
        if key.role is Role.OPERATOR:
            return self.operator
        return self.least is not None and key.role >= self.least and (self.pinned or not key.pin)


READ, WRITE, ADMIN = Rule(Role.READER), Rule(Role.WRITER), Rule(Role.ADMIN)
ADMIN_OF_ALL = Rule(Role.ADMIN, pinned=False)  # these calls concern the whole project, so a pin excludes them
KEYS = Rule(Role.ADMIN, operator=True, pinned=False)
OPERATE = Rule(None, operator=True)
FOLLOW = Rule(Role.READER, operator=True)  # operators see the operations that they started

_TABLE: dict[str, dict[str, Rule]] = {
    "recalld.v1.MemoryService": {
        "Add": WRITE,
        "AddAsync": WRITE,
        "ImportMemories": WRITE,
        "GetMemory": READ,
        "ListMemories": READ,
        "UpdateMemory": WRITE,
        "DeleteMemory": WRITE,
        "BatchUpdateMemories": WRITE,
        "BatchDeleteMemories": WRITE,
        "DeleteMemories": WRITE,
        "RestoreMemory": WRITE,
        "ForgetMemories": ADMIN,
        "ListEvents": READ,
        "Watch": READ,
        "DeleteByInstruction": WRITE,
        "SetFeedback": WRITE,
    },
    "recalld.v1.SearchService": {"Search": READ, "StreamSearch": READ},
    "recalld.v1.EntityService": {"ListEntities": READ, "DeleteEntity": WRITE},
    "recalld.v1.ExportService": {
        "CreateExport": WRITE,
        "GetExport": READ,
        "ListExports": READ,
        "DeleteExport": WRITE,
        "ReadExport": READ,
    },
    "recalld.v1.ProjectService": {
        "CreateProject": OPERATE,
        "GetProject": Rule(Role.READER, operator=True),
        "ListProjects": OPERATE,
        "UpdateProject": KEYS,
        "DeleteProject": OPERATE,
        "GetProjectSettings": READ,
        "UpdateProjectSettings": ADMIN_OF_ALL,
        "CreateApiKey": KEYS,
        "ListApiKeys": KEYS,
        "RevokeApiKey": KEYS,
        "GetUsage": Rule(Role.READER, operator=True, pinned=False),
        "GetIndexStatus": READ,
        "RebuildIndex": ADMIN_OF_ALL,
        "ReembedProject": ADMIN_OF_ALL,
    },
    "google.longrunning.Operations": {
        "GetOperation": FOLLOW,
        "ListOperations": FOLLOW,
        "WaitOperation": FOLLOW,
        "CancelOperation": WRITE,
        "DeleteOperation": WRITE,
    },
}
RULES: dict[str, Rule] = {
    f"/{service}/{name}": rule for service, methods in _TABLE.items() for name, rule in methods.items()
}
# A caller may cancel or delete an operation only if its key may also start one of that kind.
ENDING: dict[OperationKind, Rule] = {
    OperationKind.ADD: WRITE,
    OperationKind.EXPORT: WRITE,
    OperationKind.REBUILD_INDEX: ADMIN_OF_ALL,
    OperationKind.REEMBED_PROJECT: ADMIN_OF_ALL,
    OperationKind.DELETE_PROJECT: OPERATE,
}
