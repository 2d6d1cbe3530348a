"""DeleteProject over gRPC: only for operators, and its keys stop working."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import grpc
from google.longrunning import operations_pb2

from recalld.v1 import operation_pb2
from recalld.v1 import project_service_pb2 as pb


async def test_a_project_is_deleted(keyed_api: Callable[[str], Any]) -> None:
    name = f"p-{uuid.uuid4()}"
    async with keyed_api("operator") as operator, keyed_api("admin") as admin:
        await operator.project.CreateProject(pb.CreateProjectRequest(project={"project_id": name}))
        key = pb.CreateApiKeyRequest(project_id=name, api_key={"role": "ROLE_ADMIN"})
        secret = (await operator.project.CreateApiKey(key)).secret
        async with keyed_api(secret) as owner:
            await owner.remember("u", "Likes tea")
            asked = pb.DeleteProjectRequest(project_id=name, confirm_project_id=name, request_id="gone")
            begun = await operator.project.DeleteProject(asked)
            refusal = await owner.refused(owner.remember("u", "More"))  # a key that was just used is known for a moment
            assert refusal.code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.NOT_FOUND)
        done = await operator.ended(begun)
        known = operation_pb2.OperationMetadata()
        assert done.metadata.Unpack(known)
        assert done.response.Unpack(pb.DeleteProjectResponse()), done.error
        assert (known.kind, known.subject) == (operation_pb2.OPERATION_KIND_DELETE_PROJECT, name)
        assert known.completed_count > 3
        assert (await operator.project.DeleteProject(asked)).name == begun.name
        mine = (await operator.operations.ListOperations(operations_pb2.ListOperationsRequest())).operations
        assert begun.name in {operation.name for operation in mine}
        hidden = admin.operations.GetOperation(operations_pb2.GetOperationRequest(name=begun.name))
        assert (await admin.refused(hidden)).reason == "OPERATION_NOT_FOUND"
        for change, reason in (
            ({"request_id": ""}, "PROJECT_NOT_FOUND"),
            ({"confirm_project_id": "other"}, "FIELD_INVALID"),
            ({"project_id": "default", "confirm_project_id": "default"}, "FIELD_INVALID"),
        ):
            other = pb.DeleteProjectRequest(project_id=name, confirm_project_id=name, request_id="x")
            for field, value in change.items():
                setattr(other, field, value)
            assert (await operator.refused(operator.project.DeleteProject(other))).reason == reason
        again = pb.CreateProjectRequest(project={"project_id": name})
        assert (await operator.refused(operator.project.CreateProject(again))).reason == "PROJECT_EXISTS"
