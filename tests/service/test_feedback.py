"""SetFeedback creates a revision of the memory."""

from __future__ import annotations

from typing import Any

import grpc

from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb


async def judge(api: Any, memory_id: str, feedback: str = "UNSPECIFIED", **fields: Any) -> pb.SetFeedbackResponse:
    request = pb.SetFeedbackRequest(memory_id=memory_id, feedback=f"FEEDBACK_{feedback}", **fields)
    return await api.memory.SetFeedback(request)


async def test_a_judgement_is_set_changed_and_removed(api: Any) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Likes tea", metadata={"n": 1})
    for revision, (given, reason) in enumerate((("POSITIVE", ""), ("VERY_NEGATIVE", "it is coffee")), 2):
        answer = await judge(api, memory.id, given, reason=reason)
        assert memory_pb2.Feedback.Name(answer.memory.feedback) == f"FEEDBACK_{given}"
        assert (answer.memory.feedback_reason, answer.memory.revision) == (reason, revision)
        assert answer.memory.etag != memory.etag
        assert answer.memory.metadata == memory.metadata
        assert answer.index_state == memory_pb2.INDEX_STATE_APPLIED
        assert answer.consistency_token
        assert await api.listed(user) == [answer.memory]
    removed = (await judge(api, memory.id, reason="no reason without a judgement")).memory
    assert (removed.feedback, removed.feedback_reason) == (memory_pb2.FEEDBACK_UNSPECIFIED, "")
    last = (await api.events(user))[-1]
    assert (last.kind, last.memory_before.feedback_reason) == (memory_pb2.KIND_UPDATED, "it is coffee")
    assert await api.found(user, "tea") == ["Likes tea"]


async def test_an_immutable_memory_may_be_judged(api: Any) -> None:
    [memory] = await api.remember(api.user(), "Was born in Rome", immutable=True)
    judged = (await judge(api, memory.id, "NEGATIVE")).memory
    assert (judged.immutable, judged.feedback) == (True, memory_pb2.FEEDBACK_NEGATIVE)


async def test_a_retry_judges_once(api: Any) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Likes tea")
    first = await judge(api, memory.id, "POSITIVE", request_id=user)
    assert await judge(api, memory.id, "POSITIVE", request_id=user) == first
    assert len(await api.events(user)) == 2
    refusal = await api.refused(judge(api, memory.id, "NEGATIVE", request_id=user))
    assert refusal.reason == "REQUEST_ID_REUSED"


async def test_what_is_refused(api: Any) -> None:
    [memory] = await api.remember(api.user(), "Likes tea")
    refusal = await api.refused(judge(api, memory.id, "POSITIVE", reason="x" * 16_385))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "LIMIT_EXCEEDED")
    assert refusal.fields == ("reason",)
    assert (await api.refused(judge(api, "no such", "POSITIVE"))).reason == "MEMORY_NOT_FOUND"
    assert (await api.refused(judge(api, "", "POSITIVE"))).fields == ("memory_id",)
    wrong = pb.SetFeedbackRequest(memory_id=memory.id, feedback=9)
    assert (await api.refused(api.memory.SetFeedback(wrong))).fields == ("feedback",)
