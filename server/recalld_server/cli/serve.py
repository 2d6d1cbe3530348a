"""`recalld serve`: run a server, or with --check validate its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from recalld_server.cli.terminal import echo

DataDir = Annotated[
    Path | None, typer.Option(help="Folder for ledger and index [RECALLD_DATA_DIR]; default: the user data folder.")
]
Index = Annotated[
    str | None,
    typer.Option(
        help="Search index: embedded, or weaviate://HOST:PORT?grpc_port=PORT [RECALLD_INDEX]; default: embedded."
    ),
]

Ledger = Annotated[
    str | None,
    typer.Option(
        help="Ledger: path of a SQLite file, or postgresql://user:password@host:port/database [RECALLD_LEDGER; use the "
        "variable to keep a password out of the process list]; default: ledger.db in the data folder."
    ),
]


def serve(
    data_dir: DataDir = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="gRPC port; 0 picks a free one [RECALLD_GRPC_PORT]; default: 7420.")
    ] = None,
    http_port: Annotated[
        int | None,
        typer.Option(
            help="HTTP port of /healthz, /readyz, /metrics; 0 picks a free port [RECALLD_HTTP_PORT]; default: 7421."
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [RECALLD_HOST]; default: 127.0.0.1.")] = None,
    ledger: Ledger = None,
    index: Index = None,
    log_level: Annotated[
        str | None, typer.Option(help="DEBUG, INFO, WARNING or ERROR [RECALLD_LOG_LEVEL]; default: INFO.")
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(help="PEM file with the server's certificate chain [RECALLD_TLS_CERT].")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(help="PEM file with the private key of --tls-cert [RECALLD_TLS_KEY].")
    ] = None,
    tls_client_ca: Annotated[
        str | None,
        typer.Option(
            help="PEM file with CAs; clients must present a certificate of one of them [RECALLD_TLS_CLIENT_CA]."
        ),
    ] = None,
    insecure_no_tls: Annotated[
        bool | None,
        typer.Option(
            "--insecure-no-tls", help="Allow clients on other machines without TLS [RECALLD_INSECURE_NO_TLS]."
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Validate the configuration and exit (1 if invalid).")] = False,
) -> None:
    """Run the service until it is interrupted."""
    given: dict[str, Any] = {key: value for key, value in locals().items() if value is not None and key != "check"}
    import asyncio
    import os
    import sys

    # Our matrices are too small for several threads: a second thread per matrix only slows down other calls.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    if check:
        raise typer.Exit(asyncio.run(_inspected(given)))

    from recalld_server.domain.errors import RecalldError
    from recalld_server.telemetry.log import setup
    from recalld_server.wiring import app
    from recalld_server.wiring.ledger_store import ledger_file
    from recalld_server.wiring.settings import Settings, refuse_misspelt

    try:
        settings = Settings.read(given)
        setup(settings.log_level, json=not sys.stderr.isatty())
        refuse_misspelt(os.environ)
        echo(f"data folder {settings.data_dir}")
        if not ledger_file(settings) and settings.index == "embedded":
            echo("the index is in the data folder: no other server can use this ledger while this one runs")
        with asyncio.Runner(loop_factory=_loop()) as runner:
            runner.run(app.serve(settings))
            _end_process()
    except (RecalldError, ValueError) as error:
        echo(f"recalld: {error}", err=True)
        raise typer.Exit(2) from None


def _end_process() -> NoReturn:
    """Exit with status 0 at once, without waiting for running threads or for gRPC to close its connections."""
    import logging
    import os
    import sys

    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def _inspected(given: dict[str, Any]) -> int:
    import os

    from recalld_server.admin.preflight import Finding, Inspection
    from recalld_server.telemetry.log import setup
    from recalld_server.wiring.settings import Settings, refuse_misspelt

    def show(finding: Finding) -> int:
        echo(f"{'ok' if finding.good else 'WRONG':<7}{finding.subject:<13}{finding.words}")
        return 0 if finding.good else 1

    try:
        settings = Settings.read(given)
        setup(settings.log_level, json=False)
        refuse_misspelt(os.environ)
    except ValueError as error:
        return show(Finding("settings", False, str(error)))
    return max([show(finding) async for finding in Inspection(settings).findings()])


def _loop() -> Any:
    """Return uvloop's loop factory if it is installed; it saves a tenth of the CPU time per call."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
