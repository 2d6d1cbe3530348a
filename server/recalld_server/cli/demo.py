"""`recalld demo`: store a short conversation, search it and print the results."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recalld_server.cli.memories import Authority, UseTls, clear_errors
from recalld_server.cli.memories import client as connected
from recalld_server.cli.terminal import echo

CONVERSATION = [
    {"role": "user", "content": "Hi! I'm Mara. I moved to Lisbon last spring and I'm allergic to shellfish."},
    {"role": "assistant", "content": "Nice to meet you, Mara! How do you like Lisbon so far?"},
    {"role": "user", "content": "I love it. My sister Ines visits in October, she's a vegetarian."},
    {"role": "assistant", "content": "Lovely! Would you like some recommendations for vegetarian restaurants?"},
    {"role": "user", "content": "Yes, please! Especially in Alfama."},
]
QUESTIONS = ["Which food is dangerous for her?", "Who is visiting, and when?", "Which city did she move to?"]


def demo(
    target: Annotated[str | None, typer.Option(help="Server to use; default: a temporary server.")] = None,
    tls: UseTls = None,
    tls_ca: Authority = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the demo's memories on the --target server.")] = False,
) -> None:
    """Store and search a sample conversation.

    Uses the server given with --target, otherwise starts a temporary one.
    """
    from recalld import testing

    if target:
        with connected(target, tls, tls_ca) as client, clear_errors():
            _show(client, keep)
        return
    echo("starting a temporary server …")
    with testing.start_local() as server, server.client() as client:
        _show(client, keep=True)


def _show(client: object, keep: bool) -> None:
    from recalld import MemoryClient

    assert isinstance(client, MemoryClient)  # noqa: S101 - imported late; for the type checker
    echo("\nA conversation:")
    for message in CONVERSATION:
        echo(f"  {message['role']:>9}  {message['content']}")
    added: Any = client.add(CONVERSATION, user_id="recalld-demo", output_format="v1.1")
    echo("\nMemories extracted from it:")
    for result in added["results"]:
        echo(f"  {result['event']:6} {result['memory']}")
    again: Any = client.add(CONVERSATION, user_id="recalld-demo", output_format="v1.1")
    echo(f"\nAdding the same conversation again changed {len(again['results'])} memories: repeats are merged.")
    for question in QUESTIONS:
        echo(f"\n{question}")
        with client.stream_search(question, user_id="recalld-demo", limit=2) as stream:
            for hit in stream:
                echo(f"  {hit['score']:.2f}  {hit['memory']}")
            done = stream.done
        if done:
            stages = ", ".join(f"{name} {seconds * 1000:.1f}" for name, seconds in done.stages.items())
            echo(f"        ms: {stages}")
    if not keep:
        client.delete_all(user_id="recalld-demo")
        echo("\nThe demo's memories were deleted; --keep keeps them.")
