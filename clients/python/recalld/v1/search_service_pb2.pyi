from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from recalld.v1 import filter_pb2 as _filter_pb2
from recalld.v1 import memory_pb2 as _memory_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SearchMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEARCH_MODE_UNSPECIFIED: _ClassVar[SearchMode]
    SEARCH_MODE_HYBRID: _ClassVar[SearchMode]
    SEARCH_MODE_KEYWORD: _ClassVar[SearchMode]
    SEARCH_MODE_VECTOR: _ClassVar[SearchMode]
SEARCH_MODE_UNSPECIFIED: SearchMode
SEARCH_MODE_HYBRID: SearchMode
SEARCH_MODE_KEYWORD: SearchMode
SEARCH_MODE_VECTOR: SearchMode

class StageTime(_message.Message):
    __slots__ = ("name", "duration")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    duration: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., duration: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Checkpoint(_message.Message):
    __slots__ = ("changed",)
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    changed: bool
    def __init__(self, changed: bool = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ("hit_count", "truncated", "changed", "stages", "sequence", "candidate_count")
    HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    hit_count: int
    truncated: bool
    changed: bool
    stages: _containers.RepeatedCompositeFieldContainer[StageTime]
    sequence: int
    candidate_count: int
    def __init__(self, hit_count: _Optional[int] = ..., truncated: bool = ..., changed: bool = ..., stages: _Optional[_Iterable[_Union[StageTime, _Mapping]]] = ..., sequence: _Optional[int] = ..., candidate_count: _Optional[int] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("query", "scope", "filter", "limit", "threshold", "mode", "explain", "as_of", "at_least_as_fresh", "max_tokens", "resume_token")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_AS_FRESH_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    query: str
    scope: _memory_pb2.Scope
    filter: _filter_pb2.Filter
    limit: int
    threshold: float
    mode: SearchMode
    explain: bool
    as_of: _memory_pb2.AsOf
    at_least_as_fresh: str
    max_tokens: int
    resume_token: str
    def __init__(self, query: _Optional[str] = ..., scope: _Optional[_Union[_memory_pb2.Scope, _Mapping]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., limit: _Optional[int] = ..., threshold: _Optional[float] = ..., mode: _Optional[_Union[SearchMode, str]] = ..., explain: bool = ..., as_of: _Optional[_Union[_memory_pb2.AsOf, _Mapping]] = ..., at_least_as_fresh: _Optional[str] = ..., max_tokens: _Optional[int] = ..., resume_token: _Optional[str] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("hits", "truncated", "stages", "candidate_count", "sequence")
    HITS_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[_memory_pb2.Hit]
    truncated: bool
    stages: _containers.RepeatedCompositeFieldContainer[StageTime]
    candidate_count: int
    sequence: int
    def __init__(self, hits: _Optional[_Iterable[_Union[_memory_pb2.Hit, _Mapping]]] = ..., truncated: bool = ..., stages: _Optional[_Iterable[_Union[StageTime, _Mapping]]] = ..., candidate_count: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class StreamSearchResponse(_message.Message):
    __slots__ = ("hit", "checkpoint", "done", "resume_token")
    HIT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    hit: _memory_pb2.Hit
    checkpoint: Checkpoint
    done: Done
    resume_token: str
    def __init__(self, hit: _Optional[_Union[_memory_pb2.Hit, _Mapping]] = ..., checkpoint: _Optional[_Union[Checkpoint, _Mapping]] = ..., done: _Optional[_Union[Done, _Mapping]] = ..., resume_token: _Optional[str] = ...) -> None: ...
