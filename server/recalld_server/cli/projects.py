"""`recalld projects`: via a server, with an operator key in RECALLD_API_KEY, or directly on a PostgreSQL ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recalld_server.cli.keys import asked, done
from recalld_server.cli.memories import Authority, Target
from recalld_server.cli.reindex import rebuild_index, reembed
from recalld_server.cli.terminal import echo

if TYPE_CHECKING:
    from recalld_server.domain.projects import Project
    from recalld_server.ports.projects import Projects

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
cli.command()(rebuild_index)
cli.command()(reembed)
Ledger = Annotated[
    str | None,
    typer.Option(help="Open this ledger, postgresql://user:password@host:port/database, instead of using a server."),
]
Id = Annotated[str, typer.Argument(help="Project id.")]


@cli.command()
def create(
    project: Annotated[str, typer.Argument(help="Project id: up to 64 of a-z, 0-9 and -, starting with a letter.")],
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    language: Annotated[
        str, typer.Option(help="Language of the memories (Snowball stemmer name); default: english.")
    ] = "",
    ledger: Ledger = None,
    target: Target = None,
    tls_ca: Authority = None,
) -> None:
    """Create an empty project."""
    if ledger:
        from recalld_server.domain.projects import Project
        from recalld_server.usecases.projects import founded

        _line(_on(ledger, lambda projects: founded(projects, Project(project, name), language)))
        return
    from recalld.v1 import project_service_pb2 as pb

    made: Any = pb.CreateProjectRequest(
        project=pb.Project(project_id=project, display_name=name), settings=pb.ProjectSettings(language=language)
    )
    _show(asked(target, tls_ca, "CreateProject", made).project)


@cli.command("list")
def list_projects(ledger: Ledger = None, target: Target = None, tls_ca: Authority = None) -> None:
    """List all projects."""
    if ledger:
        for found in _on(ledger, _every):
            _line(found)
        return
    from recalld.v1 import project_service_pb2 as pb

    token, more = "", True
    while more:
        answer = asked(target, tls_ca, "ListProjects", pb.ListProjectsRequest(page_token=token, page_size=1000))
        for project in answer.projects:
            _show(project)
        token = answer.next_page_token
        more = bool(token)


@cli.command()
def usage(project: Id, ledger: Ledger = None, target: Target = None, tls_ca: Authority = None) -> None:
    """Print the counts of a project: memories, revisions, entities, messages, sequence number."""
    if ledger:
        kept = _on(ledger, lambda projects: projects.usage(project))
        figures = (kept.memories, kept.revisions, kept.entities, kept.messages, kept.seq)
    else:
        from recalld.v1 import project_service_pb2 as pb

        told = asked(target, tls_ca, "GetUsage", pb.GetUsageRequest(project_id=project)).usage
        figures = (told.memory_count, told.revision_count, told.entity_count, told.message_count, told.sequence)
    for name, figure in zip(("memory", "revision", "entity", "message", "sequence"), figures, strict=True):
        echo(f"{name:<10}{figure}")


def _on(ledger: str, work: Callable[[Projects], Awaitable[Any]]) -> Any:
    from recalld_server.admin.offline import open_projects
    from recalld_server.wiring.settings import Settings

    async def direct() -> Any:
        async with open_projects(Settings.read({"ledger": ledger})) as projects:
            return await work(projects)

    return done(direct())


async def _every(projects: Projects) -> list[Project]:
    found: list[Project] = []
    while page := await projects.page(found[-1].id if found else "", 1000):
        found += page
    return found


def _line(project: Project) -> None:
    from datetime import UTC, datetime

    day = datetime.fromtimestamp(project.create_time / 1_000_000, UTC)
    echo(f"{project.id:<24}{day:%Y-%m-%d}  {project.name}")


def _show(project: Any) -> None:
    echo(f"{project.project_id:<24}{project.create_time.ToDatetime():%Y-%m-%d}  {project.display_name}")
