"""`recalld bench`."""

from __future__ import annotations

import typer

bench = typer.Typer(no_args_is_help=True)
