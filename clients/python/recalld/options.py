"""The keyword arguments of the clients' methods. Unknown arguments raise TypeError.

An id that is None or empty raises InvalidRequest, since it would silently match everyone. Omit unneeded ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, TypedDict

from recalld.times import Time


class Unset(Enum):
    """The default of arguments for which None has a meaning."""

    UNSET = "unset"


UNSET = Unset.UNSET
Id = str | Unset
Timeout = float | None | Unset
OutputFormat = Literal["v1.0", "v1.1"]
Version = Literal["v1", "v2"]
CustomCategories = Mapping[str, str] | str | Sequence[Mapping[str, str] | str]
Messages = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]


class ScopeOptions(TypedDict, total=False):
    """The scope. If there are several ids, a memory must have all of them."""

    user_id: str
    agent_id: str
    app_id: str
    run_id: str


class AddOptions(ScopeOptions, total=False):
    """Options of `add`. At least one id is required."""

    metadata: Mapping[str, Any] | None  # set on every memory of this add
    infer: bool  # True (default): extract facts; False: store messages unchanged
    includes: str | None  # in words: store only this
    excludes: str | None  # in words: do not store this
    categories: Sequence[str] | str | None  # replace the categories that the server would choose
    custom_categories: CustomCategories | None  # choose among these: {name: description}, names, or a list of both
    custom_instructions: str | None  # used only by extractors that support them
    expiration_date: Time | None  # a day is the last one (UTC) on which the memories are found
    timestamp: Time | float | None  # when it was said; numbers are Unix seconds
    immutable: bool  # True: cannot be updated; can still be deleted and expire
    version: Version  # no effect
    async_mode: bool  # must be False: add returns once the memories are stored
    request_id: str | None  # made up when not given


class ConditionOptions(ScopeOptions, total=False):
    """Which memories to use. All conditions must hold; default: all memories that the API key may access."""

    categories: Sequence[str] | str | None  # matches memories with any of them
    metadata: Mapping[str, Any] | None  # {key: value} or {key: {operator: value}}; all must hold
    filters: Mapping[str, Any] | None  # grammar: see `recalld.filters`
    version: Version  # no effect: filters work in both versions


class SearchOptions(ConditionOptions, total=False):
    """Options of searches."""

    limit: int | None  # 1 to 10,000; default: 10
    top_k: int | None  # another name for limit
    threshold: float | None  # minimum relevance, 0 to 1; default: none
    mode: Literal["hybrid", "keyword", "vector"]
    explain: bool  # adds "explanation" to each hit
    as_of: Time | int | None  # search a past state: a sequence number or a time; requires an id
    at_least_as_fresh: str | None  # consistency token of a write that the search must reflect
    max_tokens: int | None  # limit for all texts together


class ListOptions(ConditionOptions, total=False):
    """Options of `get_all`."""

    keywords: str | None  # phrase in the text; case is ignored


class UpdateOptions(TypedDict, total=False):
    """Options of `update`. A value replaces the whole old value; omitted values do not change."""

    data: str | None  # another name for text
    metadata: Mapping[str, Any]  # {} clears it
    categories: Sequence[str] | str  # [] clears them
    expiration_date: Time | None  # None clears it
    immutable: bool
    etag: str | None  # fail with Conflict unless the memory is at this revision
    request_id: str | None  # made up when not given
