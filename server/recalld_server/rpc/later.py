"""Services of the API whose work is not part of this version: every call says so."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from recalld_server.domain.errors import NotYetAvailable


def later(service: ServiceDescriptor) -> Any:
    """A servicer of every rpc of `service` that answers UNIMPLEMENTED (NOT_YET_AVAILABLE)."""
    methods = {method.name: (_stream if method.server_streaming else _unary)(method.name) for method in service.methods}
    return type(service.name, (), {name: staticmethod(answer) for name, answer in methods.items()})()


def _unary(name: str) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        raise NotYetAvailable(feature=name)

    return answer


def _stream(name: str) -> Any:
    async def answer(request: Any, context: Any) -> Any:
        raise NotYetAvailable(feature=name)
        yield  # makes this a stream

    return answer
