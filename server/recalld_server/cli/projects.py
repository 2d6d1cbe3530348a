"""`recalld projects`: through a server, with an operator's key in RECALLD_API_KEY."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recalld_server.cli.keys import Authority, asked
from recalld_server.cli.memories import Target

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Id = Annotated[str, typer.Argument(help="The project's id.")]


@cli.command()
def create(
    project: Annotated[str, typer.Argument(help="Its id: up to 64 of a-z, 0-9 and -, beginning with a letter.")],
    name: Annotated[str, typer.Option(help="For people.")] = "",
    language: Annotated[str, typer.Option(help="Of its memories, by its Snowball name; default english.")] = "",
    target: Target = None,
    tls_ca: Authority = None,
) -> None:
    """Create an empty project."""
    from recalld.v1 import project_service_pb2 as pb

    made: Any = pb.CreateProjectRequest(
        project=pb.Project(project_id=project, display_name=name), settings=pb.ProjectSettings(language=language)
    )
    _show(asked(target, tls_ca, "CreateProject", made).project)


@cli.command("list")
def list_projects(target: Target = None, tls_ca: Authority = None) -> None:
    """List all projects."""
    from recalld.v1 import project_service_pb2 as pb

    token, more = "", True
    while more:
        answer = asked(target, tls_ca, "ListProjects", pb.ListProjectsRequest(page_token=token, page_size=1000))
        for project in answer.projects:
            _show(project)
        token = answer.next_page_token
        more = bool(token)


@cli.command()
def usage(project: Id, target: Target = None, tls_ca: Authority = None) -> None:
    """Count what a project holds."""
    from recalld.v1 import project_service_pb2 as pb

    counted = asked(target, tls_ca, "GetUsage", pb.GetUsageRequest(project_id=project)).usage
    for name in ("memory_count", "revision_count", "entity_count", "message_count", "sequence"):
        typer.echo(f"{name.removesuffix('_count'):<10}{getattr(counted, name)}")


def _show(project: Any) -> None:
    typer.echo(f"{project.project_id:<24}{project.create_time.ToDatetime():%Y-%m-%d}  {project.display_name}")
