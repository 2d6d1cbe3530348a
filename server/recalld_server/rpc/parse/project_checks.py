"""The checks of the requests of ProjectService; see `checks.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from recalld.v1 import project_service_pb2 as pb
from recalld_server.domain import limits
from recalld_server.domain.projects import DAY, MINUTE, PROJECT_ID, languages
from recalld_server.rpc.parse.checks import (
    MAX_CATEGORIES,
    Check,
    Violation,
    check_page,
    check_request_id,
    too_long,
    too_many,
)

NAMES = ("display_name", "description")
SETTINGS = (
    "custom_instructions",
    "custom_categories",
    "language",
    "history_retention",
    "export_retention",
    "extractor",
)
LONG = 16 * 1024  # the maximum size of a description and of custom instructions, in bytes


def check_project(project: pb.Project, prefix: str) -> Iterator[Violation]:
    yield from too_long(project.display_name, limits.ID_BYTES, f"{prefix}display_name")
    yield from too_long(project.description, LONG, f"{prefix}description")


def check_create(request: pb.CreateProjectRequest, prefix: str) -> Iterator[Violation]:
    if not PROJECT_ID.fullmatch(request.project.project_id):
        text = "must have 1 to 64 characters of a-z, 0-9 and -, and must begin with a letter"
        yield Violation(f"{prefix}project.project_id", text)
    yield from check_request_id(request, prefix)


def check_update(request: pb.UpdateProjectRequest, prefix: str) -> Iterator[Violation]:
    yield from _mask(request.update_mask.paths, NAMES, prefix)
    yield from check_request_id(request, prefix)


def check_settings(settings: pb.ProjectSettings, prefix: str) -> Iterator[Violation]:
    yield from too_long(settings.custom_instructions, LONG, f"{prefix}custom_instructions")
    yield from too_many(len(settings.custom_categories), MAX_CATEGORIES, f"{prefix}custom_categories")
    if settings.language and settings.language not in languages():
        yield Violation(f"{prefix}language", f"must be one of {', '.join(sorted(languages()))}")
    if settings.HasField("history_retention") and settings.history_retention.ToMicroseconds() < DAY:
        yield Violation(f"{prefix}history_retention", "must be at least 1 day")
    kept = settings.export_retention.ToMicroseconds()
    if settings.HasField("export_retention") and not MINUTE <= kept <= 30 * DAY:
        yield Violation(f"{prefix}export_retention", "must be from 1 minute to 30 days")


def check_update_settings(request: pb.UpdateProjectSettingsRequest, prefix: str) -> Iterator[Violation]:
    yield from _mask(request.update_mask.paths, SETTINGS, prefix)
    yield from check_request_id(request, prefix)


def check_create_key(request: pb.CreateApiKeyRequest, prefix: str) -> Iterator[Violation]:
    if request.api_key.role == pb.ROLE_OPERATOR:
        text = "must not be OPERATOR: only `recalld keys create --role operator` creates operator keys"
        yield Violation(f"{prefix}api_key.role", text)
    yield from too_long(request.api_key.display_name, limits.ID_BYTES, f"{prefix}api_key.display_name")
    yield from check_request_id(request, prefix)


def check_revoke(request: pb.RevokeApiKeyRequest, prefix: str) -> Iterator[Violation]:
    yield from too_long(request.key_id, limits.ID_BYTES, f"{prefix}key_id")
    yield from check_request_id(request, prefix)


def _mask(paths: Sequence[str], allowed: Sequence[str], prefix: str) -> Iterator[Violation]:
    for path in paths:
        if path not in (*allowed, "*") or (path == "*" and len(paths) > 1):
            text = f"may contain only {', '.join(allowed)}, or * alone; not {path[:64]!r}"
            yield Violation(f"{prefix}update_mask", text)


def check_delete(request: pb.DeleteProjectRequest, prefix: str) -> Iterator[Violation]:
    if request.confirm_project_id != request.project_id:
        yield Violation(f"{prefix}confirm_project_id", "must be equal to project_id")
    yield from check_request_id(request, prefix)


PROJECT_CHECKS: dict[str, Check] = {
    "recalld.v1.Project": check_project,
    "recalld.v1.CreateProjectRequest": check_create,
    "recalld.v1.ListProjectsRequest": check_page,
    "recalld.v1.UpdateProjectRequest": check_update,
    "recalld.v1.DeleteProjectRequest": check_delete,
    "recalld.v1.ProjectSettings": check_settings,
    "recalld.v1.UpdateProjectSettingsRequest": check_update_settings,
    "recalld.v1.CreateApiKeyRequest": check_create_key,
    "recalld.v1.ListApiKeysRequest": check_page,
    "recalld.v1.RevokeApiKeyRequest": check_revoke,
}
