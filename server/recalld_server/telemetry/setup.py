"""Sets up telemetry: metrics always, traces and OTLP export if the standard OTEL_* variables request them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from recalld_server.concurrency.daemon_thread import detached
from recalld_server.telemetry.instruments import Instruments

Sample = Callable[[], Awaitable[None]]  # updates the gauges

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SECONDS = 60.0  # the default of OTEL_METRIC_EXPORT_INTERVAL in the OpenTelemetry specification
LEFT = 0.4  # seconds for the last export when the server stops, and again for the shutdown of the exporters

log = logging.getLogger(__name__)


def wanted(environ: Mapping[str, str], signal: str) -> bool:
    """Whether the environment requests OTLP export of a signal, TRACES or METRICS.

    It does if OTEL_<signal>_EXPORTER is `otlp` or, without that variable, if an OTLP endpoint is set.
    OTEL_SDK_DISABLED=true turns the export off.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environ.get(f"OTEL_{signal}_EXPORTER", "").lower()
    if exporter:
        return exporter == "otlp"
    return bool(environ.get(ENDPOINT) or environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))


def _interval(environ: Mapping[str, str]) -> float:
    given = environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    try:
        return float(given) / 1000 if given else SECONDS
    except ValueError:
        raise ValueError(f"OTEL_METRIC_EXPORT_INTERVAL is {given!r}; it must be a number of milliseconds.") from None


class Telemetry:
    """The instruments of a server and their OTLP exporters.

    Raises ValueError for an unsupported OTLP protocol or an invalid OTEL_METRIC_EXPORT_INTERVAL.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._provider: Any = None
        self._spans: Any = None  # the exporter of traces
        self._sender: Any = None
        self._sending: asyncio.Task[None] | None = None
        self._interval = _interval(environ)
        self._metrics = wanted(environ, "METRICS")
        traces = wanted(environ, "TRACES")
        if traces or self._metrics:
            check_protocol(environ)
        self.instruments = Instruments(self._tracer() if traces else None)

    def start(self, sample: Sample) -> None:
        """Start the export of metrics, which calls `sample` before each export. Does nothing if the export is off.

        Needs a running event loop.
        """
        if self._metrics:
            from recalld_server.telemetry.otlp import Sender

            self._sender = Sender(self.instruments, sample)
            self._sending = asyncio.create_task(self._sender.run(self._interval))

    async def close(self) -> None:
        """Export the remaining telemetry for at most LEFT seconds, so that a dead collector does not delay the stop."""
        ending: list[asyncio.Task[None]] = []
        if self._sender and self._sending:
            self._sending.cancel()
            ending.append(self._sending)
        if self._provider:
            ending.append(asyncio.create_task(detached(self._provider.shutdown)))
        if not ending:
            return
        _, late = await asyncio.wait(ending, timeout=LEFT)
        if late:
            log.warning("the last telemetry was not sent: the collector did not accept it within %g s", LEFT)
        if self._sender:
            ending.append(asyncio.create_task(detached(self._sender.shutdown)))
        if late and self._spans:  # the span processor waits for this exporter
            ending.append(asyncio.create_task(detached(self._spans.shutdown)))
        _, late = await asyncio.wait(ending, timeout=LEFT)
        for task in late:
            task.cancel()
        for task in ending:
            if task.done() and not task.cancelled() and (error := task.exception()):
                log.warning("telemetry shutdown failed", exc_info=error)

    def _tracer(self) -> Any:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        from recalld_server.telemetry.otlp import resource
        from recalld_server.telemetry.tracing import Tracer

        self._provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
        self._spans = OTLPSpanExporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._spans))
        return Tracer(self._provider)


def check_protocol(environ: Mapping[str, str]) -> None:
    """Raise ValueError if OTEL_EXPORTER_OTLP_PROTOCOL is not supported."""
    protocol = environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    if protocol != "grpc":
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; allowed: grpc.")
