"""`recalld projects rebuild-index` and `reembed`: queue operations in the ledger, which its servers carry out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from recalld_server.cli.keys import done
from recalld_server.cli.serve import DataDir, Ledger
from recalld_server.cli.terminal import echo

if TYPE_CHECKING:
    from recalld_server.domain.operations import Operation

LINE = "{:<24}{:<12}{}"
Only = Annotated[str | None, typer.Argument(help="Project id; default: all projects.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait until all operations have ended; exit with status 1 if one failed.")
]


def rebuild_index(project: Only = None, wait: Wait = False, data_dir: DataDir = None, ledger: Ledger = None) -> None:
    """Rebuild indexes while searches and writes continue.

    Queues one operation per project. A server of the ledger starts within a second and rebuilds one project after the
    other; if none runs, the operations wait for the next start.
    """
    _begin("", project, wait, {"data_dir": data_dir, "ledger": ledger})


def reembed(
    model: Annotated[str, typer.Argument(help="Name of an embedding model that the servers are configured with.")],
    project: Only = None,
    wait: Wait = False,
    data_dir: DataDir = None,
    ledger: Ledger = None,
) -> None:
    """Embed memories with another model, in the background.

    Queues one operation per project, as rebuild-index does.
    """
    if not model:
        raise typer.BadParameter("must not be empty", param_hint="MODEL")
    _begin(model, project, wait, {"data_dir": data_dir, "ledger": ledger})


def _begin(model: str, project: str | None, wait: bool, place: dict[str, Any]) -> None:
    if not done(_begun(model, project, wait, place)):
        raise typer.Exit(1)


async def _begun(model: str, project: str | None, wait: bool, place: dict[str, Any]) -> bool:
    """Print a line per project. Returns False if an operation was refused or, with `wait`, did not succeed."""
    from recalld_server.admin.offline import open_reindex_requests
    from recalld_server.domain.commands import ReindexCommand
    from recalld_server.domain.operations import Operation
    from recalld_server.wiring.settings import Settings

    async with open_reindex_requests(Settings.read(place)) as requests:
        begun = await requests.start(ReindexCommand(model), project)
        under_way = [each for each in begun.values() if isinstance(each, Operation)]
        for name, found in begun.items():
            if not isinstance(found, Operation):
                echo(LINE.format(name, "refused", "another rebuild or re-embedding of this project is running"))
            elif not wait:
                echo(LINE.format(name, found.state.value.lower(), f"operations/{found.id}"))
        sound = len(under_way) == len(begun)
        if wait:
            async for name, ended in requests.ended(under_way):
                sound &= _show(name, ended)
    return sound


def _show(project: str, ended: Operation | None) -> bool:
    if ended is None:
        echo(LINE.format(project, "gone", "its operation or the project was deleted"))
        return False
    why = ended.error.get("message") or f"operations/{ended.id}"
    echo(LINE.format(project, ended.state.value.lower(), why))
    return ended.state.value == "SUCCEEDED"
