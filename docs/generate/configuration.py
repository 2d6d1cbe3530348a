"""docs/configuration.md: the one table of settings, from wiring/settings.py and the options of the command line."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

from typer.models import OptionInfo

from comments import cell
from recalld_server.cli import memories, migrate, serve
from recalld_server.wiring import settings
from recalld_server.wiring.settings import PREFIX, Settings

NO_SETTING = {"check"}  # an option that makes `serve` do something else
PLATFORM = "the platform's"  # of a default that depends on the machine
# Variables of the client and of commands, which Settings does not read: option, default, meaning of the one without.
TARGET, KEY, TLS, TLS_CA, MIGRATE_TO = "TARGET", "API_KEY", "TLS", "TLS_CA", "MIGRATE_TO"
OF_KEY = (
    "API key of the Python client and of the commands that talk to a server. It has no option, because options are"
    " visible in the list of processes."
)


def generate() -> str:
    """The table: settings of the server, then those of its clients."""
    options = _options(serve.serve)
    described = _described()
    names = [field.name for field in dataclasses.fields(Settings)]
    if strange := options.keys() - set(names) - NO_SETTING:
        raise ValueError(f"options of `recalld serve` without a setting: {', '.join(sorted(strange))}")
    if missing := set(names) - described.keys():
        raise ValueError(f"settings without a text below them: {', '.join(sorted(missing))}")
    rows = ["| option | variable | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        option = f"`{_flag(field.name, options[field.name])}`" if field.name in options else ""
        rows.append(_row(option, field.name, _default(field), described[field.name]))
    rows += _of_clients()
    return "\n".join(rows)


def _of_clients() -> Iterator[str]:
    options = {**_options(memories.search), **_options(migrate.migrate)}
    known = {TARGET: "`localhost:7420`", KEY: "", TLS: "", TLS_CA: "", MIGRATE_TO: ""}
    if {name.lower() for name in known} != set(settings._OF_CLIENTS):
        raise ValueError("the variables of clients have changed")
    for name, default in known.items():
        if name == KEY:
            yield _row("", name, default, OF_KEY)
            continue
        option = options["to" if name == MIGRATE_TO else name.lower()]
        flag = " ".join(f"`{each}`" for each in (option.param_decls or [f"--{_dashed(name)}"]))
        if name == MIGRATE_TO:
            flag = "`migrate --to`"
        text = re.sub(rf" \[{PREFIX}{name}\]", "", option.help or "")
        yield _row(flag, name, default, text if text.endswith(".") else f"{text}.")


def _row(option: str, name: str, default: str, text: str) -> str:
    return f"| {option} | `{PREFIX}{name.upper()}` | {default} | {cell(text)} |"


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return PLATFORM
    if isinstance(field.default, bool):
        return "`true`" if field.default else "`false`"
    return "" if field.default == "" else f"`{field.default}`"


def _options(command: Callable[..., Any]) -> dict[str, OptionInfo]:
    """The options of a command, by parameter."""
    hints = get_type_hints(command, include_extras=True)
    found = {}
    for name, hint in hints.items():
        for given in getattr(hint, "__metadata__", ()):
            if isinstance(given, OptionInfo):
                found[name] = given
    return found


def _flag(name: str, option: OptionInfo) -> str:
    return option.param_decls[0] if option.param_decls else f"--{_dashed(name)}"


def _dashed(name: str) -> str:
    return name.lower().replace("_", "-")


def _described() -> dict[str, str]:
    """The text below each field of Settings."""
    [tree] = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - for the type checker
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match text:
                case ast.Expr(value=ast.Constant(value=str(words))):
                    found[field.target.id] = words
    return found
