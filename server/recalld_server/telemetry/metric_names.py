"""The names of everything measured: the one list of stages, metrics, spans and attributes.

Metrics and attributes follow OpenTelemetry's semantic conventions for rpc, db and gen_ai where those have a word; what
is our own begins with `recalld.`. No value of any attribute is taken from a request but the method, and no text is.
"""

from __future__ import annotations

from dataclasses import dataclass

STAGES = {
    "embed": "texts to vectors",
    "extract": "messages to facts",
    "index": "candidates from the index",
    "ledger": "reads of the ledger",
    "rank": "the order of the candidates",
    "commit": "the transaction of a write",
    "apply": "a write's entries put into the index",
    "wait": "until the index is as fresh as asked",
}

# Attributes, of spans as of metrics; in Prometheus with underscores for dots.
METHOD = "rpc.method"  # full name: recalld.v1.MemoryService/Add
SYSTEM = "rpc.system.name"
STATUS = "rpc.response.status_code"  # OK, NOT_FOUND, …
CORRELATION = "recalld.correlation_id"
STAGE = "recalld.stage"
STORE = "recalld.store"  # ledger or index
OPERATION = "db.operation.name"  # the method of the port: commit, pool, nominate, …
MODEL = "gen_ai.request.model"
AI_OPERATION = "gen_ai.operation.name"
INPUTS = "recalld.embeddings.texts"  # texts in one call of the embedder
PROJECT = "recalld.project"
WORK = "recalld.work"  # of the background for a project: projection, expiry or repair
TASK = "recalld.task"  # of the background
QUEUE = "recalld.queue"
CACHE = "recalld.cache"
KIND = "recalld.call.class"  # read, search or write
REASON = "recalld.reason"  # of an ErrorInfo

EMBEDDINGS = "embeddings"  # value of AI_OPERATION, and first word of its spans


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `kind` is counter, gauge or histogram; a unit of `s` is seconds, `{…}` counts things (UCUM)."""

    name: str
    kind: str
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def prometheus(self) -> str:
        """The name on /metrics, without what Prometheus adds to counters and histograms."""
        units = {"s": "_seconds", "By": "_bytes"}
        return label(self.name) + units.get(self.unit, "")


def label(attribute: str) -> str:
    """An attribute's name in Prometheus."""
    return attribute.replace(".", "_")


SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

CALLS = Metric("rpc.server.call.duration", "histogram", "s", "Calls answered.", (METHOD, STATUS), SECONDS)
STAGE_TIME = Metric("recalld.stage.duration", "histogram", "s", "Stages of calls.", (STAGE,), SECONDS)
STORE_TIME = Metric("db.client.operation.duration", "histogram", "s", "Store calls.", (STORE, OPERATION), SECONDS)
MODEL_TIME = Metric(
    "gen_ai.client.operation.duration", "histogram", "s", "Model calls.", (AI_OPERATION, MODEL), SECONDS
)
BATCH = Metric(
    "recalld.embedder.batch", "histogram", "{text}", "Texts in a run of the model.", (), (1, 2, 4, 8, 16, 32, 64)
)
REFUSED = Metric("recalld.admission.refused", "counter", "{call}", "Calls refused for load.", (REASON, KIND))
RUNNING = Metric("recalld.calls.running", "gauge", "{call}", "Admitted calls under way.", (KIND,))
WAITING = Metric("recalld.calls.waiting", "gauge", "{call}", "Calls waiting for their turn.", (KIND,))
OPEN = Metric("recalld.calls.open", "gauge", "{call}", "All calls under way, streams among them.")
STREAMS = Metric("recalld.streams.open", "gauge", "{stream}", "Streams under way.")
LAG = Metric("recalld.index.lag", "gauge", "{change}", "Head minus applied sequence number.", (PROJECT,))
PENDING = Metric("recalld.index.pending", "gauge", "{change}", "Changes the index has not confirmed.", (PROJECT,))
STALLED = Metric(
    "recalld.project.stalled",
    "gauge",
    "{project}",
    "1 for each of up to 100 projects whose background work fails and is tried again.",
    (PROJECT, WORK),
)
STALLS = Metric("recalld.projects.stalled", "gauge", "{project}", "Projects whose background work fails.", (WORK,))
FAILED = Metric("recalld.background.failures", "counter", "{failure}", "Failures of a background task.", (TASK,))
DEPTH = Metric("recalld.queue.depth", "gauge", "{item}", "What waits in a queue.", (QUEUE,))
CACHED = Metric("recalld.cache.size", "gauge", "{entry}", "Entries of a cache.", (CACHE,))
VECTORS = Metric("recalld.cache.memory", "gauge", "By", "Memory of a cache.", (CACHE,))
MEMORY = Metric("process.memory.usage", "gauge", "By", "Resident memory of the server; NaN off Linux.")

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
