from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.longrunning import operations_pb2 as _operations_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from recalld.v1 import filter_pb2 as _filter_pb2
from recalld.v1 import memory_pb2 as _memory_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ForgetState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FORGET_STATE_UNSPECIFIED: _ClassVar[ForgetState]
    FORGET_STATE_EMPTY: _ClassVar[ForgetState]
    FORGET_STATE_PENDING: _ClassVar[ForgetState]
    FORGET_STATE_NOT_COVERED: _ClassVar[ForgetState]
FORGET_STATE_UNSPECIFIED: ForgetState
FORGET_STATE_EMPTY: ForgetState
FORGET_STATE_PENDING: ForgetState
FORGET_STATE_NOT_COVERED: ForgetState

class AddResult(_message.Message):
    __slots__ = ("memory_id", "change", "memory", "previous_text")
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_TEXT_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    change: _memory_pb2.Change
    memory: _memory_pb2.Memory
    previous_text: str
    def __init__(self, memory_id: _Optional[str] = ..., change: _Optional[_Union[_memory_pb2.Change, str]] = ..., memory: _Optional[_Union[_memory_pb2.Memory, _Mapping]] = ..., previous_text: _Optional[str] = ...) -> None: ...

class ImportText(_message.Message):
    __slots__ = ("text", "name", "role", "scope", "metadata", "categories", "message_time", "expire_time", "immutable")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    IMMUTABLE_FIELD_NUMBER: _ClassVar[int]
    text: str
    name: str
    role: str
    scope: _memory_pb2.Scope
    metadata: _struct_pb2.Struct
    categories: _containers.RepeatedScalarFieldContainer[str]
    message_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    immutable: bool
    def __init__(self, text: _Optional[str] = ..., name: _Optional[str] = ..., role: _Optional[str] = ..., scope: _Optional[_Union[_memory_pb2.Scope, _Mapping]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., categories: _Optional[_Iterable[str]] = ..., message_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., immutable: bool = ...) -> None: ...

class ImportFailure(_message.Message):
    __slots__ = ("index", "status")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    index: int
    status: _status_pb2.Status
    def __init__(self, index: _Optional[int] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class BatchUpdateItem(_message.Message):
    __slots__ = ("memory", "update_mask", "etag")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    memory: _memory_pb2.Memory
    update_mask: _field_mask_pb2.FieldMask
    etag: str
    def __init__(self, memory: _Optional[_Union[_memory_pb2.Memory, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class ForgetLeg(_message.Message):
    __slots__ = ("name", "state", "detail")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    state: ForgetState
    detail: str
    def __init__(self, name: _Optional[str] = ..., state: _Optional[_Union[ForgetState, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class WatchCheckpoint(_message.Message):
    __slots__ = ("sequence", "time")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    time: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AddRequest(_message.Message):
    __slots__ = ("scope", "messages", "text", "metadata", "infer", "includes", "excludes", "custom_categories", "custom_instructions", "categories", "expire_time", "timestamp", "immutable", "dry_run", "request_id")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    INFER_FIELD_NUMBER: _ClassVar[int]
    INCLUDES_FIELD_NUMBER: _ClassVar[int]
    EXCLUDES_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    IMMUTABLE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    scope: _memory_pb2.Scope
    messages: _containers.RepeatedCompositeFieldContainer[_memory_pb2.Message]
    text: str
    metadata: _struct_pb2.Struct
    infer: bool
    includes: str
    excludes: str
    custom_categories: _containers.RepeatedCompositeFieldContainer[_memory_pb2.CustomCategory]
    custom_instructions: str
    categories: _containers.RepeatedScalarFieldContainer[str]
    expire_time: _timestamp_pb2.Timestamp
    timestamp: _timestamp_pb2.Timestamp
    immutable: bool
    dry_run: bool
    request_id: str
    def __init__(self, scope: _Optional[_Union[_memory_pb2.Scope, _Mapping]] = ..., messages: _Optional[_Iterable[_Union[_memory_pb2.Message, _Mapping]]] = ..., text: _Optional[str] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., infer: bool = ..., includes: _Optional[str] = ..., excludes: _Optional[str] = ..., custom_categories: _Optional[_Iterable[_Union[_memory_pb2.CustomCategory, _Mapping]]] = ..., custom_instructions: _Optional[str] = ..., categories: _Optional[_Iterable[str]] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., timestamp: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., immutable: bool = ..., dry_run: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class AddResponse(_message.Message):
    __slots__ = ("results", "verdicts", "add_id", "consistency_token", "index_state")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    ADD_ID_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[AddResult]
    verdicts: _containers.RepeatedCompositeFieldContainer[_memory_pb2.Verdict]
    add_id: str
    consistency_token: str
    index_state: _memory_pb2.IndexState
    def __init__(self, results: _Optional[_Iterable[_Union[AddResult, _Mapping]]] = ..., verdicts: _Optional[_Iterable[_Union[_memory_pb2.Verdict, _Mapping]]] = ..., add_id: _Optional[str] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ...) -> None: ...

class ImportItem(_message.Message):
    __slots__ = ("text", "memory", "history", "vector", "vector_model", "request_id")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    VECTOR_MODEL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    text: ImportText
    memory: _memory_pb2.Memory
    history: ImportHistory
    vector: _containers.RepeatedScalarFieldContainer[float]
    vector_model: str
    request_id: str
    def __init__(self, text: _Optional[_Union[ImportText, _Mapping]] = ..., memory: _Optional[_Union[_memory_pb2.Memory, _Mapping]] = ..., history: _Optional[_Union[ImportHistory, _Mapping]] = ..., vector: _Optional[_Iterable[float]] = ..., vector_model: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ImportHistory(_message.Message):
    __slots__ = ("revisions",)
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedCompositeFieldContainer[ImportRevision]
    def __init__(self, revisions: _Optional[_Iterable[_Union[ImportRevision, _Mapping]]] = ...) -> None: ...

class ImportRevision(_message.Message):
    __slots__ = ("memory", "kind", "cause", "vector")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    memory: _memory_pb2.Memory
    kind: _memory_pb2.Kind
    cause: _memory_pb2.Cause
    vector: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, memory: _Optional[_Union[_memory_pb2.Memory, _Mapping]] = ..., kind: _Optional[_Union[_memory_pb2.Kind, str]] = ..., cause: _Optional[_Union[_memory_pb2.Cause, str]] = ..., vector: _Optional[_Iterable[float]] = ...) -> None: ...

class ImportProgress(_message.Message):
    __slots__ = ("through_index", "stored", "unchanged", "failed", "consistency_token", "index_state")
    THROUGH_INDEX_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    through_index: int
    stored: int
    unchanged: int
    failed: _containers.RepeatedCompositeFieldContainer[ImportFailure]
    consistency_token: str
    index_state: _memory_pb2.IndexState
    def __init__(self, through_index: _Optional[int] = ..., stored: _Optional[int] = ..., unchanged: _Optional[int] = ..., failed: _Optional[_Iterable[_Union[ImportFailure, _Mapping]]] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ...) -> None: ...

class GetMemoryRequest(_message.Message):
    __slots__ = ("memory_id",)
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    def __init__(self, memory_id: _Optional[str] = ...) -> None: ...

class GetMemoryResponse(_message.Message):
    __slots__ = ("memory",)
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    memory: _memory_pb2.Memory
    def __init__(self, memory: _Optional[_Union[_memory_pb2.Memory, _Mapping]] = ...) -> None: ...

class ListMemoriesRequest(_message.Message):
    __slots__ = ("scope", "filter", "order_by", "page_size", "page_token", "skip", "with_total_size", "as_of")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    WITH_TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    scope: _memory_pb2.Scope
    filter: _filter_pb2.Filter
    order_by: str
    page_size: int
    page_token: str
    skip: int
    with_total_size: bool
    as_of: _memory_pb2.AsOf
    def __init__(self, scope: _Optional[_Union[_memory_pb2.Scope, _Mapping]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., order_by: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., skip: _Optional[int] = ..., with_total_size: bool = ..., as_of: _Optional[_Union[_memory_pb2.AsOf, _Mapping]] = ...) -> None: ...

class ListMemoriesResponse(_message.Message):
    __slots__ = ("memories", "next_page_token", "total_size")
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[_memory_pb2.Memory]
    next_page_token: str
    total_size: int
    def __init__(self, memories: _Optional[_Iterable[_Union[_memory_pb2.Memory, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ...) -> None: ...

class UpdateMemoryRequest(_message.Message):
    __slots__ = ("memory", "update_mask", "etag", "request_id")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    memory: _memory_pb2.Memory
    update_mask: _field_mask_pb2.FieldMask
    etag: str
    request_id: str
    def __init__(self, memory: _Optional[_Union[_memory_pb2.Memory, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateMemoryResponse(_message.Message):
    __slots__ = ("memory", "consistency_token", "index_state")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    memory: _memory_pb2.Memory
    consistency_token: str
    index_state: _memory_pb2.IndexState
    def __init__(self, memory: _Optional[_Union[_memory_pb2.Memory, _Mapping]] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ...) -> None: ...

class DeleteMemoryRequest(_message.Message):
    __slots__ = ("memory_id", "etag", "request_id")
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    etag: str
    request_id: str
    def __init__(self, memory_id: _Optional[str] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteMemoryResponse(_message.Message):
    __slots__ = ("consistency_token", "index_state")
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    consistency_token: str
    index_state: _memory_pb2.IndexState
    def __init__(self, consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ...) -> None: ...

class BatchUpdateMemoriesRequest(_message.Message):
    __slots__ = ("updates", "request_id")
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    updates: _containers.RepeatedCompositeFieldContainer[BatchUpdateItem]
    request_id: str
    def __init__(self, updates: _Optional[_Iterable[_Union[BatchUpdateItem, _Mapping]]] = ..., request_id: _Optional[str] = ...) -> None: ...

class BatchUpdateMemoriesResponse(_message.Message):
    __slots__ = ("memories", "consistency_token", "index_state")
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    memories: _containers.RepeatedCompositeFieldContainer[_memory_pb2.Memory]
    consistency_token: str
    index_state: _memory_pb2.IndexState
    def __init__(self, memories: _Optional[_Iterable[_Union[_memory_pb2.Memory, _Mapping]]] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ...) -> None: ...

class BatchDeleteMemoriesRequest(_message.Message):
    __slots__ = ("memory_ids", "request_id")
    MEMORY_IDS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    memory_ids: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    def __init__(self, memory_ids: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class BatchDeleteMemoriesResponse(_message.Message):
    __slots__ = ("deleted_count", "consistency_token", "index_state")
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    deleted_count: int
    consistency_token: str
    index_state: _memory_pb2.IndexState
    def __init__(self, deleted_count: _Optional[int] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ...) -> None: ...

class DeleteMemoriesRequest(_message.Message):
    __slots__ = ("scope", "filter", "dry_run", "expected_count", "request_id")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    scope: _memory_pb2.Scope
    filter: _filter_pb2.Filter
    dry_run: bool
    expected_count: int
    request_id: str
    def __init__(self, scope: _Optional[_Union[_memory_pb2.Scope, _Mapping]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., dry_run: bool = ..., expected_count: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteMemoriesResponse(_message.Message):
    __slots__ = ("count", "sample", "consistency_token", "index_state", "restorable_until")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    RESTORABLE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    count: int
    sample: _containers.RepeatedCompositeFieldContainer[_memory_pb2.Memory]
    consistency_token: str
    index_state: _memory_pb2.IndexState
    restorable_until: _timestamp_pb2.Timestamp
    def __init__(self, count: _Optional[int] = ..., sample: _Optional[_Iterable[_Union[_memory_pb2.Memory, _Mapping]]] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ..., restorable_until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RestoreMemoryRequest(_message.Message):
    __slots__ = ("memory_id", "revision", "request_id")
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    revision: int
    request_id: str
    def __init__(self, memory_id: _Optional[str] = ..., revision: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class RestoreMemoryResponse(_message.Message):
    __slots__ = ("memory", "consistency_token", "index_state")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    memory: _memory_pb2.Memory
    consistency_token: str
    index_state: _memory_pb2.IndexState
    def __init__(self, memory: _Optional[_Union[_memory_pb2.Memory, _Mapping]] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ...) -> None: ...

class ForgetMemoriesRequest(_message.Message):
    __slots__ = ("scope", "filter", "dry_run", "expected_count", "request_id")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    scope: _memory_pb2.Scope
    filter: _filter_pb2.Filter
    dry_run: bool
    expected_count: int
    request_id: str
    def __init__(self, scope: _Optional[_Union[_memory_pb2.Scope, _Mapping]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., dry_run: bool = ..., expected_count: _Optional[int] = ..., request_id: _Optional[str] = ...) -> None: ...

class ForgetReceipt(_message.Message):
    __slots__ = ("memory_count", "revision_count", "export_count", "sequence", "check_time", "legs", "consistency_token", "index_state")
    MEMORY_COUNT_FIELD_NUMBER: _ClassVar[int]
    REVISION_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPORT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHECK_TIME_FIELD_NUMBER: _ClassVar[int]
    LEGS_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    memory_count: int
    revision_count: int
    export_count: int
    sequence: int
    check_time: _timestamp_pb2.Timestamp
    legs: _containers.RepeatedCompositeFieldContainer[ForgetLeg]
    consistency_token: str
    index_state: _memory_pb2.IndexState
    def __init__(self, memory_count: _Optional[int] = ..., revision_count: _Optional[int] = ..., export_count: _Optional[int] = ..., sequence: _Optional[int] = ..., check_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., legs: _Optional[_Iterable[_Union[ForgetLeg, _Mapping]]] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("memory_id", "scope", "filter", "page_size", "page_token", "after_sequence")
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    scope: _memory_pb2.Scope
    filter: _filter_pb2.Filter
    page_size: int
    page_token: str
    after_sequence: int
    def __init__(self, memory_id: _Optional[str] = ..., scope: _Optional[_Union[_memory_pb2.Scope, _Mapping]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., after_sequence: _Optional[int] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_memory_pb2.Event]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[_memory_pb2.Event, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("scope", "filter", "beginning", "resume_token", "as_of")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    BEGINNING_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    scope: _memory_pb2.Scope
    filter: _filter_pb2.Filter
    beginning: bool
    resume_token: str
    as_of: _memory_pb2.AsOf
    def __init__(self, scope: _Optional[_Union[_memory_pb2.Scope, _Mapping]] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., beginning: bool = ..., resume_token: _Optional[str] = ..., as_of: _Optional[_Union[_memory_pb2.AsOf, _Mapping]] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("event", "checkpoint", "resume_token")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    event: _memory_pb2.Event
    checkpoint: WatchCheckpoint
    resume_token: str
    def __init__(self, event: _Optional[_Union[_memory_pb2.Event, _Mapping]] = ..., checkpoint: _Optional[_Union[WatchCheckpoint, _Mapping]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class DeleteByInstructionRequest(_message.Message):
    __slots__ = ("instruction", "scope", "dry_run", "request_id")
    INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    instruction: str
    scope: _memory_pb2.Scope
    dry_run: bool
    request_id: str
    def __init__(self, instruction: _Optional[str] = ..., scope: _Optional[_Union[_memory_pb2.Scope, _Mapping]] = ..., dry_run: bool = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteByInstructionResponse(_message.Message):
    __slots__ = ("understood", "memories", "count", "consistency_token", "index_state", "restorable_until")
    UNDERSTOOD_FIELD_NUMBER: _ClassVar[int]
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    RESTORABLE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    understood: str
    memories: _containers.RepeatedCompositeFieldContainer[_memory_pb2.Memory]
    count: int
    consistency_token: str
    index_state: _memory_pb2.IndexState
    restorable_until: _timestamp_pb2.Timestamp
    def __init__(self, understood: _Optional[str] = ..., memories: _Optional[_Iterable[_Union[_memory_pb2.Memory, _Mapping]]] = ..., count: _Optional[int] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ..., restorable_until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SetFeedbackRequest(_message.Message):
    __slots__ = ("memory_id", "feedback", "reason", "request_id")
    MEMORY_ID_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    memory_id: str
    feedback: _memory_pb2.Feedback
    reason: str
    request_id: str
    def __init__(self, memory_id: _Optional[str] = ..., feedback: _Optional[_Union[_memory_pb2.Feedback, str]] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class SetFeedbackResponse(_message.Message):
    __slots__ = ("memory", "consistency_token", "index_state")
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    memory: _memory_pb2.Memory
    consistency_token: str
    index_state: _memory_pb2.IndexState
    def __init__(self, memory: _Optional[_Union[_memory_pb2.Memory, _Mapping]] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ...) -> None: ...
