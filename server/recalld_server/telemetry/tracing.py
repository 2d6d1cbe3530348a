"""Traces by OpenTelemetry. Importing this costs 0.3 s, so only `telemetry.setup` does, and only when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.propagators.textmap import default_getter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
# Codes that are the server's fault; of the others a server span is no error (semantic conventions for gRPC).
FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


class Call:
    """The span of a running call."""

    def __init__(self, span: Any) -> None:
        self._span = span

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return format(self._span.get_span_context().trace_id, "032x")

    def answered(self, attribute: str, code: str) -> None:
        """Note the code the caller gets."""
        self._span.set_attribute(attribute, code)
        if code in FAULTS:
            self._span.set_status(Status(StatusCode.ERROR))


class Tracer:
    """See telemetry.instruments.Tracer. Exceptions are recorded by their type alone: their words may hold a text."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("recalld")
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(self, name: str, kind: str, attributes: Mapping[str, Any]) -> Iterator[None]:
        if not get_current_span().get_span_context().is_valid:
            yield  # the background's: each of its looks, several a second, would be a trace of its own
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
