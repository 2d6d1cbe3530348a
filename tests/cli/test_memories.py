"""`recalld add`, `search`, `import` and `demo`."""

from __future__ import annotations

import json
import socket
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def user() -> str:
    """A user id nobody has had before."""
    return f"user-{uuid.uuid4()}"


def test_add_then_search(beside: Callable[..., Any], user: str) -> None:
    added = beside("add", "I'm a vegetarian and I live in Lisbon.", "--user", user)
    assert (added.returncode, added.stderr) == (0, "")
    assert added.stdout.splitlines() == ["ADD    Is a vegetarian", "ADD    Lives in Lisbon"]
    again = beside("add", "I'm a vegetarian and I live in Lisbon.", "-u", user)
    assert (again.returncode, again.stdout) == (0, "nothing new to remember (REPEATED)\n")
    found = beside("search", "Where do they live?", "--user", user)
    assert found.returncode == 0
    best, second = found.stdout.splitlines()
    assert (best[5:], second[5:]) == (" Lives in Lisbon", " Is a vegetarian")
    assert 0 <= float(best[:4]) <= 1
    assert found.stderr.startswith("2 of 2 candidates in ")


def test_json_lines_and_standard_input(beside: Callable[..., Any], user: str) -> None:
    added = beside("add", "-", "--user", user, "--run", "r1", "--verbatim", "--json", stdin="Füttert 3 Katzen")
    [line] = added.stdout.splitlines()
    assert {"memory": "Füttert 3 Katzen", "event": "ADD"}.items() <= json.loads(line).items()
    found = beside("search", "Katzen", "--user", user, "--run", "r1", "--json")
    [hit] = [json.loads(line) for line in found.stdout.splitlines()]
    assert {"memory": "Füttert 3 Katzen", "user_id": user, "run_id": "r1"}.items() <= hit.items()
    assert beside("search", "Katzen", "--user", user, "--run", "r2", "--json").stdout == ""


def test_filters(beside: Callable[..., Any], user: str) -> None:
    beside("add", "Eats plums", "--user", user, "--agent", "cook", "--verbatim")
    beside("add", "Eats pears", "--user", user, "--agent", "baker", "--verbatim")
    found = beside("search", "fruit", "--filters", json.dumps({"AND": [{"user_id": user}, {"agent_id": "cook"}]}))
    assert [line[6:] for line in found.stdout.splitlines()] == ["Eats plums"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("add", "I like tea"), 1, "SCOPE_MISSING"),
        (("search", "  "), 1, "QUERY_EMPTY"),
        (("search", "x", "--filters", "{"), 2, "--filters is not JSON"),
        (("search", "x", "--filters", '{"colour": "red"}'), 1, "colour"),
        (("import", "no-such-file.jsonl"), 2, "is not a file"),
    ],
)
def test_errors_are_one_clear_line(
    beside: Callable[..., Any], arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = beside(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.startswith("recalld: ")


def test_no_server_there(recalld: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = recalld("search", "x", "--target", f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("recalld: ")
    assert "UNAVAILABLE" in done.stderr


def test_import(beside: Callable[..., Any], user: str, tmp_path: Path) -> None:
    texts = [{"text": f"Reads book {number}", "user_id": user, "metadata": {"n": number}} for number in range(60)]
    memory = {
        "id": str(uuid.uuid4()),
        "memory": "Writes one, too",
        "user_id": user,
        "created_at": "2026-01-02T03:04:05Z",
    }
    file = tmp_path / "all.jsonl"
    file.write_text("\n\n".join(json.dumps(item) for item in [*texts, memory]) + "\n")
    done = beside("import", file)
    assert (done.returncode, done.stdout) == (0, "61 stored, 0 known already, 0 refused\n"), done.stderr
    assert "100%" in done.stderr
    assert beside("import", file).stdout == "0 stored, 61 known already, 0 refused\n"
    found = beside("search", "writes", "--user", user, "--limit", 1, "--json")
    hit = json.loads(found.stdout)
    assert (hit["id"], hit["memory"], hit["created_at"][:19]) == (
        memory["id"],
        "Writes one, too",
        "2026-01-02T03:04:05",
    )


def test_import_names_what_it_could_not_store(beside: Callable[..., Any], user: str, tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    items = [{"text": "Kept", "user_id": user}, {"text": "Nobody's"}, {"text": "Kept, too", "user_id": user}]
    file.write_text("\n".join(json.dumps(item) for item in items))
    done = beside("import", file)
    assert (done.returncode, done.stdout) == (1, "2 stored, 0 known already, 1 refused\n")
    assert "line 2: " in done.stderr
    assert "SCOPE_MISSING" in done.stderr
    assert "It is safe to repeat the import" in done.stderr


BAD = {
    "not JSON": "is not JSON",
    "[" * 100_000: "nested too deep",
    "null": "must be an object",
    '"text"': "must be an object",
    '{"text": "surr \\ud83d", "user_id": "U"}': "TEXT_INVALID",
    '{"text": "x", "user_id": "U", "colour": "red"}': "colour",
    '{"text": "x", "user_id": null}': "user_id",
    '{"text": ' + json.dumps("long " * 4000) + ', "user_id": "U"}': "LIMIT_EXCEEDED",
    '{"memory": "x", "user_id": "U", "vector": ["a"], "vector_model": "m"}': "vector[0]",
    '{"text": "x", "user_id": "U", "metadata": ' + '{"a": ' * 500 + "1" + "}" * 500 + "}": "nested",
    '{"text": "x", "user_id": "U", "timestamp": "soon"}': "timestamp",
}


def test_an_import_goes_on_after_bad_lines(beside: Callable[..., Any], user: str, tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    lines = [json.dumps({"text": f"Owns hat {number}", "user_id": user}) for number in range(300)]
    for place, line in enumerate(BAD):
        lines.insert(100 + 7 * place, line.replace("U", user, 1) if '"U"' in line else line)
    file.write_text("\n".join(lines))
    done = beside("import", file)
    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (1, f"300 stored, 0 known already, {len(BAD)} refused\n"), done.stderr
    told = dict(line.split(": ", 1) for line in done.stderr.splitlines() if line.startswith("line "))
    for (bad, why), place in zip(BAD.items(), range(101, 1000, 7), strict=False):
        assert why in told[f"line {place}"], bad[:60]
    again = beside("import", file)
    assert again.stdout == f"0 stored, 300 known already, {len(BAD)} refused\n"


def test_an_id_that_is_empty_is_not_everyone(beside: Callable[..., Any], user: str) -> None:
    beside("add", "Earns a secret", "--user", user, "--verbatim")
    for command in (("search", "secret"), ("add", "x"), ("watch",), ("export", "nowhere.jsonl")):
        done = beside(*command, "--user", "")
        assert (done.returncode, done.stdout) == (1, ""), command
        assert "user_id" in done.stderr


def test_demo(beside: Callable[..., Any], recalld: Callable[..., Any], server: Any) -> None:
    done = recalld("demo", "--target", server.target)
    assert (done.returncode, done.stderr) == (0, "")
    conversation, kept = done.stdout.split("Memories extracted from it")
    assert "I'm allergic to shellfish" in conversation
    facts, *answers = kept.split("?\n")  # each question ends a line, and its hits follow
    assert "ADD    Is allergic to shellfish" in facts
    assert "changed 0 memories" in facts
    assert len(answers) >= 3
    assert all("\n  0." in f"\n{answer}" or "\n  1." in f"\n{answer}" for answer in answers)
    assert beside("search", "shellfish", "--user", "recalld-demo", "--json").stdout == ""


def test_demo_alone(recalld: Callable[..., Any], tmp_path: Path) -> None:
    """A server of its own, which leaves nothing behind in the home folder, nor does any library."""
    done = recalld("demo", HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Is allergic to shellfish" in done.stdout
    assert list(tmp_path.rglob("*")) == []
