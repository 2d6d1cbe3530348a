"""The command line: `recalld …`. Each command imports what it needs when it runs, so that help is there at once."""

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
cli.add_typer(keys.cli, name="keys", help="Make, list and end API keys.")
cli.add_typer(projects.cli, name="projects", help="Create and list projects, build their indexes anew.")


def main() -> None:
    """The entry point `recalld`."""
    # gRPC's core reads this once, at its import. Its lines go to standard error past our log, one for each call that it
    # refuses, with what the caller sent, and before every error of ours.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from recalld_server.bench import bench

    cli.add_typer(bench, name="bench", help="Measure retrieval quality and speed.")
    cli()
