"""The command line, `recalld`. Commands import their dependencies when they run, so that `--help` is fast."""

from __future__ import annotations

import os

import typer

from recalld_server.cli import demo, doctor, export, keys, memories, migrate, projects, serve, watch

cli = typer.Typer(
    name="recalld",
    help="A self-hosted memory service for AI applications, over gRPC.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
cli.command("serve")(serve.serve)
cli.command("add")(memories.add)
cli.command("search")(memories.search)
cli.command("watch")(watch.watch)
cli.command("import")(memories.import_memories)
cli.command("export")(export.export)
cli.command("doctor")(doctor.doctor)
cli.command("migrate")(migrate.migrate)
cli.command("demo")(demo.demo)
cli.add_typer(keys.cli, name="keys", help="Create, list and revoke API keys.")
cli.add_typer(projects.cli, name="projects", help="Create and list projects; rebuild their indexes.")


def main() -> None:
    """The entry point `recalld`."""
    # gRPC's core reads this once, when it is imported. Otherwise it writes to standard error, past our log: a line with
    # the caller's data for every call that it refuses, and a line before each of our error messages.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from recalld_server.bench import bench

    cli.add_typer(bench, name="bench", help="Measure retrieval quality and speed.")
    cli()
