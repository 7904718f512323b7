"""Which runners there are, as Kafka gives partitions out and takes them away."""

import asyncio
from types import SimpleNamespace

import pytest

from stream.core.shard.write_set import ShardId
from stream.tables.interface import TablesUnavailableError
from stream.worker import shard_set as module
from stream.worker.shard_set import Shards, StuckError
from stream.worker.status import ShardStatus, Status

A, B, C = (ShardId("checkout-events", number) for number in range(3))


class Runner:
    """Claims when it is told to, and then does nothing."""

    def __init__(self, shard, journey, bench, changed, capacity) -> None:
        self.id, self.journey, self.capacity = shard, journey, capacity
        self.status = ShardStatus()
        self.cursor = None
        self.busy = False
        self.active = True
        self.stuck = False
        self.error = asyncio.get_running_loop().create_future()

    async def run(self):
        await self.error

    def bound(self, capacity):
        self.capacity = capacity

    def suspend(self):
        self.active = False

    def resume(self):
        self.active = True

    def is_stuck(self, seconds):
        return self.stuck


class Instruments:
    def __init__(self) -> None:
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))


async def refuse():
    raise TablesUnavailableError("connection", "cut")


@pytest.fixture
async def shards(monkeypatch):
    monkeypatch.setattr(module, "Runner", Runner)
    monkeypatch.setattr(module, "WATCH_EVERY", 0.0)
    bench = SimpleNamespace(instruments=Instruments(), clock=SimpleNamespace(refresh=refuse))
    died = []
    shards = Shards(bench, {"checkout-events": "checkout"}, 1000, Status(), died.append)
    shards.died, shards.instruments = died, bench.instruments
    yield shards
    await shards.close(1.0)


def runners(shards):
    return dict(shards._runners)


async def test_what_stays_assigned_keeps_its_runner(shards):
    shards.assign([A, B])
    first = runners(shards)
    for runner in first.values():
        runner.status.claimed = True
    await shards.suspend(1.0)
    assert not any(runner.active for runner in first.values())
    assert not shards.status.assigned
    shards.assign([B, C])
    second = runners(shards)
    assert second.keys() == {B, C}
    assert second[B] is first[B]
    assert second[B].active
    assert first[A].cursor is None
    assert shards.status.shards == {B: second[B].status, C: second[C].status}
    assert ("drop_shard", *A) in shards.instruments.calls
    assert {runner.capacity for runner in second.values()} == {250}
    shards.assign([A, B, C])
    assert {runner.capacity for runner in runners(shards).values()} == {166}  # those that stay make room for the others


async def test_an_unfinished_claim_is_given_up_so_that_it_takes_nothing_from_the_next_owner(shards):
    shards.assign([A])
    (before,) = runners(shards).values()
    await shards.suspend(1.0)
    assert runners(shards) == {}
    shards.assign([A])
    assert runners(shards)[A] is not before


async def test_a_halted_shard_stays_halted(shards):
    shards.assign([A])
    runners(shards)[A].status.halted = "because"
    await shards.suspend(1.0)
    shards.assign([A])
    assert shards.status.shards[A].halted == "because"
    assert shards.status.readiness() == (True, [])


async def test_it_waits_for_a_batch_but_not_for_ever_and_not_for_a_stalled_one(shards):
    shards.assign([A, B])
    a, b = runners(shards)[A], runners(shards)[B]
    a.status.claimed = b.status.claimed = a.busy = b.busy = True
    b.status.stalled = "connection: cut"
    waiting = asyncio.create_task(shards.suspend(60.0))
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()
    a.busy = False
    await asyncio.wait_for(waiting, 30)
    a.busy = True
    await asyncio.wait_for(shards.suspend(0.0), 30)


async def test_without_partitions_there_is_nothing_to_be_unready_for(shards):
    assert shards.status.readiness() == (False, ["Kafka has not given out partitions"])
    shards.assign([])
    assert shards.status.readiness() == (True, [])


async def test_readiness_names_what_is_missing(shards):
    shards.assign([A, B])
    shards.status.shards[A].claimed = True
    shards.status.shards[A].stalled = "full: OOM"
    assert shards.status.readiness() == (
        False,
        ["checkout-events/0: full: OOM", "checkout-events/1: not claimed yet"],
    )


async def test_a_kafka_that_does_not_answer_is_named_once_and_a_partition_by_itself(shards):
    shards.assign([A, B])
    for runner in runners(shards).values():
        runner.status.claimed = True
    for shard in (None, A, B):
        shards.see_unanswered(shard, True)
    assert shards.status.readiness() == (False, ["Kafka does not answer"])
    for shard in (None, B, C):
        shards.see_unanswered(shard, False)
    assert shards.status.readiness() == (False, ["checkout-events/0: Kafka does not answer"])
    shards.see_unanswered(A, False)
    assert shards.status.readiness() == (True, [])


async def test_why_kafka_refuses_is_named_until_partitions_are_given_out(shards):
    shards.see_refused("Kafka refuses this member of the group: GroupAuthorizationFailedError()")
    assert shards.status.readiness() == (
        False,
        ["Kafka refuses this member of the group: GroupAuthorizationFailedError()"],
    )
    shards.assign([])
    assert shards.status.readiness() == (True, [])


async def test_a_partition_that_cannot_be_read_is_named_until_it_was(shards):
    shards.assign([A])
    runners(shards)[A].status.claimed = True
    shards.see_unreadable(A, "cannot be read: CorruptRecordException()")
    assert shards.status.readiness() == (False, ["checkout-events/0: cannot be read: CorruptRecordException()"])
    shards.see_log(A, 5, range(0))
    assert shards.status.readiness() == (True, [])


async def test_a_runner_that_ends_by_an_error_ends_the_worker(shards):
    shards.assign([A])
    error = RuntimeError("nobody expected this")
    runners(shards)[A].error.set_exception(error)
    async with asyncio.timeout(30):
        while not shards.died:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0)
    assert shards.died == [error]


async def test_the_watch_tells_the_lag_and_ends_a_stuck_worker(shards):
    shards.assign([A, B])
    for runner in runners(shards).values():
        runner.status.offset, runner.status.end = 5, 9
    watching = asyncio.create_task(shards.watch())
    async with asyncio.timeout(30):
        while ("lag", *B, 4) not in shards.instruments.calls:  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0)
    runners(shards)[B].stuck = True
    with pytest.raises(StuckError, match="4 records are waiting"):
        await asyncio.wait_for(watching, 30)


@pytest.mark.parametrize(
    ("offset", "start", "end", "empty", "lag"),
    [
        (None, None, 9, range(0), None),
        (5, 0, None, range(0), None),
        (None, 2, 9, range(0), 7),
        (5, 2, 9, range(0), 4),
        (9, 2, 8, range(0), 0),
        (8, 2, 9, range(8, 9), 0),
        (None, 0, 3, range(3), 0),
        (7, 2, 9, range(8, 9), 2),
        (8, 2, 12, range(7, 10), 2),
    ],
)
def test_lag(offset, start, end, empty, lag):
    assert ShardStatus(offset=offset, start=start, end=end, empty=empty).lag == lag
