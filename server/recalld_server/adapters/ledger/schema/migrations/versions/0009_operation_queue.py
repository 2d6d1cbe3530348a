"""What an operation was asked for has a table of its own, and what waits is found by project.

A look at an operation reads nothing of its payload, and a heartbeat does not write it anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

UNENDED = "end_time IS NULL"
SCOPE = ("user_id", "agent_id", "app_id", "run_id")


def upgrade() -> None:
    op.create_table(
        "operation_payloads",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("project", "id"),
    )
    op.execute(
        "INSERT INTO operation_payloads (project, id, data)"
        " SELECT project, id, payload FROM operations WHERE end_time IS NULL"
    )
    op.add_column("operations", sa.Column("size", sa.BigInteger(), nullable=False, server_default=sa.text("0")))
    op.execute("UPDATE operations SET size = length(payload) WHERE end_time IS NULL")
    op.drop_column("operations", "payload")
    for name in SCOPE:
        column = sa.Column(f"scope_{name}", sa.Text(), nullable=False, server_default=sa.text("''"))
        op.add_column("operations", column)
    op.drop_index("operations_free", "operations")
    _index("operations_free", ["kind", "free_from"], UNENDED)
    _index("operations_waiting", ["kind", "project", "create_time", "id", "size"], UNENDED)
    _index("operations_ended", ["end_time"], "end_time IS NOT NULL")
    op.create_index("operations_created", "operations", ["project", "create_time", "id"])


def _index(name: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, "operations", columns, sqlite_where=condition, postgresql_where=condition)
