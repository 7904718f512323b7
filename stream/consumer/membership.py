"""What the coordinator of the consumer group answers this member, in words; and a static member whose place another process has taken.

Rules: aiokafka sends heartbeats without the group.instance.id, and joins again at once when another process has taken the member's place. Two processes with
the same id would take it from each other many times a minute. Here the one that lost its place leaves the partitions to the other one, and joins again
only when Kafka says that the place is free. Everything here runs in the client's thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    InconsistentGroupProtocolError,
    InvalidGroupIdError,
    UnknownMemberIdError,
)
from aiokafka.protocol.api import Request, RequestStruct
from aiokafka.protocol.group import HeartbeatRequest, HeartbeatResponse_v1, JoinGroupRequest
from aiokafka.protocol.types import Int32, Schema, String

from stream.settings import variable

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

FENCED_PAUSE: Final = 600.0
"""Seconds until a member that lost its place asks whether the place is free."""
_FENCED: Final = 82  # FENCED_INSTANCE_ID, which aiokafka does not know
_GROUP_ID_NOT_FOUND: Final = 69  # the answer to a consumer if the group is one of Kafka Streams or a share group
_GROUP_MAX_SIZE_REACHED: Final = 81


class _HeartbeatResponse(HeartbeatResponse_v1):  # type: ignore[misc]  # aiokafka is untyped here
    API_VERSION: ClassVar[int] = 3


class _HeartbeatStruct(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class _StaticHeartbeat(Request[_HeartbeatStruct]):  # type: ignore[misc]  # aiokafka is untyped here
    """A heartbeat with the group.instance.id: without it Kafka does not say that another process has the place."""

    API_KEY = 12

    def __init__(self, *fields: object) -> None:
        self._fields = fields

    def build(self, request_struct_class: type[_HeartbeatStruct]) -> _HeartbeatStruct:
        return request_struct_class(*self._fields)


class Membership:
    """Sits between aiokafka's coordinator and Kafka, from `attach` on."""

    def __init__(self, coordinator: Any, instance_id: str | None, on_fenced: Callable[[str], None]) -> None:
        """`coordinator` is aiokafka's `GroupCoordinator`; `on_fenced` is called with the reason when another process has taken this member's place."""
        self.refusal: str | None = None
        """Why Kafka refused the last attempt to join, where more is known than aiokafka says."""
        self._coordinator = coordinator
        self._instance_id = instance_id
        self._on_fenced = on_fenced
        self._send = coordinator._send_req  # noqa: SLF001 - aiokafka has no public way between it and Kafka
        self._lost: tuple[int, str] | None = None
        """Generation and id of the member that lost its place; None while it has it."""
        self._ask_at = 0.0
        """When to ask whether the place is free; by the monotonic clock."""

    def attach(self) -> None:
        """Have every request to the coordinator sent by this."""
        self._coordinator._send_req = self.send  # noqa: SLF001 - see above

    async def send(self, request: Any) -> Any:
        """Send a request of aiokafka's, as `GroupCoordinator._send_req`; an attempt to join waits until the place is free.

        Raises:
            KafkaError: Kafka does not answer, or the client is being closed.
        """
        coordinator = self._coordinator
        joins = isinstance(request, JoinGroupRequest)
        if joins:
            await self._wait_for_place()
        member = coordinator.generation, coordinator.member_id
        if self._instance_id is not None and isinstance(request, HeartbeatRequest):
            try:
                response = await self._send(self._heartbeat(*member))
            except RuntimeError:  # of aiokafka: a server that does not know static members
                response = await self._send(request)
        else:
            response = await self._send(request)
        code = getattr(response, "error_code", 0)
        if code == _FENCED and self._instance_id is not None:
            self._lost, self._ask_at = member, time.monotonic() + FENCED_PAUSE
            self._on_fenced(fenced(self._instance_id))
            response.error_code = UnknownMemberIdError.errno  # then aiokafka gives up its partitions, and tries to join
        elif joins:
            self.refusal = explain(code, coordinator.group_id)
        return response

    async def _wait_for_place(self) -> None:
        closing = self._coordinator._closing  # noqa: SLF001 - the only sign that the client is being closed
        while self._lost is not None and not closing.done():
            await asyncio.wait({closing}, timeout=max(0.0, self._ask_at - time.monotonic()))
            if closing.done():
                break
            if (await self._send(self._heartbeat(*self._lost))).error_code == _FENCED:
                self._ask_at = time.monotonic() + FENCED_PAUSE
            else:
                log.info(
                    "no other process has the kafka_group_instance_id '%s' any longer; joining the group",
                    self._instance_id,
                )
                self._lost = None
        if closing.done():
            raise GroupCoordinatorNotAvailableError

    def _heartbeat(self, generation: int, member: str) -> _StaticHeartbeat:
        return _StaticHeartbeat(self._coordinator.group_id, generation, member, self._instance_id)


def fenced(instance_id: str) -> str:
    """What it means that another process has taken the place of this member, and what to do."""
    return (
        f"another process uses the same kafka_group_instance_id {instance_id!r}: set a different one for each worker "
        f"({variable('kafka_group_instance_id')}). This worker has left its partitions to the other one, and asks every {FENCED_PAUSE / 60:.0f} minutes "
        "whether the id is free"
    )


def explain(code: int, group: str) -> str | None:
    """What it means that Kafka refuses an attempt to join a group, and what to do; None if aiokafka says as much."""
    if code in (InconsistentGroupProtocolError.errno, _GROUP_ID_NOT_FOUND):
        return (
            f"another program uses the consumer group {group!r}, with a protocol that is not a worker's: stop it, or set another "
            f"{variable('app_id')} (a new application, which counts from what Kafka holds)"
        )
    if code == GroupAuthorizationFailedError.errno:
        return f"this user may not use the consumer group {group!r}: grant Read on the group"
    if code == InvalidGroupIdError.errno:
        return f"Kafka does not accept {group!r} as the name of a consumer group: set another {variable('app_id')}"
    if code == _GROUP_MAX_SIZE_REACHED:
        return f"the consumer group {group!r} has as many members as the brokers allow (group.max.size): run fewer workers, or raise it"
    return None
