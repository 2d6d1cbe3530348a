"""The base of interceptors: runs code before and after a handler of any of the four kinds (unary and stream)."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager
from contextvars import ContextVar
from typing import Any

import grpc

Handler = Any  # grpc.RpcMethodHandler: the library has no types
Details = Any  # grpc.HandlerCallDetails
Continuation = Callable[[Details], Awaitable[Handler | None]]
Surrounding = Callable[[Any], AbstractAsyncContextManager[None]]  # called with the servicer context

_after: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("after", default=())


@contextmanager
def after_each_answer(work: Callable[[], None]) -> Iterator[None]:
    """Within the context, call `work` after each message that a stream sends. An exception of it ends the stream."""
    token = _after.set((*_after.get(), work))
    try:
        yield
    finally:
        _after.reset(token)


def wrapped(handler: Handler, surrounding: Surrounding) -> Handler:
    """Return the handler, run inside the context manager that `surrounding` makes for each call.

    The context is open while a stream sends its messages. It closes when the handler ends, for whatever reason, in the
    task in which it was opened.
    """
    inner = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream

    async def surrounded(request: Any, context: Any) -> Any:
        async with surrounding(context):
            return await run(inner, request, context)

    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return make(
        surrounded,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


async def run(inner: Callable[[Any, Any], Any], request: Any, context: Any) -> Any:
    """Run a handler of any kind, and send the messages of one that yields them.

    If the caller is gone, gRPC leaves the generator to the garbage collector, which closes it late and outside of the
    call's task and context. Because the messages are sent from here, the generator is closed at once.
    """
    if not inspect.isasyncgenfunction(inner):
        return await inner(request, context)
    async with aclosing(inner(request, context)) as answers:
        async for answer in answers:
            await send(context, answer)
            for work in _after.get():
                work()
    return None


async def send(context: Any, answer: Any) -> None:
    """Send one message of a stream; return when the network buffers have taken it.

    Raises CancelledError if the caller is gone.
    """
    try:
        await context.write(answer)
    except grpc.aio.InternalError:  # the caller is gone
        raise asyncio.CancelledError from None


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """An interceptor that runs every call inside the context manager `around`."""

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler | None:
        handler = await continuation(details)
        return handler and wrapped(self.prepared(handler), lambda context: self.around(details, context))

    def prepared(self, handler: Handler) -> Handler:
        """Change the handler before it is wrapped; by default it stays as it is."""
        return handler

    def around(self, details: Details, context: Any) -> AbstractAsyncContextManager[None]:
        """The context manager around one call."""
        raise NotImplementedError


def metadata(details: Details) -> dict[str, str]:
    """The text metadata of a call by lower-case key. Several values of a key are joined by commas (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for key, value in details.invocation_metadata or ():
        if isinstance(value, str):
            found[key] = f"{found[key]},{value}" if key in found else value
    return found
