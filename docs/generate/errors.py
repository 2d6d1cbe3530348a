"""docs/errors.md: every reason, from error_reason.proto and the table of rpc/render/errors.py."""

from __future__ import annotations

import re

from comments import cell, comments, paragraphs
from recalld.v1 import error_reason_pb2
from recalld_server.rpc.render.errors import TABLE

PREFIX = "ERROR_REASON_"
ENUM = "ErrorReason"
VALUES = error_reason_pb2.ErrorReason.DESCRIPTOR.values[1:]  # without UNSPECIFIED
RAISED_ELSEWHERE = {"DEADLINE_EXCEEDED", "EXTRACTOR_BUDGET", "INTERNAL"}  # not from an error of the domain
NOT_SENT = {"EXTRACTOR_FAILED", "EXTRACTOR_BUDGET"}  # this version has no extractor that calls a language model
# What a caller should do. A reason without a text fails the generator.
TO_DO = {
    "SCOPE_MISSING": "Give at least one of `user_id`, `agent_id`, `app_id` and `run_id`, or a filter where allowed.",
    "FIELD_INVALID": "Correct every field that the BadRequest names.",
    "FILTER_INVALID": "Correct every part of the filter that the BadRequest names.",
    "QUERY_EMPTY": "Send a query with at least one character.",
    "LIMIT_EXCEEDED": "Shorten or split what the metadata names.",
    "TEXT_INVALID": "Remove NUL characters and lone surrogates.",
    "PAGE_TOKEN_INVALID": "Start again from the first page.",
    "RESUME_TOKEN_INVALID": "Start the stream again without a token.",
    "CONSISTENCY_TOKEN_INVALID": "Send the token exactly as a write returned it, or leave it out.",
    "CONSISTENCY_TOKEN_FOREIGN": "Drop the token; it does not belong to this ledger or project.",
    "MEMORY_NOT_FOUND": "Treat the memory as gone. Check the scope that the key is pinned to.",
    "REVISION_NOT_FOUND": "Read the history of the memory (ListEvents).",
    "ENTITY_NOT_FOUND": "Check the type and the id; ListEntities names the entities.",
    "PROJECT_NOT_FOUND": "Check the project id and which project the key belongs to.",
    "KEY_NOT_FOUND": "Check the key id; ListApiKeys names the keys.",
    "OPERATION_NOT_FOUND": "Check the name. Results of ended operations are kept for 24 hours.",
    "EXPORT_NOT_FOUND": "Wait for the operation, or create a new export.",
    "MEMORY_IMMUTABLE": "Do not change this memory; delete it and add another one.",
    "MEMORY_NOT_DELETED": "Nothing: the memory is live.",
    "MEMORY_EXISTS": "Import it under another id, or keep the memory that exists.",
    "ETAG_MISMATCH": "Read the memory again, decide again, and send the new etag.",
    "COUNT_MISMATCH": "Check what matches now (`dry_run`), and repeat with the new count.",
    "WRITE_CONFLICT": "Repeat the call under the same `request_id`.",
    "REQUEST_ID_REUSED": "Use a new `request_id` for each new request.",
    "INDEX_BEHIND": "Repeat the search after `RetryInfo.retry_delay`.",
    "INDEX_UNAVAILABLE": "Repeat the search after `RetryInfo.retry_delay`; the operator checks the index.",
    "LEDGER_UNAVAILABLE": "Repeat after `RetryInfo.retry_delay`, a write under the same `request_id`. Without RetryInfo"
    " an operator must act first.",
    "AS_OF_TOO_WIDE": "Narrow the scope.",
    "AS_OF_FUTURE": "Use a time or sequence number that the ledger has reached.",
    "AS_OF_NEEDS_SCOPE": "Give at least one id in the scope.",
    "EXPORT_WITHDRAWN": "Create a new export.",
    "HISTORY_TRIMMED": "Start from `oldest_sequence` or later.",
    "NOT_YET_AVAILABLE": "Do without this call or option.",
    "KEY_MISSING": "Send `authorization: Bearer <key>`.",
    "KEY_INVALID": "Check the key; ask an admin for a new one.",
    "KEY_EXPIRED": "Ask an admin for a new key.",
    "KEY_REVOKED": "Ask an admin for a new key.",
    "ROLE_INSUFFICIENT": "Use a key with the role that the metadata names.",
    "ORIGIN_REFUSED": "Create an API key, or call from the server's own machine without a proxy.",
    "OVERLOADED": "Back off, starting with `RetryInfo.retry_delay`, and repeat.",
    "RATE_LIMITED": "Back off, starting with `RetryInfo.retry_delay`, and repeat.",
    "STREAM_LIMIT": "Close streams that are no longer needed, then repeat.",
    "WATCH_TOO_SLOW": "Resume with the `resume_token` of the metadata, and read faster.",
    "EXTRACTOR_FAILED": "Repeat under the same `request_id`.",
    "EXTRACTOR_BUDGET": "Send fewer or shorter messages.",
    "EMBEDDER_UNAVAILABLE": "Repeat after `RetryInfo.retry_delay`; the operator checks the embedding endpoint.",
    "VECTOR_INVALID": "Send a finite, non-zero vector with the dimension of the project's model.",
    "REQUEST_MALFORMED": "Encode the request as the message that the rpc takes.",
    "SHUTTING_DOWN": "Repeat; another server, or this one after its restart, answers.",
    "DEADLINE_EXCEEDED": "Repeat a write under the same `request_id`: it may have been committed.",
    "INTERNAL": "Report the correlation id to the operator, who finds the details in the log.",
    "PROJECT_EXISTS": "Choose another project id.",
    "READ_TOO_COSTLY": "Narrow the scope or the filter.",
}
_HEAD = re.compile(r"^([A-Z_]+)(, [^:]+)?: (.*)$")


def generate() -> str:
    """One row for each reason, with an anchor of its own, in the order of the enum."""
    codes: dict[str, set[str]] = {}
    for code, reason in TABLE.values():
        codes.setdefault(reason, set()).add(code.name)
    said = comments()
    rows = ["| reason | gRPC code | meaning | what to do |", "|---|---|---|---|"]
    for value in VALUES:
        name = value.name.removeprefix(PREFIX)
        text, *_ = paragraphs(said[f"{ENUM}.{value.name}"])
        found = _HEAD.match(text)
        if found is None:
            raise ValueError(f"the comment of {value.name} does not begin with a status code")
        if codes.get(name, {found[1]} if name in RAISED_ELSEWHERE else set()) != {found[1]}:
            raise ValueError(f"{name}: the proto says {found[1]}, the table of the server {codes.get(name)}")
        where = f" ({found[2].removeprefix(', ')})" if found[2] else ""
        first = found[3].partition(" ")[0]
        meaning = found[3] if "_" in first else first.capitalize() + found[3][len(first) :]
        meaning += " This version never sends it." if name in NOT_SENT else ""
        anchor = f'<a id="{name.lower()}"></a>'
        rows.append(f"| {anchor}`{name}` | {found[1]}{where} | {cell(meaning)} | {cell(TO_DO[name])} |")
    if leftover := TO_DO.keys() - {value.name.removeprefix(PREFIX) for value in VALUES}:
        raise ValueError(f"texts for reasons that do not exist: {', '.join(sorted(leftover))}")
    return "\n".join(rows)
