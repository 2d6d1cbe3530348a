"""Converts every exception, and every request that cannot be deserialized, to a status with details."""

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
    """Ends a call that raised an exception with the status of the exception. Cancellations pass unchanged."""

    def prepared(self, handler: Handler) -> Handler:
        """Deserialize a request that is too large or malformed to an error, which the handler raises.

        gRPC itself would answer such a request with a status without a reason.
        """
        if handler.request_deserializer is None:
            return handler
        parse = handler.request_deserializer

        def tolerant(data: bytes) -> Any:
            if len(data) > CALL_BYTES:
                text = f"A request message must be at most {CALL_BYTES} bytes, not {len(data)}."
                return LimitExceeded(text, limit=CALL_BYTES, actual=len(data))
            try:
                return parse(data)
            except (DecodeError, UnicodeDecodeError, ValueError):
                return RequestMalformed(type=_type(parse))

        return _checked(handler._replace(request_deserializer=tolerant))

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        try:
            yield
        except grpc.aio.BaseError:  # gRPC's own: the call is already answered, or its caller is gone
            raise
        except Exception as error:  # noqa: BLE001 - TABLE gives the status; errors that it lacks become INTERNAL
            status = rpc_status.to_status(status_of(error, correlation_id()))
            trailing = (*status.trailing_metadata, (HEADER, correlation_id()))
            await abort(context, status.code, status.details, trailing)


def _type(parse: Any) -> str:
    """The full name of the message type that a deserializer reads; empty if it is not a method of a message type."""
    descriptor = getattr(getattr(parse, "__self__", None), "DESCRIPTOR", None)
    return descriptor.full_name if descriptor else ""


def _checked(handler: Any) -> Handler:
    """The handler, which raises the error that replaces an unreadable request."""
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
