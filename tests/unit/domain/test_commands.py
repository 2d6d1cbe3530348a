"""Commands are the same after they were stored in the queue."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from tests.congruence.test_filters import conditions

from recalld_server.domain.commands import (
    AddCommand,
    ExportCommand,
    Format,
    ReindexCommand,
    add_command,
    encoded,
    export_command,
    reindex_command,
)
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Message, Scope
from recalld_server.rpc.parse.filters import filter_of
from recalld_server.rpc.render.filter_protos import filter_pb

FULL = AddCommand(
    scope=Scope(user_id="ann", run_id="r"),
    messages=(Message("user", "Ich mag Käse.", "Ann", 12), Message("assistant", "\u2028 \x7f 😀")),
    metadata={"n": 1, "x": 1.5, "list": [None, True, {"deep": "é"}]},
    infer=False,
    includes="food",
    excludes="SSN",
    custom_categories=(("cheese", "what is made of milk"), ("wine", "")),
    custom_instructions="be brief",
    categories=("food", "food and drink"),
    expire_time=5,
    timestamp=0,
    immutable=True,
)


@pytest.mark.parametrize("command", [FULL, AddCommand(Scope(agent_id="a"), (Message("user", ""),))])
def test_an_add_comes_back(command: AddCommand) -> None:
    read = add_command(encoded(command))
    assert (read.messages, read) == (list(command.messages), add_command(encoded(read)))
    for name in AddCommand.__slots__:
        if name != "messages":
            assert getattr(read, name) == getattr(command, name), name


def test_every_field_of_an_add_is_kept() -> None:
    """What a queued add loses would be lost without a word. Its request and its id are the operation's."""
    kept = {"scope", "messages", *json.loads(encoded(FULL))}
    assert kept == set(AddCommand.__slots__) - {"request", "add_id", "dry_run"}


@given(condition=conditions([]))
def test_an_export_comes_back_whatever_its_filter(condition: Filter) -> None:
    command = ExportCommand(Scope(app_id="x"), condition, Format.PARQUET, with_history=True)
    assert repr(export_command(encoded(command))) == repr(command)  # 1, 1.0 and True are equal, and not the same


@given(condition=conditions([]))
def test_the_filter_of_an_export_is_shown_as_it_was_given(condition: Filter) -> None:
    assert repr(filter_of(filter_pb(condition))) == repr(condition)


def test_small_commands() -> None:
    plain = ExportCommand(Scope(), None, Format.JSONL)
    assert json.loads(encoded(plain)) == {"scope": {}, "format": "JSONL"}
    assert export_command(encoded(plain)) == plain
    for command in (ReindexCommand(), ReindexCommand("another model")):
        assert reindex_command(encoded(command)) == command
