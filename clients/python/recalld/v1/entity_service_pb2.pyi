from google.api import field_behavior_pb2 as _field_behavior_pb2
from recalld.v1 import memory_pb2 as _memory_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListEntitiesRequest(_message.Message):
    __slots__ = ("type", "page_size", "page_token", "with_total_size")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    WITH_TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    type: _memory_pb2.EntityType
    page_size: int
    page_token: str
    with_total_size: bool
    def __init__(self, type: _Optional[_Union[_memory_pb2.EntityType, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., with_total_size: bool = ...) -> None: ...

class ListEntitiesResponse(_message.Message):
    __slots__ = ("entities", "next_page_token", "total_size")
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    entities: _containers.RepeatedCompositeFieldContainer[_memory_pb2.Entity]
    next_page_token: str
    total_size: int
    def __init__(self, entities: _Optional[_Iterable[_Union[_memory_pb2.Entity, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ...) -> None: ...

class DeleteEntityRequest(_message.Message):
    __slots__ = ("type", "id", "request_id")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    type: _memory_pb2.EntityType
    id: str
    request_id: str
    def __init__(self, type: _Optional[_Union[_memory_pb2.EntityType, str]] = ..., id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteEntityResponse(_message.Message):
    __slots__ = ("deleted_count", "consistency_token", "index_state")
    DELETED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONSISTENCY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INDEX_STATE_FIELD_NUMBER: _ClassVar[int]
    deleted_count: int
    consistency_token: str
    index_state: _memory_pb2.IndexState
    def __init__(self, deleted_count: _Optional[int] = ..., consistency_token: _Optional[str] = ..., index_state: _Optional[_Union[_memory_pb2.IndexState, str]] = ...) -> None: ...
