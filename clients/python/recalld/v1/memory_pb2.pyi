from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    KIND_ADDED: _ClassVar[Kind]
    KIND_UPDATED: _ClassVar[Kind]
    KIND_DELETED: _ClassVar[Kind]
    KIND_RESTORED: _ClassVar[Kind]
    KIND_FORGOTTEN: _ClassVar[Kind]

class Change(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_UNSPECIFIED: _ClassVar[Change]
    CHANGE_ADD: _ClassVar[Change]
    CHANGE_UPDATE: _ClassVar[Change]
    CHANGE_DELETE: _ClassVar[Change]
    CHANGE_NONE: _ClassVar[Change]

class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAUSE_UNSPECIFIED: _ClassVar[Cause]
    CAUSE_CALLER: _ClassVar[Cause]
    CAUSE_INSTRUCTION: _ClassVar[Cause]
    CAUSE_EXPIRED: _ClassVar[Cause]

class IndexState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INDEX_STATE_UNSPECIFIED: _ClassVar[IndexState]
    INDEX_STATE_APPLIED: _ClassVar[IndexState]
    INDEX_STATE_PENDING: _ClassVar[IndexState]

class Feedback(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEEDBACK_UNSPECIFIED: _ClassVar[Feedback]
    FEEDBACK_POSITIVE: _ClassVar[Feedback]
    FEEDBACK_NEGATIVE: _ClassVar[Feedback]
    FEEDBACK_VERY_NEGATIVE: _ClassVar[Feedback]

class VerdictReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_REASON_UNSPECIFIED: _ClassVar[VerdictReason]
    VERDICT_REASON_STORED: _ClassVar[VerdictReason]
    VERDICT_REASON_REPEATED: _ClassVar[VerdictReason]
    VERDICT_REASON_QUESTION: _ClassVar[VerdictReason]
    VERDICT_REASON_GREETING: _ClassVar[VerdictReason]
    VERDICT_REASON_REQUEST: _ClassVar[VerdictReason]
    VERDICT_REASON_ACKNOWLEDGEMENT: _ClassVar[VerdictReason]
    VERDICT_REASON_ROLE_NOT_REMEMBERED: _ClassVar[VerdictReason]
    VERDICT_REASON_EMPTY: _ClassVar[VerdictReason]
    VERDICT_REASON_EXCLUDED: _ClassVar[VerdictReason]
    VERDICT_REASON_NO_FACT: _ClassVar[VerdictReason]
    VERDICT_REASON_QUOTED: _ClassVar[VerdictReason]
    VERDICT_REASON_GIVEN_TEXT: _ClassVar[VerdictReason]

class EntityType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENTITY_TYPE_UNSPECIFIED: _ClassVar[EntityType]
    ENTITY_TYPE_USER: _ClassVar[EntityType]
    ENTITY_TYPE_AGENT: _ClassVar[EntityType]
    ENTITY_TYPE_APP: _ClassVar[EntityType]
    ENTITY_TYPE_RUN: _ClassVar[EntityType]
KIND_UNSPECIFIED: Kind
KIND_ADDED: Kind
KIND_UPDATED: Kind
KIND_DELETED: Kind
KIND_RESTORED: Kind
KIND_FORGOTTEN: Kind
CHANGE_UNSPECIFIED: Change
CHANGE_ADD: Change
CHANGE_UPDATE: Change
CHANGE_DELETE: Change
CHANGE_NONE: Change
CAUSE_UNSPECIFIED: Cause
CAUSE_CALLER: Cause
CAUSE_INSTRUCTION: Cause
CAUSE_EXPIRED: Cause
INDEX_STATE_UNSPECIFIED: IndexState
INDEX_STATE_APPLIED: IndexState
INDEX_STATE_PENDING: IndexState
FEEDBACK_UNSPECIFIED: Feedback
FEEDBACK_POSITIVE: Feedback
FEEDBACK_NEGATIVE: Feedback
FEEDBACK_VERY_NEGATIVE: Feedback
VERDICT_REASON_UNSPECIFIED: VerdictReason
VERDICT_REASON_STORED: VerdictReason
VERDICT_REASON_REPEATED: VerdictReason
VERDICT_REASON_QUESTION: VerdictReason
VERDICT_REASON_GREETING: VerdictReason
VERDICT_REASON_REQUEST: VerdictReason
VERDICT_REASON_ACKNOWLEDGEMENT: VerdictReason
VERDICT_REASON_ROLE_NOT_REMEMBERED: VerdictReason
VERDICT_REASON_EMPTY: VerdictReason
VERDICT_REASON_EXCLUDED: VerdictReason
VERDICT_REASON_NO_FACT: VerdictReason
VERDICT_REASON_QUOTED: VerdictReason
VERDICT_REASON_GIVEN_TEXT: VerdictReason
ENTITY_TYPE_UNSPECIFIED: EntityType
ENTITY_TYPE_USER: EntityType
ENTITY_TYPE_AGENT: EntityType
ENTITY_TYPE_APP: EntityType
ENTITY_TYPE_RUN: EntityType

class Memory(_message.Message):
    __slots__ = ("id", "text", "user_id", "agent_id", "app_id", "run_id", "metadata", "categories", "create_time", "update_time", "expire_time", "event_time", "revision", "etag", "speaker", "sources", "add_id", "immutable", "feedback", "feedback_reason", "said_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    ADD_ID_FIELD_NUMBER: _ClassVar[int]
    IMMUTABLE_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_REASON_FIELD_NUMBER: _ClassVar[int]
    SAID_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    text: str
    user_id: str
    agent_id: str
    app_id: str
    run_id: str
    metadata: _struct_pb2.Struct
    categories: _containers.RepeatedScalarFieldContainer[str]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    event_time: _timestamp_pb2.Timestamp
    revision: int
    etag: str
    speaker: str
    sources: _containers.RepeatedCompositeFieldContainer[Message]
    add_id: str
    immutable: bool
    feedback: Feedback
    feedback_reason: str
    said_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., text: _Optional[str] = ..., user_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., app_id: _Optional[str] = ..., run_id: _Optional[str] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., categories: _Optional[_Iterable[str]] = ..., create_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., event_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ..., etag: _Optional[str] = ..., speaker: _Optional[str] = ..., sources: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., add_id: _Optional[str] = ..., immutable: bool = ..., feedback: _Optional[_Union[Feedback, str]] = ..., feedback_reason: _Optional[str] = ..., said_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("role", "content", "name", "time", "position")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    role: str
    content: str
    name: str
    time: _timestamp_pb2.Timestamp
    position: int
    def __init__(self, role: _Optional[str] = ..., content: _Optional[str] = ..., name: _Optional[str] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., position: _Optional[int] = ...) -> None: ...

class Scope(_message.Message):
    __slots__ = ("user_id", "agent_id", "app_id", "run_id")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_ID_FIELD_NUMBER: _ClassVar[int]
    APP_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    agent_id: str
    app_id: str
    run_id: str
    def __init__(self, user_id: _Optional[str] = ..., agent_id: _Optional[str] = ..., app_id: _Optional[str] = ..., run_id: _Optional[str] = ...) -> None: ...

class AsOf(_message.Message):
    __slots__ = ("sequence", "time")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CustomCategory(_message.Message):
    __slots__ = ("name", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("memory", "score", "relevance", "explanation")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    RELEVANCE_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    memory: Memory
    score: float
    relevance: float
    explanation: Explanation
    def __init__(self, memory: _Optional[_Union[Memory, _Mapping]] = ..., score: _Optional[float] = ..., relevance: _Optional[float] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("lexical", "similarity", "similarity_normalised", "context", "context_normalised", "speaker", "date", "keyword_raw", "vector_raw", "matched_idf_share", "neighbour", "tail")
    LEXICAL_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_NORMALISED_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_NORMALISED_FIELD_NUMBER: _ClassVar[int]
    SPEAKER_FIELD_NUMBER: _ClassVar[int]
    DATE_FIELD_NUMBER: _ClassVar[int]
    KEYWORD_RAW_FIELD_NUMBER: _ClassVar[int]
    VECTOR_RAW_FIELD_NUMBER: _ClassVar[int]
    MATCHED_IDF_SHARE_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOUR_FIELD_NUMBER: _ClassVar[int]
    TAIL_FIELD_NUMBER: _ClassVar[int]
    lexical: float
    similarity: float
    similarity_normalised: float
    context: float
    context_normalised: float
    speaker: float
    date: float
    keyword_raw: float
    vector_raw: float
    matched_idf_share: float
    neighbour: bool
    tail: bool
    def __init__(self, lexical: _Optional[float] = ..., similarity: _Optional[float] = ..., similarity_normalised: _Optional[float] = ..., context: _Optional[float] = ..., context_normalised: _Optional[float] = ..., speaker: _Optional[float] = ..., date: _Optional[float] = ..., keyword_raw: _Optional[float] = ..., vector_raw: _Optional[float] = ..., matched_idf_share: _Optional[float] = ..., neighbour: bool = ..., tail: bool = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "memory_id", "kind", "cause", "memory_before", "memory_after", "sources", "principal", "request_id", "time")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BEFORE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_AFTER_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    memory_id: str
    kind: Kind
    cause: Cause
    memory_before: Memory
    memory_after: Memory
    sources: _containers.RepeatedCompositeFieldContainer[Message]
    principal: str
    request_id: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., memory_id: _Optional[str] = ..., kind: _Optional[_Union[Kind, str]] = ..., cause: _Optional[_Union[Cause, str]] = ..., memory_before: _Optional[_Union[Memory, _Mapping]] = ..., memory_after: _Optional[_Union[Memory, _Mapping]] = ..., sources: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., principal: _Optional[str] = ..., request_id: _Optional[str] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("message_index", "reason", "memory_ids", "detail")
    MESSAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MEMORY_IDS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    message_index: int
    reason: VerdictReason
    memory_ids: _containers.RepeatedScalarFieldContainer[str]
    detail: str
    def __init__(self, message_index: _Optional[int] = ..., reason: _Optional[_Union[VerdictReason, str]] = ..., memory_ids: _Optional[_Iterable[str]] = ..., detail: _Optional[str] = ...) -> None: ...

class Entity(_message.Message):
    __slots__ = ("type", "id", "number", "memory_count", "first_seen_time", "last_seen_time")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    type: EntityType
    id: str
    number: int
    memory_count: int
    first_seen_time: _timestamp_pb2.Timestamp
    last_seen_time: _timestamp_pb2.Timestamp
    def __init__(self, type: _Optional[_Union[EntityType, str]] = ..., id: _Optional[str] = ..., number: _Optional[int] = ..., memory_count: _Optional[int] = ..., first_seen_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., last_seen_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
