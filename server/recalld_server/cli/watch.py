"""`recalld watch`: print changes in a terminal as they happen."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import typer

from recalld_server.cli.memories import (
    Agent,
    App,
    AsJson,
    Authority,
    Run,
    Target,
    User,
    UseTls,
    clear_errors,
    client,
    scope_of,
)
from recalld_server.cli.rows import json_option
from recalld_server.cli.terminal import echo, echo_json, inline

SHOWN = 100  # characters of a memory per line


def watch(
    user: User = None,
    agent: Agent = None,
    app: App = None,
    run: Run = None,
    filters: Annotated[
        str | None, typer.Option(help='Filter as JSON, for example {"categories": {"in": ["food"]}}.')
    ] = None,
    beginning: Annotated[bool, typer.Option("--beginning", help="Start with the oldest change that is kept.")] = False,
    resume: Annotated[str, typer.Option(help="Resume after the token that an earlier watch printed.")] = "",
    target: Target = None,
    tls: UseTls = None,
    tls_ca: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Print changes as they are committed, until you interrupt it."""
    options: dict[str, Any] = {"beginning": beginning, "resume_token": resume, **scope_of(user, agent, app, run)}
    if filters:
        options["filters"] = json_option(filters, "--filters")
    with client(target, tls, tls_ca) as connected, clear_errors(), connected.watch(**options) as changes:
        with suppress(KeyboardInterrupt):
            for change in changes:
                echo_json(change) if as_json else echo(_line(change))
        if changes.resume_token:
            echo(f"resume with --resume {changes.resume_token}", err=True)


def _line(change: dict[str, Any]) -> str:
    text = change["new_memory"] if change["new_memory"] is not None else change["old_memory"] or ""
    short = inline(text)
    short = short if len(short) <= SHOWN else short[: SHOWN - 1] + "…"
    return f"{change['sequence']:>8}  {change['event']:8}{change['memory_id']}  {short}"
