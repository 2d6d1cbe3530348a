"""`recalld keys`: manage API keys in the ledger, also while a server uses it, or via a server with --target."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recalld_server.cli.memories import Agent, App, Authority, Run, User
from recalld_server.cli.serve import DataDir, Ledger
from recalld_server.cli.terminal import echo

if TYPE_CHECKING:
    from recalld.v1 import project_service_pb2 as pb
    from recalld_server.domain.keys import ApiKey
    from recalld_server.usecases.keys import Keys

cli = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
ROLES = ("reader", "writer", "admin", "operator")
COLUMNS = "{:<18}{:<10}{:<16}{:<28}{:<22}{}"
Project = Annotated[str, typer.Option("--project", "-p", help="Project of the key.")]
Server = Annotated[
    str | None,
    typer.Option("--target", help="Use this server, with the key in RECALLD_API_KEY, not the ledger."),
]


@cli.command()
def create(
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}; operator only without --target.")] = "writer",
    project: Project = "default",
    user: User = None,
    agent: Agent = None,
    app: App = None,
    run: Run = None,
    name: Annotated[str, typer.Option(help="Display name.")] = "",
    days: Annotated[float | None, typer.Option(min=0.0, help="Days until the key expires; default: never.")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Create the ledger if it does not exist, before a server's first start.")
    ] = False,
    data_dir: DataDir = None,
    ledger: Ledger = None,
    target: Server = None,
    tls_ca: Authority = None,
) -> None:
    """Create a key and print its secret, which is shown only once.

    --user, --agent, --app and --run pin the key to memories with these ids. As soon as one key exists, every call needs
    a key; a running server notices within a second.
    """
    from recalld_server.domain.errors import FieldInvalid

    if role not in ROLES:
        raise typer.BadParameter(f"--role must be one of {', '.join(ROLES)}")
    pin = {"user_id": user or "", "agent_id": agent or "", "app_id": app or "", "run_id": run or ""}
    if role == "operator" and (target or any(pin.values())):
        raise typer.BadParameter("operator keys cannot have --target, --user, --agent, --app or --run")
    expire = None if days is None else int((datetime.now(UTC).timestamp() + days * 86_400) * 1_000_000)

    async def direct() -> str:
        from recalld_server.domain.keys import ApiKey, Role
        from recalld_server.domain.memory import Access, Scope

        owner = "" if role == "operator" else project
        wanted = ApiKey("", owner, Role[role.upper()], Scope(**pin), name, expire_time=expire)
        for field, value in (*pin.items(), ("name", name)):
            if len(value.encode()) > 256 or "\0" in value:
                raise FieldInvalid(f"{field} must be at most 256 bytes without NUL.")
        async with _keys(data_dir, ledger, new=new) as keys:
            return (await keys.create(Access(owner), wanted))[1]

    def remote() -> str:
        from recalld.v1 import project_service_pb2 as pb

        key: Any = pb.ApiKey(role=f"ROLE_{role.upper()}", pin=pin if any(pin.values()) else None, display_name=name)
        if expire is not None:
            key.expire_time.FromMicroseconds(expire)
        request = pb.CreateApiKeyRequest(project_id=project, api_key=key)
        return str(asked(target, tls_ca, "CreateApiKey", request).secret)

    echo(remote() if target else done(direct()))


@cli.command("list")
def list_keys(
    project: Annotated[
        str, typer.Option("--project", "-p", help="Only keys of this project; required with --target.")
    ] = "",
    data_dir: DataDir = None,
    ledger: Ledger = None,
    target: Server = None,
    tls_ca: Authority = None,
) -> None:
    """List keys, newest first, without secrets."""

    async def direct() -> Sequence[ApiKey]:
        async with _keys(data_dir, ledger) as keys:
            found: list[ApiKey] = []
            after, more = None, True
            while more:
                page, more = await keys.page(project or None, after, 1000)
                found += page
                after = (found[-1].create_time, found[-1].id) if found else None
            return found

    echo(COLUMNS.format("KEY", "ROLE", "PROJECT", "PIN", "STATE", "NAME"))
    if target:
        from recalld.v1 import project_service_pb2 as pb

        token, more = "", True
        while more:
            request = pb.ListApiKeysRequest(project_id=project, page_token=token, page_size=1000)
            answer = asked(target, tls_ca, "ListApiKeys", request)
            for key in answer.api_keys:
                _show_pb(key)
            token = answer.next_page_token
            more = bool(token)
        return
    for each in done(direct()):
        ids = dict(each.pin.items())
        _show(each.id, each.role.name, each.project, ids, each.expire_time, each.revoke_time, each.name)


@cli.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key: the middle part of rk_<id>_<secret>.")],
    data_dir: DataDir = None,
    ledger: Ledger = None,
    target: Server = None,
    tls_ca: Authority = None,
) -> None:
    """Revoke a key permanently. Running servers refuse it within seconds."""

    async def direct() -> None:
        from recalld_server.domain.memory import Access

        async with _keys(data_dir, ledger) as keys:
            await keys.revoke(Access(""), key_id)

    if target:
        from recalld.v1 import project_service_pb2 as pb

        asked(target, tls_ca, "RevokeApiKey", pb.RevokeApiKeyRequest(key_id=key_id))
    else:
        done(direct())
    echo(f"{key_id} revoked")


def asked(target: str | None, tls_ca: Path | None, rpc: str, request: Any) -> Any:
    """Call an RPC of ProjectService. On an RPC error, prints it and exits with status 1."""
    import grpc

    from recalld.channel import Connection, new_correlation_id
    from recalld.errors import from_rpc
    from recalld.v1 import project_service_pb2_grpc

    connection = Connection.of(target, None, 30.0, tls_ca)
    with connection.channel() as channel:
        stub: Any = project_service_pb2_grpc.ProjectServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            metadata = connection.metadata(new_correlation_id())
            return getattr(stub, rpc)(request, timeout=connection.timeout, metadata=metadata)
        except grpc.RpcError as error:
            echo(f"recalld: {from_rpc(error)}", err=True)
            raise typer.Exit(1) from None


@asynccontextmanager
async def _keys(data_dir: Path | None, ledger: str | None, *, new: bool = False) -> AsyncIterator[Keys]:
    from recalld_server.admin.offline import open_keys
    from recalld_server.wiring.settings import Settings

    async with open_keys(Settings.read({"data_dir": data_dir, "ledger": ledger}), new=new) as keys:
        yield keys


def done(work: Any) -> Any:
    """Run a coroutine and return its result. On an error, prints it and exits with status 1."""
    from recalld_server.domain.errors import RecalldError

    try:
        return asyncio.run(work)
    except (RecalldError, OSError, ValueError) as error:
        echo(f"recalld: {error}", err=True)
        raise typer.Exit(1) from None


def _show_pb(key: pb.ApiKey) -> None:
    from recalld.v1 import project_service_pb2 as pb

    ids = {field.name: value for field, value in key.pin.ListFields()}
    times = [
        getattr(key, name).ToMicroseconds() if key.HasField(name) else None for name in ("expire_time", "revoke_time")
    ]
    role = pb.Role.Name(key.role).removeprefix("ROLE_")
    _show(key.key_id, role, key.project_id, ids, times[0], times[1], key.display_name)


def _show(
    id: str, role: str, project: str, pin: dict[str, str], expire: int | None, revoked: int | None, name: str
) -> None:
    state = "active"
    if revoked is not None:
        state = f"revoked {_day(revoked)}"
    elif expire is not None:
        past = expire <= datetime.now(UTC).timestamp() * 1_000_000
        state = f"{'expired' if past else 'until'} {_day(expire)}"
    pinned = " ".join(f"{field.removesuffix('_id')}={value}" for field, value in pin.items())
    echo(COLUMNS.format(id, role.lower(), project or "-", pinned or "-", state, name).rstrip())


def _day(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1_000_000, UTC).strftime("%Y-%m-%d")
