"""The limits of design section 10, named once."""

from __future__ import annotations

TEXT_BYTES = 16 * 1024
MESSAGE_BYTES = 64 * 1024
MESSAGES = 500
QUERY_BYTES = 8 * 1024
ID_BYTES = 256
METADATA_BYTES = 16 * 1024
CATEGORIES = 100
FACTS = 5000  # of one add
WRITE_BYTES = 16 * 1024 * 1024  # texts, metadata and categories of all memories of one transaction
WRITE_VALUES = 20_000  # values of metadata and categories in one transaction: a row each, and a second or less
HISTORY_VALUES = 50_000  # the same of one history that is imported, which is one transaction however long it is
SOURCES = 20  # messages of one memory
SOURCE_BYTES = 128 * 1024  # contents of these together; the first is kept whatever its length
SEARCH_LIMIT = 10_000
BATCH = 1000
PAGE_SIZE = 1000
PAGE_BYTES = 3 * 1024 * 1024
CALL_BYTES = 16 * 1024 * 1024
REQUEST_ID_LENGTH = 64
WAITING_OPERATIONS = 10_000  # of one kind in a project: adds, or exports
WAITING_BYTES = 256 * 1024 * 1024  # of what they were asked for
