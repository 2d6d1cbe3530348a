"""`python -m recalld_server` is `recalld`."""

from __future__ import annotations

from recalld_server.cli import main

main()
