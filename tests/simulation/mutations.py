"""Defects added on purpose; some seed of the simulation must notice each of them.

Rules: a mutation changes one decision of the product and nothing else. Mutations of the script change its text.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from simulation.worker import Consumer

from stream.core.counting import cells
from stream.core.entities import checkout
from stream.core.shard.event_time import EventTime
from stream.core.shard.shard import Shard
from stream.tables import redis
from stream.tables.interface import Claim, Commit, CommitResult
from stream.tables.redis import RedisTables
from stream.worker.pipeline import Pipeline
from stream.worker.session import Session
from stream.worker.shard_task import ShardTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from faust.types import TP

    from stream.core.shard.write_set import ShardId
    from stream.kafka.cursor import Batch
    from stream.kafka.producer import Message


@contextmanager
def _script(*changes: tuple[bytes, bytes]) -> Iterator[None]:
    """Another text in `commit.lua`."""
    make = RedisTables.__init__

    def changed(self: RedisTables, *arguments: Any) -> None:
        make(self, *arguments)
        for old, new in changes:
            assert old in self._scripts["commit"]
            self._scripts["commit"] = self._scripts["commit"].replace(old, new)

    with mock.patch.object(RedisTables, "__init__", changed):
        yield


def no_owner_check() -> AbstractContextManager[None]:
    """Neither the owner is compared nor its epoch, which would show the same."""
    return _script((b"if owner ~= nonce then", b"if false then"), (b"tonumber(stored_epoch) > epoch or ", b""))


def no_offset_check() -> AbstractContextManager[None]:
    """Neither the offset nor the preceding batch, which implies it, is compared."""
    return _script((b"(offset or '') ~= start or (ARGV[15] and (last or '') ~= ARGV[15])", b"false"))


@contextmanager
def increments() -> Iterator[None]:
    """Panes are sent as what is to be added, and the server adds it up."""
    claim, commit = RedisTables.claim, RedisTables.commit
    known: dict[tuple[int, ShardId], dict[bytes, bytes]] = {}

    async def claiming(self: RedisTables, shard: ShardId, nonce: bytes) -> Claim:
        claimed = await claim(self, shard, nonce)
        known[id(self), shard] = dict(claimed.stored.panes)
        return claimed

    async def committing(self: RedisTables, whole: Commit) -> CommitResult:
        panes = known[id(self), whole.shard]
        added: dict[bytes, bytes | None] = {}
        for name, data in whole.changes.panes.items():
            pane = cells.decode(data) if data is not None else None
            if pane is not None and name in panes:
                cells.subtract(pane, cells.decode(panes[name]))
            added[name] = None if pane is None else cells.encode(pane)
        changes = whole.changes
        absolute, changes.panes = changes.panes, added
        try:
            committed = await commit(self, whole)
        finally:
            changes.panes = absolute
        if committed in (CommitResult.APPLIED, CommitResult.REPEATED):
            panes.update({name: data for name, data in absolute.items() if data is not None})
        return committed

    adding = b"""local adding = command
    if command == 'HSET' and string.sub(KEYS[keys[i]], -6) == ':panes' then
      adding = 'HINCCELLS'
    end
    redis.call(adding, KEYS"""
    with (
        _script((b"redis.call(command, KEYS", adding)),
        mock.patch.object(RedisTables, "claim", claiming),
        mock.patch.object(RedisTables, "commit", committing),
    ):
        yield


@contextmanager
def retries_by_the_client() -> Iterator[None]:
    """As redis-py has it by default."""

    def ten(_: Any, __: int) -> Retry:
        return Retry(NoBackoff(), 10)

    with mock.patch.object(redis, "RedisRetry", ten):
        yield


@contextmanager
def commit_before_publish() -> Iterator[None]:
    publish, commit = Pipeline._publish, Session.commit
    held: dict[asyncio.Task[Any] | None, tuple[Pipeline, list[Message]]] = {}
    """By the task of the shard, in which both happen."""

    async def hold(self: Pipeline, messages: list[Message]) -> None:
        held[asyncio.current_task()] = self, messages

    async def committing(self: Session, *arguments: Any) -> None:
        await commit(self, *arguments)
        if (pending := held.pop(asyncio.current_task(), None)) is not None:
            await publish(*pending)

    with mock.patch.object(Pipeline, "_publish", hold), mock.patch.object(Session, "commit", committing):
        yield


@contextmanager
def skipping_a_batch_on_mismatch() -> Iterator[None]:
    """A batch is applied although it does not start where the last one ended."""
    validate = ShardTask._validate

    def skipping(self: ShardTask, session: Session, batch: Batch) -> Batch | None:
        if not batch.cursor.verify and session.offset is not None and batch.start > session.offset:
            batch = batch._replace(start=session.offset)
        return validate(self, session, batch)

    with mock.patch.object(ShardTask, "_validate", skipping):
        yield


@contextmanager
def falling_back_to_kafkas_offset() -> Iterator[None]:
    """If the tables hold no offset, the log is read from Kafka's committed offset."""
    earliest = Consumer.earliest_offsets

    async def committed(self: Consumer, *partitions: TP) -> dict[TP, int]:
        beginnings = await earliest(self, *partitions)
        shown = self._worker.broker.group.committed
        return {
            partition: shown.get(partition, beginning)
            if (cursor := self.shards.cursor(partition)) is not None and cursor.offset is None
            else beginning
            for partition, beginning in beginnings.items()
        }

    with mock.patch.object(Consumer, "earliest_offsets", committed):
        yield


def erasing_no_checkouts() -> AbstractContextManager[Any]:
    """A customer's own record is cleared; their carts still name them."""
    return mock.patch.object(checkout, "rename", return_value=None)


def forgetting_too_early() -> AbstractContextManager[Any]:
    """Without the allowed lateness."""
    return mock.patch.object(
        Shard,
        "expired_before",
        lambda self: (self._time.stream_time, min(self._time.stream_time, self._aggregates.at)),
    )


def forgetting_what_is_removed() -> AbstractContextManager[Any]:
    """Whether a late event finds its record depends on whether that was cleaned up by then."""
    return mock.patch.object(EventTime, "is_expired", return_value=False)


def not_reading_layout_1() -> AbstractContextManager[Any]:
    """Records are looked for in their buckets alone."""
    return mock.patch.object(RedisTables, "_note_left", lambda self, shard, _: self._upgraded.add(shard))


def leaving_records_in_layout_1() -> AbstractContextManager[Any]:
    """What is written to a bucket also stays where layout 1 had it."""
    writes = redis._writes
    return mock.patch.object(redis, "_writes", lambda shard, commit, **_: writes(shard, commit, upgraded=True))


MUTATIONS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no owner check": no_owner_check,
    "no offset check": no_offset_check,
    "increments in place of absolute values": increments,
    "retries by the client": retries_by_the_client,
    "commit before publish": commit_before_publish,
    "skipping a batch on mismatch": skipping_a_batch_on_mismatch,
    "falling back to Kafka's offset": falling_back_to_kafkas_offset,
    "erasing no checkouts": erasing_no_checkouts,
    "forgetting too early": forgetting_too_early,
    "forgetting what is removed": forgetting_what_is_removed,
    "not reading layout 1": not_reading_layout_1,
    "leaving records in layout 1": leaving_records_in_layout_1,
}
