"""In which line a project's background work waits for the writer: see SqlEngine.write."""

from __future__ import annotations


def background_line(project: str) -> str:
    """Beside the line of its callers' changes, so that it holds up neither them nor other projects."""
    return f"{project} work"  # no id of a project has a space
