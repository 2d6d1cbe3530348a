"""A ledger may be a copy that is not finished."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("ledger", sa.Column("unfinished", sa.Boolean(), server_default=sa.false(), nullable=False))
