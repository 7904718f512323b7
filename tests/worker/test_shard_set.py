"""Which tasks there are, as Kafka assigns and revokes partitions."""

import asyncio
from types import SimpleNamespace

import pytest

from stream.core.shard.write_set import ShardId
from stream.kafka.cursor import LogView
from stream.worker import shard_set as module
from stream.worker.retry import Waiting
from stream.worker.shard_set import ShardSet
from stream.worker.shard_task import ShardState

A, B, C = (ShardId("checkout-events", number) for number in range(3))


class Task:
    """Is in the state that the test says, and does nothing."""

    def __init__(self, shard, journey, context, changed, capacity) -> None:
        self.id, self.journey, self.capacity = shard, journey, capacity
        self.state = ShardState.CLAIMING
        self.waiting = Waiting("test")
        self.log_view = LogView()
        self.cursor = self.offset = None
        self.active = True
        self.has_committed = False
        self.error = asyncio.get_running_loop().create_future()

    async def run(self):
        await self.error

    def set_capacity(self, capacity):
        self.capacity = capacity

    def suspend(self):
        self.active = False

    def resume(self):
        self.active = True


class Counters:
    def __init__(self) -> None:
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.fixture
async def shards(monkeypatch):
    monkeypatch.setattr(module, "ShardTask", Task)
    context = SimpleNamespace(counters=Counters())
    errors = []
    shards = ShardSet(context, {"checkout-events": "checkout"}, 1000, errors.append)
    shards.errors, shards.counters = errors, context.counters
    yield shards
    await shards.close(1.0)


async def test_what_stays_assigned_keeps_its_task(shards):
    shards.assign([A, B])
    first = dict(shards.tasks)
    for task in first.values():
        task.state = ShardState.READING
    await shards.suspend(1.0)
    assert not any(task.active for task in first.values())
    assert not shards.assigned
    shards.assign([B, C])
    assert shards.assigned
    second = dict(shards.tasks)
    assert second.keys() == {B, C}
    assert second[B] is first[B]
    assert second[B].active
    assert first[A].cursor is None
    assert ("drop_shard", *A) in shards.counters.calls
    assert {task.capacity for task in second.values()} == {250}
    shards.assign([A, B, C])
    assert {task.capacity for task in shards.tasks.values()} == {166}  # those that stay make room for the others


@pytest.mark.parametrize("state", [ShardState.UNCLAIMED, ShardState.CLAIMING, ShardState.FENCED])
async def test_an_unfinished_claim_is_given_up_so_that_it_takes_nothing_from_the_next_owner(shards, state):
    shards.assign([A])
    (before,) = shards.tasks.values()
    before.state = state
    await shards.suspend(1.0)
    assert shards.tasks == {}
    shards.assign([A])
    assert shards.tasks[A] is not before


async def test_a_halted_shard_stays_halted(shards):
    shards.assign([A])
    shards.tasks[A].state = ShardState.HALTED
    await shards.suspend(1.0)
    shards.assign([A])
    assert shards.is_halted(A)
    assert not shards.is_halted(B)


async def test_it_waits_for_a_batch_but_not_for_ever_and_not_for_one_that_waits_itself(shards):
    shards.assign([A, B])
    a, b = shards.tasks[A], shards.tasks[B]
    a.state = b.state = ShardState.APPLYING
    b.waiting.begin("connection: cut")
    waiting = asyncio.create_task(shards.suspend(60.0))
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()
    a.state = ShardState.SUSPENDED
    await asyncio.wait_for(waiting, 30)
    a.state = ShardState.APPLYING
    await asyncio.wait_for(shards.suspend(0.0), 30)


async def test_what_the_consumer_notes_is_in_the_view_of_the_log(shards):
    shards.assign([A])
    view = shards.tasks[A].log_view
    shards.note_start(A, 3)
    shards.note_unreadable(A, "cannot be read: CorruptRecordException()")
    shards.note_unanswered(A, True)
    assert view == LogView(start=3, unreadable="cannot be read: CorruptRecordException()", unanswered=True)
    shards.note_read(A, 5, range(4, 5))
    shards.note_unanswered(A, False)
    assert (view.start, view.end, view.empty, view.unreadable) == (3, 5, range(4, 5), None)
    assert view.waiting_since(4) is None, "the only record after it is none"
    for shard in (B, C):  # not assigned any more
        shards.note_start(shard, 3)
        shards.note_read(shard, 5, range(0))
        shards.note_unreadable(shard, "because")
        shards.note_unanswered(shard, True)


async def test_what_kafka_refuses_is_known_until_partitions_are_assigned(shards):
    shards.note_refused("Kafka refuses this member of the group: GroupAuthorizationFailedError()")
    assert shards.refused is not None
    shards.assign([])
    assert shards.refused is None


async def test_displayed_offsets_are_those_of_claimed_shards_that_have_applied_something(shards):
    shards.assign([A, B])
    shards.tasks[A].offset = 5
    shards.tasks[A].log_view.empty = range(5, 7)
    assert shards.offsets() == {A: 7}


async def test_a_task_that_ends_by_an_error_ends_the_worker(shards):
    shards.assign([A])
    error = RuntimeError("unexpected")
    shards.tasks[A].error.set_exception(error)
    async with asyncio.timeout(30):
        while not shards.errors:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0)
    assert shards.errors == [error]


async def test_what_the_consumer_reports_again_and_again_is_logged_when_it_begins_and_when_it_is_over(shards, caplog):
    caplog.set_level("INFO")
    shards.assign([A])
    for _ in range(3):
        shards.note_unreadable(A, "cannot be read: CorruptRecordException()")
        shards.note_silence(True)
        shards.note_refused("Kafka refuses this member")
    for _ in range(3):
        shards.note_read(A, 5, range(0))
        shards.note_silence(False)
        shards.assign([A])
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "WARNING", "INFO", "INFO", "INFO"]
    assert "again" in caplog.messages[3]
    assert caplog.messages[4] == "Kafka answers again"
