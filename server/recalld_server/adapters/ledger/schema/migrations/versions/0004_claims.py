"""What is pending for the index can be claimed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("pending", sa.Column("free_from", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
