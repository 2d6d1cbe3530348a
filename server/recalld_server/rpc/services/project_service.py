"""ProjectService: checks each request, converts it, calls the use case and converts the result."""

from __future__ import annotations

from typing import Any

from google.longrunning import operations_pb2

from recalld.v1 import project_service_pb2 as pb
from recalld.v1 import project_service_pb2_grpc
from recalld_server.domain.page_tokens import Tokens
from recalld_server.rpc.interceptors.auth import access
from recalld_server.rpc.parse.validate import check
from recalld_server.rpc.render import paging
from recalld_server.rpc.render import project_protos as convert
from recalld_server.rpc.render.memory_protos import request_key
from recalld_server.rpc.services.maintenance import Maintenance
from recalld_server.usecases.keys import Keys
from recalld_server.usecases.projects import Administration


class ProjectService(project_service_pb2_grpc.ProjectServiceServicer):
    """See project_service.proto. roles.py says which roles may make which call."""

    def __init__(self, projects: Administration, keys: Keys, tokens: Tokens, maintenance: Maintenance) -> None:
        self._projects = projects
        self._keys = keys
        self._tokens = tokens
        self._maintenance = maintenance

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Any) -> pb.CreateProjectResponse:
        check(request)
        project, settings = convert.project_of(request.project), convert.settings_of(request.settings)
        made = await self._projects.create(access(), project, settings, request_key("CreateProject", request))
        return pb.CreateProjectResponse(project=convert.project_pb(made))

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.GetProjectResponse:
        check(request)
        found = await self._projects.get(self._projects.project(access(), request.project_id))
        return pb.GetProjectResponse(project=convert.project_pb(found))

    async def ListProjects(self, request: pb.ListProjectsRequest, context: Any) -> pb.ListProjectsResponse:
        check(request)
        bound = paging.binding("ListProjects", access(), request)
        after = str(self._tokens.open_page(request.page_token, bound)) if request.page_token else ""
        found, more = await self._projects.page(after, paging.size(request.page_size))
        page = await paging.filled(found, convert.project_pb)
        last = page.last(found, more)
        token = self._tokens.page(bound, last.id) if last else ""
        return pb.ListProjectsResponse(projects=page.messages, next_page_token=token)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, context: Any) -> pb.UpdateProjectResponse:
        check(request)
        who = access()
        project = self._projects.project(who, request.project.project_id)
        key = request_key("UpdateProject", request)
        changed = await self._projects.update(who, project, convert.project_values(request), key)
        return pb.UpdateProjectResponse(project=convert.project_pb(changed))

    async def DeleteProject(self, request: pb.DeleteProjectRequest, context: Any) -> operations_pb2.Operation:
        return await self._maintenance.delete(request)

    async def GetProjectSettings(
        self, request: pb.GetProjectSettingsRequest, context: Any
    ) -> pb.GetProjectSettingsResponse:
        check(request)
        found = await self._projects.settings(self._projects.project(access(), request.project_id))
        return pb.GetProjectSettingsResponse(settings=convert.settings_pb(found))

    async def UpdateProjectSettings(
        self, request: pb.UpdateProjectSettingsRequest, context: Any
    ) -> pb.UpdateProjectSettingsResponse:
        check(request)
        who = access()
        project = self._projects.project(who, request.project_id)
        key = request_key("UpdateProjectSettings", request)
        changed = await self._projects.change_settings(who, project, convert.settings_values(request), key)
        return pb.UpdateProjectSettingsResponse(settings=convert.settings_pb(changed))

    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, context: Any) -> pb.CreateApiKeyResponse:
        check(request)
        who = access()
        wanted = convert.key_of(request.api_key, self._projects.project(who, request.project_id))
        key, secret = await self._keys.create(who, wanted, request_key("CreateApiKey", request))
        return pb.CreateApiKeyResponse(api_key=convert.key_pb(key), secret=secret)

    async def ListApiKeys(self, request: pb.ListApiKeysRequest, context: Any) -> pb.ListApiKeysResponse:
        check(request)
        who = access()
        project = self._projects.project(who, request.project_id)
        bound = paging.binding("ListApiKeys", who, request)
        after = self._tokens.open_page(request.page_token, bound) if request.page_token else None
        await self._projects.get(project)
        place = (int(after[0]), str(after[1])) if after else None
        found, more = await self._keys.page(project, place, paging.size(request.page_size))
        page = await paging.filled(found, convert.key_pb)
        last = page.last(found, more)
        token = self._tokens.page(bound, [last.create_time, last.id]) if last else ""
        return pb.ListApiKeysResponse(api_keys=page.messages, next_page_token=token)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Any) -> pb.RevokeApiKeyResponse:
        check(request)
        key = await self._keys.revoke(access(), request.key_id, request_key("RevokeApiKey", request))
        return pb.RevokeApiKeyResponse(api_key=convert.key_pb(key))

    async def GetUsage(self, request: pb.GetUsageRequest, context: Any) -> pb.GetUsageResponse:
        check(request)
        usage = await self._projects.usage(self._projects.project(access(), request.project_id))
        return pb.GetUsageResponse(usage=convert.usage_pb(usage))

    async def GetIndexStatus(self, request: pb.GetIndexStatusRequest, context: Any) -> pb.GetIndexStatusResponse:
        check(request)
        who = access()
        standing = await self._projects.index_standing(who, self._projects.project(who, request.project_id))
        return pb.GetIndexStatusResponse(index_status=convert.index_pb(standing))

    async def RebuildIndex(self, request: pb.RebuildIndexRequest, context: Any) -> operations_pb2.Operation:
        return await self._maintenance.rebuild(request)

    async def ReembedProject(self, request: pb.ReembedProjectRequest, context: Any) -> operations_pb2.Operation:
        return await self._maintenance.reembed(request)
