"""`recalld doctor`: does the index say what the ledger says?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from recalld_server.cli.serve import DataDir, Index, Ledger
from recalld_server.cli.terminal import echo

if TYPE_CHECKING:
    from recalld_server.wiring.parts import Recalld
    from recalld_server.wiring.settings import Settings


def doctor(
    data_dir: DataDir = None,
    ledger: Ledger = None,
    index: Index = None,
    rebuild_index: Annotated[
        bool, typer.Option("--rebuild-index", help="Make the index anew from the ledger.")
    ] = False,
) -> None:
    """Check a data folder and a ledger that no server uses: status 0 when all is well, 1 when not."""
    import asyncio

    from recalld_server.domain.errors import RecalldError
    from recalld_server.wiring.settings import Settings

    try:
        settings = Settings.read({"data_dir": data_dir, "ledger": ledger, "index": index})
        sound = asyncio.run(_examine(settings, rebuild_index))
    except (RecalldError, ValueError) as error:
        echo(f"recalld: {error}", err=True)
        raise typer.Exit(2) from None
    raise typer.Exit(0 if sound else 1)


async def _examine(settings: Settings, rebuild: bool) -> bool:
    from recalld_server.wiring.composition import build
    from recalld_server.wiring.ledger_store import ledger_file

    if (path := ledger_file(settings)) and not path.exists():
        echo(f"there is no ledger in {path.parent}")
        return False
    recalld = await build(settings)
    try:
        found = await recalld.ledger.sound()
        if found is None:
            echo("ledger: PostgreSQL answers; its files are its own to check, with pg_amcheck")
        else:
            echo(f"ledger file: {'sound' if found else 'DAMAGED'}")
        sound = found is not False
        for project in await recalld.ledger.projects():
            sound &= await _project(recalld, project, rebuild)
        return sound
    finally:
        await recalld.close()


async def _project(recalld: Recalld, project: str, rebuild: bool) -> bool:
    if rebuild:
        await recalld.projection.rebuild(project)
        echo(f"project {project}: index rebuilt")
    report = await recalld.index_audit.examine(project)
    echo(
        f"project {project}: {report.live} memories, {report.entries} index entries, {report.pending} pending, "
        f"{report.missing} missing, {report.stale} stale, {report.orphaned} orphaned, "
        f"{report.unfound} of {report.probed} looked for not found by vector"
    )
    if report.pending and not report.wrong:
        echo(f"project {project}: what is pending will be applied when a server starts")
    return not report.wrong
