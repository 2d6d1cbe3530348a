"""The limits of requests and transactions. The proto files document those that callers see."""

from __future__ import annotations

TEXT_BYTES = 16 * 1024
MESSAGE_BYTES = 64 * 1024
MESSAGES = 500
QUERY_BYTES = 8 * 1024
ID_BYTES = 256
METADATA_BYTES = 16 * 1024
CATEGORIES = 100
FACTS = 5000  # in one add
WRITE_BYTES = 16 * 1024 * 1024  # texts, metadata and categories of all memories in one transaction
WRITE_VALUES = 20_000  # metadata values and categories in one transaction: one row each, at most 1 s together
HISTORY_VALUES = 50_000  # the same in one imported history, which is always one transaction
SOURCES = 20  # messages of one memory
SOURCE_BYTES = 128 * 1024  # contents of these messages together; the first message is kept at any length
SEARCH_LIMIT = 10_000
BATCH = 1000
PAGE_SIZE = 1000
PAGE_BYTES = 3 * 1024 * 1024
CALL_BYTES = 16 * 1024 * 1024
REQUEST_ID_LENGTH = 64
WAITING_OPERATIONS = 10_000  # unfinished operations of one kind (adds, exports) in a project
WAITING_BYTES = 256 * 1024 * 1024  # payloads of these operations together
