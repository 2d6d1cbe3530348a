"""Every exception becomes a status with details; bytes that are no message do too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from recalld_server.domain.errors import LimitExceeded, RecalldError, RequestMalformed
from recalld_server.domain.limits import CALL_BYTES
from recalld_server.rpc.interceptors.base import Details, Handler, Interceptor, run
from recalld_server.rpc.interceptors.call_status import abort
from recalld_server.rpc.interceptors.correlation import HEADER, correlation_id
from recalld_server.rpc.render.errors import status_of


class Errors(Interceptor):
    """Aborts with the status of whatever is raised. Cancellation passes."""

    def prepared(self, handler: Handler) -> Handler:
        """An error stands in for a request too large or unreadable; the library would answer without a reason."""
        if handler.request_deserializer is None:
            return handler
        parse = handler.request_deserializer

        def tolerant(data: bytes) -> Any:
            if len(data) > CALL_BYTES:
                return LimitExceeded(f"A message may have {CALL_BYTES} bytes.", limit=CALL_BYTES, actual=len(data))
            try:
                return parse(data)
            except (DecodeError, UnicodeDecodeError, ValueError):
                return RequestMalformed(type=_type(parse))

        return _checked(handler._replace(request_deserializer=tolerant))

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        try:
            yield
        except grpc.aio.BaseError:  # of the library: answered already, or nobody is left to answer
            raise
        except Exception as error:  # noqa: BLE001 - the table decides, INTERNAL for what it does not know
            status = rpc_status.to_status(status_of(error, correlation_id()))
            trailing = (*status.trailing_metadata, (HEADER, correlation_id()))
            await abort(context, status.code, status.details, trailing)


def _type(parse: Any) -> str:
    """The full name of the message that a deserializer reads; empty for one that is no method of a message."""
    descriptor = getattr(getattr(parse, "__self__", None), "DESCRIPTOR", None)
    return descriptor.full_name if descriptor else ""


def _checked(handler: Any) -> Handler:
    """The handler, raising what stands in for a request that could not be read."""
    inner = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream

    async def readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            if isinstance(request, RecalldError):
                raise request
            yield request

    def given(request: Any) -> Any:
        if handler.request_streaming:
            return readable(request)
        if isinstance(request, RecalldError):
            raise request
        return request

    async def checked(request: Any, context: Any) -> Any:
        return await run(inner, given(request), context)

    slot = ("stream_" if handler.request_streaming else "unary_") + (
        "stream" if handler.response_streaming else "unary"
    )
    replaced: Handler = handler._replace(**{slot: checked})
    return replaced
