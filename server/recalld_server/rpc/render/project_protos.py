"""Converts projects, their settings, usage, index status and API keys between protobuf and the domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from recalld.v1 import memory_pb2
from recalld.v1 import project_service_pb2 as pb
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Scope
from recalld_server.domain.projects import Project, ProjectSettings, Usage
from recalld_server.rpc.parse.project_checks import NAMES, SETTINGS
from recalld_server.rpc.render import memory_protos
from recalld_server.usecases.projects import IndexStatus


def project_of(project: pb.Project) -> Project:
    """Convert a project to create."""
    return Project(project.project_id, project.display_name, project.description)


def project_pb(project: Project) -> pb.Project:
    """Convert a project. Without a display name it shows its id."""
    return pb.Project(
        project_id=project.id,
        display_name=project.name or project.id,
        description=project.description,
        create_time=memory_protos.timestamp_pb(project.create_time),
        update_time=memory_protos.timestamp_pb(project.update_time),
    )


def project_values(request: pb.UpdateProjectRequest) -> dict[str, str]:
    """The new values by field of `Project`: the fields in the mask, or the fields that are set if it is empty."""
    named = {"name": request.project.display_name, "description": request.project.description}
    paths = _paths(request.update_mask.paths, NAMES, request.project)
    return {field: value for path, (field, value) in zip(NAMES, named.items(), strict=True) if path in paths}


def settings_of(settings: pb.ProjectSettings) -> ProjectSettings:
    """Convert settings; an unset field means its default."""
    return ProjectSettings(
        custom_instructions=settings.custom_instructions,
        custom_categories=tuple((category.name, category.description) for category in settings.custom_categories),
        language=settings.language,
        history_retention=_span(settings, "history_retention"),
        export_retention=_span(settings, "export_retention"),
        extractor=pb.Extractor.Name(settings.extractor).removeprefix("EXTRACTOR_").lower()
        if settings.extractor
        else "",
    )


def settings_values(request: pb.UpdateProjectSettingsRequest) -> dict[str, Any]:
    """The new values by field of `ProjectSettings`: the fields in the mask, or the set fields if it is empty."""
    wanted = settings_of(request.settings)
    return {path: getattr(wanted, path) for path in _paths(request.update_mask.paths, SETTINGS, request.settings)}


def settings_pb(settings: ProjectSettings) -> pb.ProjectSettings:
    """Convert settings; a field with its default stays unset."""
    return pb.ProjectSettings(
        custom_instructions=settings.custom_instructions,
        custom_categories=[
            memory_pb2.CustomCategory(name=name, description=description)
            for name, description in settings.custom_categories
        ],
        language=settings.language,
        history_retention=_duration(settings.history_retention),
        export_retention=_duration(settings.export_retention),
        extractor=f"EXTRACTOR_{settings.extractor.upper() or 'UNSPECIFIED'}",
    )


def key_of(key: pb.ApiKey, project: str) -> ApiKey:
    """Convert an API key to create in `project`."""
    expire = memory_protos.micros_of(key.expire_time) if key.HasField("expire_time") else None
    return ApiKey("", project, Role(key.role), memory_protos.scope_of(key.pin), key.display_name, expire_time=expire)


def key_pb(key: ApiKey) -> pb.ApiKey:
    """Convert an API key; the pin stays unset if the key has none."""
    return pb.ApiKey(
        key_id=key.id,
        project_id=key.project,
        role=f"ROLE_{key.role.name}",
        pin=scope_pb(key.pin) if key.pin else None,
        display_name=key.name,
        create_time=memory_protos.timestamp_pb(key.create_time),
        expire_time=None if key.expire_time is None else memory_protos.timestamp_pb(key.expire_time),
        revoke_time=None if key.revoke_time is None else memory_protos.timestamp_pb(key.revoke_time),
    )


def scope_pb(scope: Scope) -> memory_pb2.Scope:
    """Convert a scope."""
    return memory_pb2.Scope(**dict(scope.items()))


def usage_pb(usage: Usage) -> pb.Usage:
    """Convert the usage figures of a project."""
    return pb.Usage(
        memory_count=usage.memories,
        revision_count=usage.revisions,
        entity_count=usage.entities,
        message_count=usage.messages,
        export_size_bytes=usage.export_bytes,
        sequence=usage.seq,
    )


def index_pb(standing: IndexStatus) -> pb.IndexStatus:
    """Convert the status of an index."""
    oldest = standing.backlog.oldest_time
    return pb.IndexStatus(
        generation=standing.generation.number,
        model=standing.generation.model,
        dimension=standing.generation.dimension,
        analyser_version=standing.generation.analyser,
        engine=standing.engine,
        healthy=standing.healthy,
        head_sequence=standing.positions.head,
        applied_sequence=standing.positions.applied,
        pending_count=standing.backlog.pending,
        oldest_pending_time=None if oldest is None else memory_protos.timestamp_pb(oldest),
        rebuild_operation=f"operations/{standing.backlog.operation}" if standing.backlog.operation else "",
    )


def _paths(given: Sequence[str], all: Sequence[str], message: Any) -> Sequence[str]:
    """The paths of a mask, or the fields that are set if it is empty (AIP-134)."""
    if list(given) == ["*"]:
        return all
    present: Mapping[str, Any] = {field.name: value for field, value in message.ListFields()}
    return given or [name for name in all if name in present]


def _span(settings: pb.ProjectSettings, field: str) -> int | None:
    return int(getattr(settings, field).ToMicroseconds()) if settings.HasField(field) else None


def _duration(micros: int | None) -> Duration | None:
    if micros is None:
        return None
    duration = Duration()
    duration.FromMicroseconds(micros)
    return duration
