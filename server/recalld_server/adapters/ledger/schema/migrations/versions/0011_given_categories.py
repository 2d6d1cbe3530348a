"""It is kept which categories a caller gave: a new text derives only the others anew."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("revisions", sa.Column("given_categories", sa.Text(), nullable=True))
