"""`recalld doctor`: check the ledger's file and compare each project's index with the ledger."""

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
        bool, typer.Option("--rebuild-index", help="Rebuild every project's index from the ledger first.")
    ] = False,
) -> None:
    """Check a ledger and its index while no server uses them.

    Exits with status 0 if both are sound, 1 if not or if the ledger file does not exist, 2 if they cannot be opened.
    """
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
            echo("ledger: PostgreSQL answers; check its files with pg_amcheck")
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
        f"{report.unfound} of {report.probed} sampled memories not found by vector"
    )
    if report.pending and not report.wrong:
        echo(f"project {project}: a server applies the pending changes when it starts")
    return not report.wrong
