"""An index for every question that read all rows of a project; entities are counted; outcomes know their attempt.

The indexes are built in place: on SQLite and PostgreSQL alike writers wait until that is done.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

LIVE, ENDED = "seq_to IS NULL", "seq_to IS NOT NULL"
SCOPE = ("user_id", "agent_id", "app_id", "run_id")


def upgrade() -> None:
    _index("revisions_expiring", ["expire_time", "project", "memory_id"], f"{LIVE} AND expire_time IS NOT NULL")
    op.create_index("revisions_add", "revisions", ["project", "add_id"])
    _index("revisions_forgotten", ["project", "seq_from"], "kind = 'FORGOTTEN'")
    _index("revisions_ended", ["project", "seq_to"], ENDED)
    _index("revisions_ended_conversation", ["project", "conversation"], ENDED)
    for name in SCOPE:
        short = name.removesuffix("_id")
        _index(f"revisions_ended_{short}", ["project", name, "memory_id"], f"{ENDED} AND {name} <> ''")
    op.add_column("outcomes", sa.Column("attempt", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.add_column("speakers", sa.Column("last_seen", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    _count()


def _index(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "revisions", columns, sqlite_where=condition, postgresql_where=condition)


def _count() -> None:
    """The speakers anew, with those who have no name: together they are what an entity has."""
    op.execute("DELETE FROM speakers")
    for name in SCOPE:
        op.execute(
            "INSERT INTO speakers (project, type, id, name, live, last_seen)"  # noqa: S608 - names of ours
            f" SELECT project, '{name}', {name}, speaker, count(*), max(update_time) FROM revisions"
            f" WHERE {LIVE} AND {name} <> '' GROUP BY project, {name}, speaker"
        )
