"""The ledger's tables. Times are µs since the epoch, UTC; absent ids are empty strings; JSON is compact text.

Primary keys begin with the project, so a project's rows lie together and nothing is found across projects by accident.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
    text,
)

metadata = MetaData()

# One row: who this ledger is. `keys_created` is set with the first key and never unset (design, section 10);
# `unfinished` is set while the ledger is being copied from another.
ledger = Table(
    "ledger",
    metadata,
    Column("id", Text, primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("keys_created", Boolean, nullable=False, server_default=false()),
    Column("unfinished", Boolean, nullable=False, server_default=false()),
)

projects = Table(
    "projects",
    metadata,
    Column("project", Text, primary_key=True),
    Column("head", BigInteger, nullable=False),
    Column("last_time", BigInteger, nullable=False),
    Column("oldest", BigInteger, nullable=False),
    Column("generation", Text, nullable=False),
    Column("settings", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("display_name", Text, nullable=False, server_default=text("''")),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("update_time", BigInteger, nullable=False, server_default=text("0")),  # 0: as it was created
    Column("generation_number", Integer, nullable=False, server_default=text("1")),  # as in `generation`: for joins
    Column("next_generation", Text, nullable=False, server_default=text("''")),  # empty: none is being built
)

LIVE = "seq_to IS NULL"

revisions = Table(
    "revisions",
    metadata,
    Column("project", Text, primary_key=True),
    Column("memory_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("text_revision", Integer, nullable=False),  # the revision whose features these are
    Column("seq_from", BigInteger, nullable=False),
    Column("seq_to", BigInteger),  # NULL: live. A DELETED revision has seq_to = seq_from, so it is live at no time.
    Column("kind", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("commit_time", BigInteger, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("app_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("scope_key", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("folded", Text, nullable=False),
    Column("text_key", Text, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("categories", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("expire_time", BigInteger),
    Column("event_time", BigInteger),
    Column("said_time", BigInteger),
    Column("speaker", Text, nullable=False),
    Column("named", Boolean, nullable=False),
    Column("add_id", Text, nullable=False),
    Column("source_positions", Text, nullable=False),
    Column("conversation", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("immutable", Boolean, nullable=False),
    Column("feedback", Text, nullable=False),
    Column("feedback_reason", Text, nullable=False),
    Column("given_categories", Text),  # NULL: from before it was kept which ones a caller gave
)


def _partial(name: str, where: str, *columns: str, unique: bool = False) -> Index:
    """An index of the revisions for which `where` holds. A statement uses it only if it says the same in its text."""
    condition = text(where)
    return Index(
        name, *(revisions.c[c] for c in columns), unique=unique, sqlite_where=condition, postgresql_where=condition
    )


ENDED = "seq_to IS NOT NULL"
Index("revisions_seq", revisions.c.project, revisions.c.seq_from, unique=True)
Index("revisions_add", revisions.c.project, revisions.c.add_id)
_partial("revisions_live", LIVE, "project", "memory_id", unique=True)
_partial("revisions_created", LIVE, "project", "create_time", "memory_id")
_partial("revisions_updated", LIVE, "project", "update_time", "memory_id")
_partial("revisions_text", LIVE, "project", "scope_key", "text_key")
_partial("revisions_conversation", LIVE, "project", "conversation", "position")
_partial("revisions_expiring", f"{LIVE} AND expire_time IS NOT NULL", "expire_time", "project", "memory_id")
_partial("revisions_ended", ENDED, "project", "seq_to")
_partial("revisions_ended_conversation", ENDED, "project", "conversation")
_partial("revisions_forgotten", "kind = 'FORGOTTEN'", "project", "seq_from")
for _name in ("user", "agent", "app", "run"):
    _given = f"{_name}_id <> ''"
    _partial(f"revisions_{_name}", f"{LIVE} AND {_given}", "project", f"{_name}_id", "create_time", "memory_id")
    _partial(f"revisions_ended_{_name}", f"{ENDED} AND {_given}", "project", f"{_name}_id", "memory_id")

# Metadata and categories, one row an element: what filters ask about.
facets = Table(
    "facets",
    metadata,
    Column("project", Text, primary_key=True),
    Column("memory_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text),
    Column("folded", Text),
    Column("number", Float(53)),
)

messages = Table(
    "messages",
    metadata,
    Column("project", Text, primary_key=True),
    Column("add_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("time", BigInteger),
)

conversations = Table(
    "conversations",
    metadata,
    Column("project", Text, primary_key=True),
    Column("conversation", Text, primary_key=True),
    Column("next_position", Integer, nullable=False),
)

# How many live memories of each user, agent, app and run each speaker said, those without a speaker's name included:
# together they are all that an entity has. `last_seen`: when one of them was last stored or changed.
speakers = Table(
    "speakers",
    metadata,
    Column("project", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("live", Integer, nullable=False),
    Column("last_seen", BigInteger, nullable=False, server_default=text("0")),
)

# Derived from texts: uint32 term hashes and a float16 vector, for one generation.
features = Table(
    "features",
    metadata,
    Column("project", Text, primary_key=True),
    Column("memory_id", Text, primary_key=True),
    Column("text_revision", Integer, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("terms", LargeBinary, nullable=False),
    Column("vector", LargeBinary, nullable=False),
)

pending = Table(
    "pending",
    metadata,
    Column("project", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("memory_id", Text, nullable=False),
    Column("free_from", BigInteger, nullable=False, server_default=text("0")),  # a projector has claimed it until then
)
Index("pending_memory", pending.c.project, pending.c.generation, pending.c.memory_id)

outcomes = Table(
    "outcomes",
    metadata,
    Column("project", Text, primary_key=True),
    Column("principal", Text, primary_key=True),
    Column("rpc", Text, primary_key=True),
    Column("request_id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("partial", Boolean, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False, server_default=text("0")),  # grows with each part of a partial answer
)
Index("outcomes_time", outcomes.c.time)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),  # empty for an operator key
    Column("role", Text, nullable=False),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("app_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("expire_time", BigInteger),
    Column("revoke_time", BigInteger),
)
Index("keys_project", keys.c.project, keys.c.create_time, keys.c.id)


# Ids that are never given again. `generations` are index versions to clear away, as JSON, until that is done.
deleted_projects = Table(
    "deleted_projects",
    metadata,
    Column("project", Text, primary_key=True),
    Column("generations", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("cleared", Boolean, nullable=False),
)

_SCOPE = ("user_id", "agent_id", "app_id", "run_id")

# Long-running work. `fence` grows with every claim; `free_from` is when a lease ends or a retry may begin.
operations = Table(
    "operations",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),  # the pin of the access that started it
    Column("agent_id", Text, nullable=False),
    Column("app_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("principal", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("rpc", Text, nullable=False),
    Column("request_id", Text),  # NULL: none was given, and NULLs are distinct
    Column("fingerprint", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("start_time", BigInteger),
    Column("update_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("completed", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("hidden", Boolean, nullable=False),  # deleted by a caller
    Column("fence", Integer, nullable=False),
    Column("free_from", BigInteger, nullable=False),
    Column("checkpoint", Text, nullable=False),
    Column("result", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("size", BigInteger, nullable=False, server_default=text("0")),  # of its payload when it was created, bytes
    # What an add will store lies in this scope; empty for other kinds.
    *(Column(f"scope_{name}", Text, nullable=False, server_default=text("''")) for name in _SCOPE),
)
Index(
    "operations_request",
    *(operations.c[name] for name in ("project", "principal", "rpc", "request_id")),
    unique=True,
)
UNENDED = text("end_time IS NULL")
ENDED_WORK = text("end_time IS NOT NULL")
_O = operations.c
Index("operations_created", _O.project, _O.create_time, _O.id)
Index("operations_free", _O.kind, _O.free_from, sqlite_where=UNENDED, postgresql_where=UNENDED)
Index(
    "operations_waiting",
    *(_O.kind, _O.project, _O.create_time, _O.id, _O.size),
    sqlite_where=UNENDED,
    postgresql_where=UNENDED,
)
Index("operations_ended", _O.end_time, sqlite_where=ENDED_WORK, postgresql_where=ENDED_WORK)

# What work that has not ended was asked for, as its job reads it: only the one who does the work reads it.
operation_payloads = Table(
    "operation_payloads",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

exports = Table(
    "exports",
    metadata,
    Column("project", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),  # the scope asked for, narrowed by the pin
    Column("agent_id", Text, nullable=False),
    Column("app_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("command", LargeBinary, nullable=False),  # empty once it is withdrawn
    Column("state", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("memories", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("expire_time", BigInteger),  # NULL: not finished
)

# All of an export's chunks but its last have the same length, so an offset names its chunk.
export_chunks = Table(
    "export_chunks",
    metadata,
    Column("project", Text, primary_key=True),
    Column("export_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("sha256", Text, nullable=False),
)

# Work that servers do one at a time. `taken` grows with every turn and is its fence; `free_from` is when a lease ends.
turns = Table(
    "turns",
    metadata,
    Column("work", Text, primary_key=True),
    Column("taken", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("note", BigInteger, nullable=False),
    Column("free_from", BigInteger, nullable=False),
)
