"""A member of the consumer group whose place another process has taken, and what refusals of Kafka mean."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupRequest

from stream.consumer import membership as module
from stream.consumer.membership import Membership, explain

JOIN = JoinGroupRequest("app", 6000, 6000, "", "w-1", "consumer", [])
HEARTBEAT = HeartbeatRequest("app", 4, "member")


class Coordinator:
    """aiokafka's, with the error codes that Kafka answers."""

    def __init__(self, *codes):
        self.codes = list(codes)
        self.sent = []
        self.generation, self.member_id, self.group_id = 4, "member", "app"
        self._closing = asyncio.get_running_loop().create_future()

    async def _send_req(self, request):
        self.sent.append(type(request).__name__)
        return SimpleNamespace(error_code=self.codes.pop(0))


def member(coordinator, instance_id="w-1"):
    reasons = []
    membership = Membership(coordinator, instance_id, reasons.append)
    membership.attach()
    return membership, reasons


async def test_a_fenced_member_gives_up_its_place_and_joins_again_only_when_it_is_free(monkeypatch):
    monkeypatch.setattr(module, "FENCED_PAUSE", 0.01)
    coordinator = Coordinator(82, 82, 25, 0)
    _, reasons = member(coordinator)
    answer = await coordinator._send_req(HEARTBEAT)
    assert answer.error_code == 25, "aiokafka gives up its partitions for an unknown member"
    assert "another process uses the same kafka_group_instance_id 'w-1'" in reasons[0]
    coordinator.generation, coordinator.member_id = -1, ""
    await coordinator._send_req(JOIN)
    assert coordinator.sent == ["_StaticHeartbeat"] * 3 + ["JoinGroupRequest"]
    assert len(reasons) == 1


async def test_a_fenced_member_can_be_closed():
    coordinator = Coordinator(82)
    member(coordinator)
    await coordinator._send_req(HEARTBEAT)
    joining = asyncio.create_task(coordinator._send_req(JOIN))
    await asyncio.sleep(0)
    coordinator._closing.set_result(None)
    with pytest.raises(GroupCoordinatorNotAvailableError):
        await joining


async def test_a_member_without_an_instance_id_sends_what_aiokafka_sends():
    coordinator = Coordinator(0, 0)
    member(coordinator, None)
    await coordinator._send_req(HEARTBEAT)
    await coordinator._send_req(JOIN)
    assert coordinator.sent == ["HeartbeatRequest", "JoinGroupRequest"]


async def test_a_refusal_is_known_until_an_attempt_to_join_succeeds():
    coordinator = Coordinator(23, 0)
    membership, _ = member(coordinator)
    await coordinator._send_req(JOIN)
    assert "another program uses the consumer group 'app'" in membership.refusal
    await coordinator._send_req(JOIN)
    assert membership.refusal is None


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (23, "set another UPSELL_APP_ID"),
        (69, "set another UPSELL_APP_ID"),
        (30, "grant Read on the group"),
        (24, "set another UPSELL_APP_ID"),
        (81, "group.max.size"),
    ],
)
def test_a_refusal_says_what_to_do(code, says):
    assert says in explain(code, "app")
    assert "'app'" in explain(code, "app")


@pytest.mark.parametrize("code", [0, 14, 15, 16, 25, 26, 27, 79])
def test_what_passes_by_itself_or_is_known_otherwise_is_no_refusal(code):
    assert explain(code, "app") is None
