"""Conversion of conversations to the API's messages.

Accepts the message dicts of OpenAI, Anthropic and LangChain. Joins the text parts of a content list and omits all other
content (tool calls, images, ids). A message without text is sent empty; the server returns a verdict for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recalld import times, validation
from recalld.arguments import stamp
from recalld.errors import InvalidRequest, all_invalid, invalid
from recalld.v1 import memory_pb2

ROLES = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    # Names in other libraries.
    "developer": "system",
    "function": "tool",
    "human": "user",
    "ai": "assistant",
}
OURS = ("role", "content", "name", "timestamp")
# Keys of model APIs' wire formats, which are ignored: they contain nothing that a participant said.
WIRE = (
    *("additional_kwargs", "annotations", "audio", "cache_control", "example", "finish_reason", "function_call", "id"),
    *("index", "invalid_tool_calls", "model", "object", "parsed", "phase", "reasoning", "reasoning_content", "refusal"),
    *("response_metadata", "status", "stop_reason", "stop_sequence", "tool_call_id", "tool_calls", "type", "usage"),
    *("usage_metadata", "status_code", "artifact"),
)
TEXT_PARTS = ("text", "input_text", "output_text")


def conversation(messages: Mapping[str, Any] | Sequence[Mapping[str, Any]], path: str = "messages") -> list[Any]:
    """Convert one message or a list. Messages have `role`, `content` and optionally `name` and `timestamp`.

    Raises InvalidRequest with all violations.
    """
    if not isinstance(messages, Mapping | Sequence) or isinstance(messages, bytes):
        kind = type(messages).__name__
        raise invalid(path, f"must be a text, a message or a list of messages, not {kind}")
    listed = [messages] if isinstance(messages, Mapping) else list(messages)
    made, refused = [], list[InvalidRequest]()
    for number, each in enumerate(listed):
        try:
            made.append(message(each, f"{path}[{number}]"))
        except InvalidRequest as error:
            refused.append(error)
    if refused:
        raise _together(refused)
    return made


def message(given: Mapping[str, Any], path: str) -> memory_pb2.Message:
    """Convert one message. Raises InvalidRequest with all violations."""
    if not isinstance(given, Mapping):
        raise invalid(path, "must be an object with role and content")
    refused = [
        invalid(f"{path}.{key}", f"is unknown; allowed: {', '.join(OURS)}")
        for key in given
        if key not in OURS and key not in WIRE
    ]
    role = given.get("role", given.get("type"))  # LangChain's dicts name the role `type`
    if role not in ROLES:
        refused.append(invalid(f"{path}.role", f"must be one of {', '.join(ROLES)}"))
    made = memory_pb2.Message()
    try:
        made.content = _content(given, f"{path}.content")
        if given.get("name") is not None:
            made.name = validation.text(given["name"], f"{path}.name")
        stamp(made.time, given.get("timestamp"), times.moment, f"{path}.timestamp")
    except InvalidRequest as error:
        refused.append(error)
    if refused:
        raise _together(refused)
    made.role = ROLES[str(role)]
    return made


def _together(refused: Sequence[InvalidRequest]) -> InvalidRequest:
    """One error with all violations and the reason of the first."""
    return all_invalid([each for error in refused for each in error.violations], reason=refused[0].reason)


def _content(given: Mapping[str, Any], path: str) -> str:
    """The text of a message. `content` may be None, or missing if there is something else, such as tool calls."""
    content = given.get("content")
    if content is None:
        if "content" in given or any(key in given for key in ("tool_calls", "function_call", "refusal", "audio")):
            return ""
        return validation.text(content, path)  # raises
    if isinstance(content, str):
        return validation.text(content, path)
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        return "\n".join(part for number, each in enumerate(content) if (part := _part(each, f"{path}[{number}]")))
    raise invalid(path, f"must be a string or a list of parts, not {type(content).__name__}")


def _part(given: Any, path: str) -> str:
    """The text of one part of a content list; "" for parts of other types."""
    if isinstance(given, str):
        return validation.text(given, path)
    if not isinstance(given, Mapping) or not isinstance(given.get("type"), str):
        raise invalid(path, "must be a text or an object with a type")
    return validation.text(given.get("text"), f"{path}.text") if given["type"] in TEXT_PARTS else ""
