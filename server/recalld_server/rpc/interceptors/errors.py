"""Every exception becomes a status with details; bytes that are no message do too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from recalld_server.domain.errors import RequestMalformed
from recalld_server.rpc.errors import status_of
from recalld_server.rpc.interceptors.around import Details, Handler, Interceptor
from recalld_server.rpc.interceptors.correlation import correlation_id


class Errors(Interceptor):
    """Aborts with the status of whatever is raised. Cancellation passes."""

    def prepared(self, handler: Handler) -> Handler:
        """Malformed requests reach the handler as `None` instead of failing in the library with a Python message."""
        if handler.request_deserializer is None:
            return handler
        parse = handler.request_deserializer

        def tolerant(data: bytes) -> Any:
            try:
                return parse(data)
            except (DecodeError, UnicodeDecodeError, ValueError):
                return None

        return _checked(handler._replace(request_deserializer=tolerant))

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        try:
            yield
        except grpc.aio.AbortError:  # already answered
            raise
        except Exception as error:  # noqa: BLE001 - the table decides, INTERNAL for what it does not know
            await context.abort_with_status(rpc_status.to_status(status_of(error, correlation_id())))


def _checked(handler: Any) -> Handler:
    """The handler, raising RequestMalformed where a request could not be read."""
    inner = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream

    async def readable(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for request in requests:
            if request is None:
                raise RequestMalformed
            yield request

    def given(request: Any) -> Any:
        if handler.request_streaming:
            return readable(request)
        if request is None:
            raise RequestMalformed
        return request

    async def unary(request: Any, context: Any) -> Any:
        return await inner(given(request), context)

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        async for answer in inner(given(request), context):
            yield answer

    slot = ("stream_" if handler.request_streaming else "unary_") + (
        "stream" if handler.response_streaming else "unary"
    )
    checked: Handler = handler._replace(**{slot: stream if handler.response_streaming else unary})
    return checked
