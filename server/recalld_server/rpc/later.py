"""Services of the API whose work is not part of this version: every call says so."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import ServiceDescriptor

from recalld_server.domain.errors import NotYetAvailable


def later(service: ServiceDescriptor) -> Any:
    """A servicer of every rpc of `service` that answers UNIMPLEMENTED (NOT_YET_AVAILABLE)."""
    methods = {method.name: (_stream if method.server_streaming else _unary) for method in service.methods}
    return type(service.name, (), {name: staticmethod(answer) for name, answer in methods.items()})()


async def _unary(request: Any, context: Any) -> Any:
    raise NotYetAvailable


async def _stream(request: Any, context: Any) -> Any:
    raise NotYetAvailable
    yield  # makes this a stream
