"""The instruments: every figure is kept here once, for Prometheus to scrape and for OTLP to send.

A span is made beside a figure when a tracer is given; without one nothing of OpenTelemetry is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from recalld_server.telemetry import metric_names


class Tracer(Protocol):
    """Makes spans. The one implementation is `telemetry.tracing.Tracer`; none is made when nobody asked for traces."""

    def span(self, name: str, kind: str, attributes: Mapping[str, Any]) -> Any:
        """A context manager around a span under the running one; an exception that passes marks it as failed.

        Without a running one there is no span: only calls begin traces.
        """
        ...

    def call(self, name: str, metadata: Mapping[str, str], attributes: Mapping[str, Any]) -> Any:
        """The same around a call, under the caller's span if the metadata names one; gives a `Call`."""
        ...


class _Timed:
    """Times what is inside, under a span if there is one. A class, as a dozen of them surround every search."""

    __slots__ = ("_labels", "_observe", "_span", "_start")

    def __init__(self, observe: Callable[..., None], labels: tuple[str, ...], span: Any) -> None:
        self._observe = observe
        self._labels = labels
        self._span = span

    def __enter__(self) -> None:
        if self._span is not None:
            self._span.__enter__()
        self._start = perf_counter()

    def __exit__(self, *error: Any) -> None:
        self._observe(perf_counter() - self._start, *self._labels)
        if self._span is not None:
            self._span.__exit__(*error)


class Instruments:
    """All metrics of a server. Counting costs a microsecond or two; safe from any thread."""

    def __init__(self, tracer: Tracer | None = None) -> None:
        self.tracer = tracer
        self.registry = CollectorRegistry(auto_describe=True)
        self._metrics: dict[str, Any] = {metric.name: self._made(metric) for metric in metric_names.METRICS}
        self._children: dict[tuple[str, ...], Any] = {}

    def observe(self, metric: metric_names.Metric, value: float, *labels: str) -> None:
        """Add a value to a histogram."""
        self._child(metric, labels).observe(value)

    def count(self, metric: metric_names.Metric, *labels: str) -> None:
        """Add one to a counter."""
        self._child(metric, labels).inc()

    def set(self, metric: metric_names.Metric, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._child(metric, labels).set(value)

    def clear(self, metric: metric_names.Metric) -> None:
        """Forget the label values of a metric: what they named may be gone."""
        self._children = {key: child for key, child in self._children.items() if key[0] != metric.name}
        self._metrics[metric.name].clear()

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def stage(self, name: str) -> _Timed:
        """See telemetry.span.Observer."""
        return self._timed(metric_names.STAGE_TIME, (name,), name, "internal", {metric_names.STAGE: name})

    def store(self, store: str, operation: str) -> _Timed:
        """Around one call of a store."""
        attributes = {metric_names.STORE: store, metric_names.OPERATION: operation}
        return self._timed(metric_names.STORE_TIME, (store, operation), f"{store}.{operation}", "client", attributes)

    def model(self, model: str, texts: int) -> _Timed:
        """Around one call of an embedding model."""
        attributes = {
            metric_names.AI_OPERATION: metric_names.EMBEDDINGS,
            metric_names.MODEL: model,
            metric_names.INPUTS: texts,
        }
        labels = (metric_names.EMBEDDINGS, model)
        return self._timed(metric_names.MODEL_TIME, labels, f"{metric_names.EMBEDDINGS} {model}", "client", attributes)

    def _timed(
        self, metric: metric_names.Metric, labels: tuple[str, ...], name: str, kind: str, attributes: Mapping[str, Any]
    ) -> _Timed:
        return _Timed(partial(self.observe, metric), labels, self.tracer and self.tracer.span(name, kind, attributes))

    def _child(self, metric: metric_names.Metric, labels: tuple[str, ...]) -> Any:
        if not metric.labels:
            return self._metrics[metric.name]
        key = (metric.name, *labels)
        if (child := self._children.get(key)) is None:
            child = self._children[key] = self._metrics[metric.name].labels(*labels)
        return child

    def _made(self, metric: metric_names.Metric) -> Any:
        labels = [metric_names.label(attribute) for attribute in metric.labels]
        if metric.kind == "histogram":
            return Histogram(metric.prometheus, metric.help, labels, registry=self.registry, buckets=metric.buckets)
        kind = Counter if metric.kind == "counter" else Gauge
        return kind(metric.prometheus, metric.help, labels, registry=self.registry)
