"""The names of all stages, metrics and attributes.

Metrics and attributes follow OpenTelemetry's semantic conventions for rpc, db and gen_ai where these define a name; our
own names begin with `recalld.`. The method is the only attribute value that comes from a request; no texts do.
"""

from __future__ import annotations

from dataclasses import dataclass

STAGES = {
    "embed": "compute vectors of texts",
    "extract": "extract facts from messages",
    "index": "get candidates from the index",
    "ledger": "read the ledger",
    "rank": "rank the candidates",
    "commit": "run the transaction of a write",
    "apply": "apply a write to the index",
    "wait": "wait until the index is as fresh as requested",
}

# The attributes of spans and metrics. Prometheus labels have underscores instead of dots.
METHOD = "rpc.method"  # full name: recalld.v1.MemoryService/Add
SYSTEM = "rpc.system.name"
STATUS = "rpc.response.status_code"  # OK, NOT_FOUND, …
CORRELATION = "recalld.correlation_id"
STAGE = "recalld.stage"
STORE = "recalld.store"  # ledger or index
OPERATION = "db.operation.name"  # the method of the port: commit, pool, nominate, …
MODEL = "gen_ai.request.model"
AI_OPERATION = "gen_ai.operation.name"
INPUTS = "recalld.embeddings.texts"  # number of texts in one call of the embedder
PROJECT = "recalld.project"
WORK = "recalld.work"  # background work on a project: projection, expiry or repair
TASK = "recalld.task"  # name of a background task
QUEUE = "recalld.queue"
CACHE = "recalld.cache"
KIND = "recalld.call.class"  # see rpc/interceptors/admission.py
REASON = "recalld.reason"  # the reason of an ErrorInfo

EMBEDDINGS = "embeddings"  # the value of AI_OPERATION, and the first word of span names


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `kind` is counter, gauge or histogram; `unit` is a UCUM unit: `s`, `By`, or `{…}` for a count."""

    name: str
    kind: str
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """The name on /metrics, without the suffixes that Prometheus adds to counters and histograms."""
        units = {"s": "_seconds", "By": "_bytes"}
        return label(self.name) + units.get(self.unit, "")


def label(attribute: str) -> str:
    """The Prometheus label of an attribute."""
    return attribute.replace(".", "_")


SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

CALLS = Metric("rpc.server.call.duration", "histogram", "s", "Duration of calls.", (METHOD, STATUS), SECONDS)
STAGE_TIME = Metric("recalld.stage.duration", "histogram", "s", "Duration of stages.", (STAGE,), SECONDS)
STORE_TIME = Metric(
    "db.client.operation.duration", "histogram", "s", "Duration of store calls.", (STORE, OPERATION), SECONDS
)
MODEL_TIME = Metric(
    "gen_ai.client.operation.duration", "histogram", "s", "Duration of model calls.", (AI_OPERATION, MODEL), SECONDS
)
BATCH = Metric(
    "recalld.embedder.batch", "histogram", "{text}", "Texts per run of the model.", (), (1, 2, 4, 8, 16, 32, 64)
)
REFUSED = Metric(
    "recalld.admission.refused", "counter", "{call}", "Calls refused for load or by a quota.", (REASON, KIND)
)
RUNNING = Metric("recalld.calls.running", "gauge", "{call}", "Running calls of a class.", (KIND,))
WAITING = Metric("recalld.calls.waiting", "gauge", "{call}", "Waiting calls of a class.", (KIND,))
OPEN = Metric("recalld.calls.open", "gauge", "{call}", "All open calls, including streams.")
STREAMS = Metric("recalld.streams.open", "gauge", "{stream}", "Open streams and waits.")
LAG = Metric("recalld.index.lag", "gauge", "{change}", "Head minus applied sequence number.", (PROJECT,))
PENDING = Metric("recalld.index.pending", "gauge", "{change}", "Changes that the index has not confirmed.", (PROJECT,))
STALLED = Metric(
    "recalld.project.stalled",
    "gauge",
    "{project}",
    "1 for each project whose background work fails and is retried; at most 100 projects.",
    (PROJECT, WORK),
)
STALLS = Metric("recalld.projects.stalled", "gauge", "{project}", "Projects whose background work fails.", (WORK,))
FAILED = Metric("recalld.background.failures", "counter", "{failure}", "Failures of a background task.", (TASK,))
DEPTH = Metric("recalld.queue.depth", "gauge", "{item}", "Items that wait in a queue.", (QUEUE,))
CACHED = Metric("recalld.cache.size", "gauge", "{entry}", "Entries of a cache.", (CACHE,))
VECTORS = Metric("recalld.cache.memory", "gauge", "By", "Memory of a cache.", (CACHE,))
MEMORY = Metric("process.memory.usage", "gauge", "By", "Resident memory of the server; NaN if not on Linux.")

METRICS = (
    CALLS,
    STAGE_TIME,
    STORE_TIME,
    MODEL_TIME,
    BATCH,
    REFUSED,
    RUNNING,
    WAITING,
    OPEN,
    STREAMS,
    LAG,
    PENDING,
    STALLED,
    STALLS,
    FAILED,
    DEPTH,
    CACHED,
    VECTORS,
    MEMORY,
)
