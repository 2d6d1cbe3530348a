"""Projects have names and descriptions, and keys are listed by project."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("projects", sa.Column("display_name", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("projects", sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("projects", sa.Column("update_time", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.create_index("keys_project", "keys", ["project", "create_time", "id"])
