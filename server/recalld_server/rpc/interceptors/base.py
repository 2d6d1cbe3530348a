"""Putting something around a handler, whichever of the four shapes it has."""

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
    """Inside, `work` runs whenever a stream has written an answer; what it raises ends the stream."""
    token = _after.set((*_after.get(), work))
    try:
        yield
    finally:
        _after.reset(token)


def wrapped(handler: Handler, surrounding: Surrounding) -> Handler:
    """The handler inside the context manager that `surrounding` gives for each call.

    An answer of a stream leaves while the surrounding is open; it closes when the handler ends, however it ends, in the
    task it was opened in.
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
    """Run a handler of any shape, and write the answers of one that yields them.

    The library would leave a generator whose caller has gone to the garbage collector, which closes it late and outside
    of the call's task and context; written from here, it is closed at once.
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
    """Write one answer of a stream; returns when what the network buffers has room for it."""
    try:
        await context.write(answer)
    except grpc.aio.InternalError:  # nobody is there any more
        raise asyncio.CancelledError from None


class Interceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Surrounds every call with `around`."""

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler | None:
        handler = await continuation(details)
        return handler and wrapped(self.prepared(handler), lambda context: self.around(details, context))

    def prepared(self, handler: Handler) -> Handler:
        """The handler before it is surrounded."""
        return handler

    def around(self, details: Details, context: Any) -> AbstractAsyncContextManager[None]:
        """What happens before and after a call."""
        raise NotImplementedError


def metadata(details: Details) -> dict[str, str]:
    """The text metadata of a call, keys in lower case. Several values of a key are joined by commas (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for key, value in details.invocation_metadata or ():
        if isinstance(value, str):
            found[key] = f"{found[key]},{value}" if key in found else value
    return found
