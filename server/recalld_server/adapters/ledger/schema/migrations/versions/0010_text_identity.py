"""Texts are the same only if they are equal character by character, of one speaker, and said at no time or the same.

The key of every live memory is made anew. It is written out here, as a migration must not change with the code.
"""

from __future__ import annotations

import hashlib
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ROWS = 10_000  # in memory at once


def upgrade() -> None:
    names = ("project", "memory_id", "revision", "text", "speaker", "said_time", "seq_to", "text_key")
    revisions = sa.table("revisions", *(sa.column(name) for name in names))
    c = revisions.c
    place = sa.tuple_(c.project, c.memory_id)
    page = sa.select(c.project, c.memory_id, c.text, c.speaker, c.said_time).where(c.seq_to.is_(None))
    page = page.order_by(c.project, c.memory_id).limit(ROWS)
    this = (
        sa.update(revisions)
        .where(c.project == sa.bindparam("p"), c.memory_id == sa.bindparam("id"), c.seq_to.is_(None))
        .values(text_key=sa.bindparam("key"))
    )
    connection = op.get_bind()
    after = ("", "")
    while rows := connection.execute(page.where(place > sa.tuple_(*map(sa.literal, after)))).all():
        keys = [{"p": row[0], "id": row[1], "key": _key(row[2], row[3], row[4])} for row in rows]
        connection.execute(this, keys)
        after = (rows[-1][0], rows[-1][1])


def _key(text: str, speaker: str, said_time: int | None) -> str:
    made = hashlib.blake2b(digest_size=16)
    for part in (unicodedata.normalize("NFC", text).strip(), speaker, "" if said_time is None else str(said_time)):
        data = part.encode()
        made.update(len(data).to_bytes(8, "big"))
        made.update(data)
    return made.hexdigest()
