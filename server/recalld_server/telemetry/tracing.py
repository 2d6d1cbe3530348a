"""Traces by OpenTelemetry. The import takes 0.3 s, so `telemetry.setup` imports this module only if traces are on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.propagators.textmap import default_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
# Only these codes mark a server span as an error, because they are the server's fault (semantic conventions for gRPC).
FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


class Call:
    """The span of a running call."""

    def __init__(self, span: Any) -> None:
        self._span = span

    @property
    def trace_id(self) -> str:
        """The trace id, 32 hexadecimal digits."""
        return format(self._span.get_span_context().trace_id, "032x")

    def answered(self, attribute: str, code: str) -> None:
        """Record the status code of the call under `attribute`."""
        self._span.set_attribute(attribute, code)
        if code in FAULTS:
            self._span.set_status(Status(StatusCode.ERROR))


class Tracer:
    """See telemetry.instruments.Tracer. Only the types of exceptions are recorded: messages may contain user texts."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("recalld")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, kind: str, attributes: Mapping[str, Any]) -> Iterator[None]:
        if not get_current_span().get_span_context().is_valid:
            yield  # background work: each of its polls, several per second, would be a separate trace
            return
        with self._tracer.start_as_current_span(
            name, kind=KINDS[kind], attributes=dict(attributes), record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(Status(StatusCode.ERROR))
                raise

    @contextmanager
    def call(self, name: str, metadata: Mapping[str, str], attributes: Mapping[str, Any]) -> Iterator[Call]:
        parent = self._propagator.extract(metadata, getter=default_getter)
        with self._tracer.start_as_current_span(
            name,
            context=parent,
            kind=SpanKind.SERVER,
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield Call(span)
