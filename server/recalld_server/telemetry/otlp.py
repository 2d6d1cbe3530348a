"""Export of the metrics by OTLP. This module is imported only if the export is on."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from recalld_server.concurrency.daemon_thread import detached
from recalld_server.telemetry import metric_names
from recalld_server.telemetry.instruments import Instruments

CUMULATIVE = AggregationTemporality.CUMULATIVE


def resource() -> Resource:
    """The resource of this server, from OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.

    The default service name is `recalld`, the default instance id host:pid. Without an instance id, a collector would
    take the counters of several servers for a single counter that jumps up and down.
    """
    told = Resource.create()
    own = Resource({"service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}).merge(told)
    unnamed = str(told.attributes.get("service.name", "")).startswith("unknown_service")
    return own.merge(Resource({"service.name": "recalld"})) if unnamed else own


class Sender:
    """Exports the metrics at a fixed interval, and once more when it ends."""

    def __init__(self, instruments: Instruments, sample: Callable[[], Awaitable[None]]) -> None:
        self._instruments = instruments
        self._sample = sample
        self._exporter = OTLPMetricExporter()
        self._resource = resource()
        self._start = time.time_ns()

    async def run(self, interval: float) -> None:
        """Export every `interval` seconds until cancelled, and then once more.

        The exporter logs failed exports. They lose nothing, because every export sends the cumulative sums.
        """
        try:
            while True:
                await asyncio.sleep(interval)
                await self._send()
        finally:
            await self._send()

    def shutdown(self) -> None:
        """Cancel a running export and close the connection."""
        self._exporter.shutdown()

    async def _send(self) -> None:
        await self._sample()
        figures = self.collected()
        await detached(lambda: self._exporter.export(figures))

    def collected(self) -> MetricsData:
        """The current values of all metrics in OpenTelemetry's form."""
        now = time.time_ns()
        families = {family.name: family for family in self._instruments.registry.collect()}
        metrics = [
            Metric(m.name, m.help, m.unit, self._data(m, families[m.prometheus].samples, now))
            for m in metric_names.METRICS
        ]
        scope = ScopeMetrics(InstrumentationScope("recalld"), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def _data(self, metric: metric_names.Metric, samples: Iterable[Any], now: int) -> Sum | Gauge | Histogram:
        if metric.kind == "histogram":
            return Histogram(self._histograms(metric, samples, now), CUMULATIVE)
        wanted = [sample for sample in samples if not sample.name.endswith("_created")]
        points = [
            NumberDataPoint(_attributes(metric, sample.labels), self._start, now, sample.value) for sample in wanted
        ]
        return Sum(points, CUMULATIVE, is_monotonic=True) if metric.kind == "counter" else Gauge(points)

    def _histograms(self, metric: metric_names.Metric, samples: Iterable[Any], now: int) -> list[HistogramDataPoint]:
        buckets: dict[tuple[str, ...], list[int]] = defaultdict(list)
        sums: dict[tuple[str, ...], float] = {}
        for sample in samples:
            key = tuple(sample.labels[metric_names.label(attribute)] for attribute in metric.labels)
            if sample.name.endswith("_bucket"):
                buckets[key].append(int(sample.value))
            elif sample.name.endswith("_sum"):
                sums[key] = sample.value
        return [
            HistogramDataPoint(
                attributes=dict(zip(metric.labels, key, strict=True)),
                start_time_unix_nano=self._start,
                time_unix_nano=now,
                count=found[-1],
                sum=sums[key],
                bucket_counts=[high - low for low, high in zip([0, *found], found, strict=False)],
                explicit_bounds=metric.buckets,
                min=None,  # type: ignore[arg-type] # not measured; both are optional in the protocol
                max=None,  # type: ignore[arg-type]
            )
            for key, found in buckets.items()
        ]


def _attributes(metric: metric_names.Metric, labels: dict[str, str]) -> dict[str, str]:
    return {attribute: labels[metric_names.label(attribute)] for attribute in metric.labels}
