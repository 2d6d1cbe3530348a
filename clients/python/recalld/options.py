"""The keyword arguments of the clients' larger methods. An argument that is not here raises TypeError.

An id that is None or empty is refused, since it would silently mean everyone; leave out what is not to be a condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal, TypedDict

from recalld.times import Time


class Unset(Enum):
    """Stands for an argument that was not given, where None has a meaning of its own."""

    UNSET = "unset"


UNSET = Unset.UNSET
Id = str | Unset
Timeout = float | None | Unset
OutputFormat = Literal["v1.0", "v1.1"]
Version = Literal["v1", "v2"]
CustomCategories = Mapping[str, str] | str | Sequence[Mapping[str, str] | str]
Messages = str | Mapping[str, Any] | Sequence[Mapping[str, Any]]


class ScopeOptions(TypedDict, total=False):
    """Whom it is about. Several ids must all hold."""

    user_id: str
    agent_id: str
    app_id: str
    run_id: str


class AddOptions(ScopeOptions, total=False):
    """How to add. At least one id is needed."""

    metadata: Mapping[str, Any] | None  # put on every memory of this add
    infer: bool  # True: extract facts; False: store messages as they stand
    includes: str | None  # remember only this, in words
    excludes: str | None  # do not remember this, in words
    categories: Sequence[str] | str | None  # instead of those the server would choose
    custom_categories: CustomCategories | None  # choose among these: {name: description}, names, or a list of both
    custom_instructions: str | None  # for extractors that read them
    expiration_date: Time | None  # a day is the last on which the memories are found, UTC
    timestamp: Time | float | None  # when it was said; numbers are Unix seconds
    immutable: bool  # never updated; can be deleted and expires
    version: Version  # both are the same here
    async_mode: bool  # True is refused: this client's add answers when the memories are stored
    request_id: str | None  # made up when not given


class ConditionOptions(ScopeOptions, total=False):
    """Which memories. All conditions must hold; without any, the whole project that the API key may see."""

    categories: Sequence[str] | str | None  # any of them
    metadata: Mapping[str, Any] | None  # every key equal, or {key: {operator: value}}
    filters: Mapping[str, Any] | None  # the grammar of `recalld.filters`
    version: Version  # filters work in both


class SearchOptions(ConditionOptions, total=False):
    """What to search and how much to return."""

    limit: int | None  # 1 to 10,000; 10 by default
    top_k: int | None  # the same
    threshold: float | None  # least relevance, 0 to 1; none by default
    mode: Literal["hybrid", "keyword", "vector"]
    explain: bool  # adds "explanation" to each hit
    as_of: Time | int | None  # search the past: a sequence number or a time; needs an id
    at_least_as_fresh: str | None  # a consistency token to wait for
    max_tokens: int | None  # a budget for all texts together


class ListOptions(ConditionOptions, total=False):
    """What to list."""

    keywords: str | None  # a phrase the text contains, whatever its case


class UpdateOptions(TypedDict, total=False):
    """What to change. Each replaces the old value as a whole; what is not given stays."""

    data: str | None  # another name of text
    metadata: Mapping[str, Any]  # {} clears it
    categories: Sequence[str] | str  # [] clears them
    expiration_date: Time | None  # None clears it
    immutable: bool
    etag: str | None  # only if the memory is at this revision
    request_id: str | None  # made up when not given
