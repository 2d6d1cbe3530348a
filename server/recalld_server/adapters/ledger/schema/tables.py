"""The ledger's tables. Times are µs since the epoch, UTC; absent ids are empty strings; JSON is compact text.

Primary keys of project data begin with the project: a project's rows are stored together, and no lookup by key can find
a row of another project.
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

# One row: the identity of this ledger. `keys_created` is set with the first API key, for ever. `unfinished` is set
# while this ledger is being copied from another one.
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
    Column("update_time", BigInteger, nullable=False, server_default=text("0")),  # 0: never changed
    Column("generation_number", Integer, nullable=False, server_default=text("1")),  # of `generation`, for joins
    Column("next_generation", Text, nullable=False, server_default=text("''")),  # empty unless one is being built
)

LIVE = "seq_to IS NULL"

revisions = Table(
    "revisions",
    metadata,
    Column("project", Text, primary_key=True),
    Column("memory_id", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("text_revision", Integer, nullable=False),  # the revision that brought this text; its features apply
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
    Column("given_categories", Text),  # NULL: stored before this column existed
)


def _partial(name: str, where: str, *columns: str, unique: bool = False) -> Index:
    """A partial index of the revisions that satisfy `where`.

    The planner uses it only for statements that repeat `where` literally.
    """
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

# Metadata and categories for filters, one row per element; see adapters.sql.filters.Facet.
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

# The number of live memories of each user, agent, app and run, per speaker. Memories without a speaker count under the
# empty name, so the sum over all names is the total of the entity. `last_seen`: the latest store or change of one.
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

# Derived from texts, for one generation: uint32 term hashes and a float16 vector.
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
    Column("free_from", BigInteger, nullable=False, server_default=text("0")),  # end of a projector's claim, µs
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
    Column("attempt", Integer, nullable=False, server_default=text("0")),  # number of the part of a partial outcome
)
Index("outcomes_time", outcomes.c.time)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),  # empty for operator keys
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


# Ids of deleted projects, which cannot be used again. `generations` (JSON) names the generations whose index entries
# are still to be cleared.
deleted_projects = Table(
    "deleted_projects",
    metadata,
    Column("project", Text, primary_key=True),
    Column("generations", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("cleared", Boolean, nullable=False),
)

_SCOPE = ("user_id", "agent_id", "app_id", "run_id")

# Queued and running operations. `fence` is the fencing number and grows with every claim. `free_from` is the time at
# which the lease ends or a retry may start.
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
    Column("request_id", Text),  # NULL without a request id: NULLs are distinct in the unique index
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
    Column("size", BigInteger, nullable=False, server_default=text("0")),  # bytes of its payload at creation
    # The scope in which an add will store its memories; empty for other kinds.
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

# The encoded commands of operations that have not ended. Only the worker that claims an operation reads its payload.
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
    Column("command", LargeBinary, nullable=False),  # the encoded request; empty once the export is withdrawn
    Column("state", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("memories", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("expire_time", BigInteger),  # NULL: not finished
)

# All chunks of an export except the last have the same length, so an offset determines its chunk.
export_chunks = Table(
    "export_chunks",
    metadata,
    Column("project", Text, primary_key=True),
    Column("export_id", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
    Column("sha256", Text, nullable=False),
)

# Leases, one row per kind of work. `taken` is the number of the last lease and its fencing number, `done` the number of
# the last completed one, `note` its watermark, `free_from` the time at which the current lease ends. One more row holds
# the counters of `erasure.file_erasures`.
turns = Table(
    "turns",
    metadata,
    Column("work", Text, primary_key=True),
    Column("taken", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("note", BigInteger, nullable=False),
    Column("free_from", BigInteger, nullable=False),
)
