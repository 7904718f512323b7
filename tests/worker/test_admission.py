"""Which shards may be claimed."""

import pytest
from support.one_shard import SENT, SHARD, ShardWorker, Tables, assert_right, log_of

from stream.core.shard.write_set import ShardId
from stream.kafka.cursor import ShardHaltedError
from stream.worker import admission as module
from stream.worker import shard_task
from stream.worker.admission import ACTIVE, Admission
from stream.worker.shard_task import ShardState

TOPIC = SHARD.topic
NEW = ShardId(TOPIC, 4)
JOURNEYS = {TOPIC: "checkout"}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(module, "_FRESH", -1.0)
    monkeypatch.setattr(shard_task, "CHECK_AGAIN", 0.01)


def admission(tables, partitions=4, journeys=None):
    return Admission(tables, journeys or JOURNEYS, "shop", lambda topic: partitions)


async def applied(tables=None):
    """Tables in which a shard has applied something."""
    worker = ShardWorker(log_of(SENT), tables or Tables())
    async with worker.running():
        await worker.read_all()
    return worker.tables


async def test_the_first_look_at_a_topic_stores_how_many_partitions_it_has():
    tables = Tables()
    await admission(tables).check(SHARD)
    assert tables.memory.topics[TOPIC].partitions == 4
    await admission(tables, 9).register()
    assert tables.memory.topics[TOPIC].partitions == 4


async def test_partitions_that_are_not_known_are_not_stored():
    tables = Tables()
    await admission(tables, None).check(SHARD)
    assert tables.memory.topics == {}


async def test_a_new_partition_is_refused_once_something_was_applied():
    tables = await applied()
    await admission(tables).register()
    with pytest.raises(ShardHaltedError, match="grown from 4 to 6 partitions") as refused:
        await admission(tables, 6).check(NEW)
    assert refused.value.reason == "partitions_grown"
    await admission(tables, 6).check(SHARD)


async def test_a_new_partition_is_accepted_without_asking_while_nothing_was_applied():
    tables = Tables()
    await admission(tables).register()
    await admission(tables, 6).check(NEW)
    assert tables.memory.topics[TOPIC].partitions == 6


async def test_an_application_with_another_topic_is_refused_while_the_first_commits():
    tables = await applied()
    other = admission(tables, journeys={"other-events": "checkout"})
    with pytest.raises(ShardHaltedError, match=f"topic {TOPIC}, .* retire {TOPIC}") as refused:
        await other.check(ShardId("other-events", 0))
    assert refused.value.reason == "other_application"
    tables.clock += ACTIVE
    await other.check(ShardId("other-events", 0))


async def test_a_refused_application_leaves_no_topics_in_the_view_of_the_first():
    tables = await applied()
    await admission(tables).register()
    await admission(tables, journeys={"other-events": "checkout"}).register()
    assert tables.memory.topics.keys() == {TOPIC}


async def test_a_retired_topic_refuses_nobody():
    tables = await applied()
    await tables.retire(TOPIC)
    await admission(tables, journeys={"other-events": "checkout"}).check(ShardId("other-events", 0))


async def test_a_shard_of_a_new_partition_is_halted_until_it_is_accepted():
    tables = Tables()
    await admission(tables).register()
    worker = ShardWorker(log_of(SENT), tables)
    worker.admission = Gate()
    async with worker.running():
        await worker.until(lambda: worker.task.state is ShardState.HALTED and SHARD in halts(tables))
        assert worker.task.halted.reason == "partitions_grown"
        assert halts(tables)[SHARD].reason == "partitions_grown"
        assert (*SHARD, True) in worker.counters.named("halted")
        worker.admission.open = True
        await worker.read_all()
        assert worker.task.halted is None
        assert halts(tables) == {}
        assert worker.counters.named("halted")[-1] == (*SHARD, False)
        await assert_right(worker)


async def test_a_shard_of_another_application_is_halted_without_a_trace_in_the_view_of_the_first():
    worker = ShardWorker(log_of(SENT))
    worker.admission = Gate("other_application")
    async with worker.running():
        await worker.until(lambda: len(worker.admission.asked) > 2)
        assert worker.task.halted.reason == "other_application"
        assert halts(worker.tables) == {}


async def test_a_suspended_shard_is_not_checked_again():
    worker = ShardWorker(log_of(SENT))
    worker.admission = Gate()
    async with worker.running():
        await worker.until(lambda: worker.task.state is ShardState.HALTED)
        worker.task.suspend()
        worker.admission.open = True
        asked = len(worker.admission.asked)
        for _ in range(5):
            await worker.until(lambda: True)
        assert worker.task.state is ShardState.HALTED
        assert len(worker.admission.asked) <= asked + 1
        worker.task.resume()
        await worker.read_all()


def halts(tables):
    return {shard: stored.halt for shard, stored in tables.memory.shards.items() if stored.halt is not None}


class Gate:
    """Refuses until it is open."""

    def __init__(self, reason="partitions_grown"):
        self.reason, self.open, self.asked = reason, False, []

    async def check(self, shard):
        self.asked.append(shard)
        if not self.open:
            raise ShardHaltedError("the gate is closed", reason=self.reason)
