"""Forgetting withdraws exports that may contain forgotten memories, and no others."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from google.longrunning import operations_pb2

from recalld.v1 import export_service_pb2 as export
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import operation_pb2
from recalld.v1 import project_service_pb2 as project


async def forget(api: Any, user: str) -> pb.ForgetReceipt:
    return await api.memory.ForgetMemories(pb.ForgetMemoriesRequest(scope={"user_id": user}))


async def test_an_export_goes_with_what_it_held(api: Any) -> None:
    user, other = api.user(), api.user()
    await api.remember(user, "Keeps a zebrafinch")
    await api.remember(other, "Keeps a canary")
    gone, kept = await api.exported(scope={"user_id": user}), await api.exported(scope={"user_id": other})
    receipt = await forget(api, user)
    legs = {leg.name: leg.state for leg in receipt.legs}
    assert (receipt.export_count, legs["exports"]) == (1, pb.FORGET_STATE_EMPTY)
    for call in (
        api.export.GetExport(export.GetExportRequest(export_id=gone.export_id)),
        api.export.ReadExport(export.ReadExportRequest(export_id=gone.export_id)).read(),
    ):
        refusal = await api.refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "EXPORT_WITHDRAWN")
    assert b"canary" in await api.exported_bytes(kept.export_id)
    assert b"zebrafinch" not in await api.exported_bytes((await api.exported(scope={"user_id": user})).export_id)


async def test_an_export_from_before_the_memory_stays(api: Any) -> None:
    user = api.user()
    before = await api.exported(scope={"user_id": user})
    await api.remember(user, "Keeps a zebrafinch")
    assert (await forget(api, user)).export_count == 0
    assert await api.exported_bytes(before.export_id) == b""
    kept = (await api.export.GetExport(export.GetExportRequest(export_id=before.export_id))).export
    assert (kept.state, kept.HasField("scope")) == (export.EXPORT_STATE_READY, False)  # nor does it name them


async def test_an_export_that_failed_names_nobody_who_is_forgotten(api: Any) -> None:
    user, other = api.user(), api.user()
    await api.fill(user, 3000)
    await api.remember(other, "Keeps a canary")
    begun = await api.export.CreateExport(
        export.CreateExportRequest(scope={"user_id": user}, format="EXPORT_FORMAT_JSONL")
    )
    await api.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=begun.name))
    await api.ended(begun)
    metadata = operation_pb2.OperationMetadata()
    assert begun.metadata.Unpack(metadata)
    named = export.GetExportRequest(export_id=metadata.subject)
    failed = (await api.export.GetExport(named)).export
    assert (failed.state, failed.scope.user_id) == (export.EXPORT_STATE_FAILED, user)
    await forget(api, other)
    assert (await api.export.GetExport(named)).export.scope.user_id == user
    assert (await forget(api, user)).export_count == 0
    blank = (await api.export.GetExport(named)).export
    assert (blank.state, blank.HasField("scope")) == (export.EXPORT_STATE_FAILED, False)


async def test_an_export_under_way_never_holds_what_is_forgotten(api: Any) -> None:
    user = api.user()
    await api.fill(user, 3000)
    asked = export.CreateExportRequest(scope={"user_id": user}, format=export.EXPORT_FORMAT_JSONL, with_vectors=True)
    begun = await api.export.CreateExport(asked)
    receipt = await forget(api, user)
    operation = await api.ended(begun)
    assert receipt.export_count == 1
    listed = (await api.export.ListExports(export.ListExportsRequest(page_size=1000))).exports
    metadata = operation_pb2.OperationMetadata()
    assert begun.metadata.Unpack(metadata)
    [found] = [each for each in listed if each.export_id == metadata.subject]
    assert (found.state, found.HasField("scope")) == (export.EXPORT_STATE_WITHDRAWN, False)
    assert operation.error.code in (0, grpc.StatusCode.FAILED_PRECONDITION.value[0])


async def test_what_is_forgotten_during_a_rebuild_is_in_neither_index(api: Any) -> None:
    user, other = api.user(), api.user()
    await api.fill(user, 500)
    [kept] = await api.remember(other, "Locker 12 holds a hat")
    begun = await api.project.RebuildIndex(project.RebuildIndexRequest())
    forgotten, added = await asyncio.gather(forget(api, user), api.remember(other, "Locker 13 holds a coat"))
    ended = await api.ended(begun)
    answer = project.RebuildIndexResponse()
    assert ended.response.Unpack(answer), ended.error
    assert forgotten.memory_count == 500
    assert await api.found(user, "hat") == []
    assert set(await api.found(other, "what does the locker hold")) == {kept.text, added[0].text}
