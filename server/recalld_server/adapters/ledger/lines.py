"""The writer's line for the background work of a project: see SqlEngine.write."""

from __future__ import annotations


def background_line(project: str) -> str:
    """A line apart from the line of the callers' changes, so that background work delays neither them nor others."""
    return f"{project} work"  # project ids contain no spaces, so this cannot be the line of another project
