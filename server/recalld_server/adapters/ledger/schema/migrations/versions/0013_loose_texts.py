"""The folded form of texts has no accents, no invisible characters, and one kind of hyphen and apostrophe.

It is written out here, as a migration must not change with the code; see domain.folding for today's.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

ROWS = 10_000  # in memory at once
TYPED = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)) | dict.fromkeys(map(ord, "’‘ʼ`´"), "'")
HYPHENS = dict.fromkeys(range(0x2010, 0x2014), "-") | {0x2212: "-"}
ACCENTS = re.compile("[\u0300-\u036f]+")
BASE = str.maketrans({"ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe"})


def upgrade() -> None:
    _refold("revisions", ("project", "memory_id", "revision"))
    _refold("facets", ("project", "memory_id", "revision", "ordinal"))


def _refold(name: str, key: Sequence[str]) -> None:
    """Rewrite the rows whose form differs, page by page in the order of the primary key."""
    table = sa.table(name, *map(sa.column, (*key, "text", "folded")))
    place = sa.tuple_(*(table.c[column] for column in key))
    page = (
        sa.select(table).where(table.c.folded.is_not(None)).order_by(*(table.c[column] for column in key)).limit(ROWS)
    )
    this = sa.and_(*(table.c[column] == sa.bindparam(f"old_{column}") for column in key))
    change = sa.update(table).where(this).values(folded=sa.bindparam("new"))
    connection = op.get_bind()
    after: sa.Select | None = page  # type: ignore[type-arg]
    while after is not None and (rows := connection.execute(after).all()):
        changed = [
            {"new": form, **{f"old_{column}": getattr(row, column) for column in key}}
            for row in rows
            if (form := _loose(row.text)) != row.folded
        ]
        if changed:
            connection.execute(change, changed)
        last = sa.tuple_(*(sa.literal(getattr(rows[-1], column)) for column in key))
        after = page.where(place > last) if len(rows) == ROWS else None


def _loose(text: str) -> str:
    if text.isascii():
        return text.replace("`", "'").lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.translate(TYPED)).casefold())
    plain = folded.translate(TYPED | HYPHENS).replace("i\u0307", "i")
    if plain.isascii():
        return plain
    apart = unicodedata.normalize("NFD", plain)
    return unicodedata.normalize("NFC", ACCENTS.sub("", apart)).translate(BASE)
