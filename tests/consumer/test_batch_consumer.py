"""What the consumer delivers and where it seeks, with the client and Faust's side of it played by the test."""

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.client import ConnectionGroup
from aiokafka.errors import (
    CorruptRecordException,
    InvalidSessionTimeoutError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)
from aiokafka.structs import TopicPartition
from faust.types import TP

from stream.consumer.batch_consumer import SILENCE, BatchConsumer
from stream.core.shard.write_set import ShardId
from stream.kafka.cursor import CREDITS, Cursor
from stream.worker.status import ShardStatus, Status

A, B = TP("checkout-events", 0), TP("checkout-events", 1)


def record(offset):
    return SimpleNamespace(offset=offset, value=b"", key=b"", timestamp=1_000, timestamp_type=0)


class Shards:
    def __init__(self) -> None:
        self.cursors = {}
        self.changed = asyncio.Event()
        self.halted = {}
        self.reread_shards = []
        self.watermarks = {}
        self.empty = {}
        self.unreadable = {}
        self.status = Status(assigned=True)
        self.unanswered = set()

    def cursor(self, shard):
        return self.cursors.get(shard)

    def halt(self, shard, reason):
        self.halted[shard] = reason
        self.cursors.pop(shard, None)

    def is_halted(self, shard):
        return shard in self.halted

    def reread(self, shards):
        for shard in shards:
            self.reread_shards.append(shard)
            self.cursors.pop(shard, None)

    def see_start(self, shard, offset):
        self.watermarks.setdefault(shard, offset)

    def see_log(self, shard, end, empty):
        self.watermarks[shard] = end
        self.empty[shard] = empty
        self.unreadable.pop(shard, None)

    def see_unreadable(self, shard, reason):
        self.unreadable[shard] = reason

    def see_unanswered(self, shard, unanswered):
        (self.unanswered.add if unanswered else self.unanswered.discard)(shard)


class Consumer(BatchConsumer):
    """The client is a dict of logs; `during` runs while it fetches."""

    flow_active = True
    should_stop = False

    def __init__(self, *partitions) -> None:
        self.app = SimpleNamespace(consumer_generation_id=1, shards=Shards(), batch_records=100, polled_records=1000)
        self.__post_init__()
        self.logs = {tp: [record(offset) for offset in range(10)] for tp in partitions}
        self.places = {}
        self.beginnings = dict.fromkeys(partitions, 0)
        self.fetches = []
        self.passed_over = 0
        self.during = lambda: None
        self.coordination = SimpleNamespace(done=lambda: False)
        self.connection = SimpleNamespace(_last_action=0.0)
        self.told = dict.fromkeys(partitions, 0)
        self.coordinator = SimpleNamespace(_coordination_task=self.coordination, coordinator_id=7)
        client = SimpleNamespace(
            _coordinator=self.coordinator,
            _client=SimpleNamespace(_conns={(7, ConnectionGroup.COORDINATION): self.connection}),
            last_poll_timestamp=lambda tp: self.told[TP(*tp)],
        )
        self._thread = SimpleNamespace(_ensure_consumer=lambda: client)

    def __post_init__(self) -> None:
        self._cursors, self._shown, self._asked, self._resting, self._seen = {}, {}, {}, {}, {}
        self._alone_until = self._answered = 0.0

    def _get_active_partitions(self):
        return set(self.logs)

    async def earliest_offsets(self, *partitions):
        return {tp: self.beginnings[tp] for tp in partitions}

    async def seek_wait(self, partitions):
        self.places.update(partitions)

    async def _getmany(self, active_partitions, timeout):  # noqa: ASYNC109 - the client's signature
        self.fetches.append((active_partitions, timeout))
        fetched = {}
        for tp in active_partitions:
            records = [record for record in self.logs[tp] if record.offset >= self.places[tp]][:4]
            if records:
                fetched[TopicPartition(*tp)] = records
                self.places[tp] = records[-1].offset + 1
        self.during()
        return fetched

    def _told(self, tp):
        return len(self.logs[tp]), self.places[tp] + self.passed_over

    async def _wait_for_change(self, seconds):
        await asyncio.sleep(0)

    def unanswered(self, now):
        self._look_for_answers(now)
        return self.app.shards.unanswered

    def want(self, tp, offset, *, verify=False):
        self.app.shards.status.shards.setdefault(ShardId(*tp), ShardStatus())
        cursor = self.app.shards.cursors[ShardId(*tp)] = Cursor(offset, verify=verify)
        return cursor

    async def read(self):
        return {TP(*batch.shard): batch async for _, message in self.getmany(timeout=1.0) for batch in message.value}


async def test_it_reads_from_where_the_shards_say():
    consumer = Consumer(A, B)
    consumer.want(A, 3)
    consumer.want(B, None)
    consumer.beginnings[B] = 2
    batches = await consumer.read()
    assert (batches[A].start, batches[A].end, len(batches[A].records)) == (3, 7, 4)
    assert (batches[B].start, batches[B].end) == (2, 6)
    assert (await consumer.read())[A].start == 7
    assert consumer.app.shards.watermarks == {A: 10, B: 10}
    assert [timeout for _, timeout in consumer.fetches] == [1.0, 1.0]


async def test_it_tells_which_offsets_behind_what_was_read_hold_no_record():
    consumer = Consumer(A)
    consumer.want(A, 3)
    await consumer.read()
    assert not consumer.app.shards.empty[A]
    consumer.passed_over = 2
    await consumer.read()
    assert consumer.app.shards.empty[A] == range(10, 12)
    consumer.during = lambda: consumer.want(A, 3)
    consumer.passed_over = 5
    await consumer.read()
    assert consumer.app.shards.empty[A] == range(10, 12), "what was read from a place that is left tells nothing"


async def test_a_batch_has_no_more_records_than_it_may():
    consumer = Consumer(A, B)
    consumer.app.batch_records = 3
    cursor = consumer.want(A, 0)
    consumer.want(B, 8)
    (message,) = [message async for _, message in consumer.getmany(timeout=1.0)]
    assert sorted((batch.shard, batch.start, batch.end, len(batch.records)) for batch in message.value) == [
        (ShardId(*A), 0, 3, 3), (ShardId(*A), 3, 4, 1), (ShardId(*B), 8, 10, 2)
    ]  # fmt: skip
    assert cursor.outstanding == 2


async def test_nothing_is_fetched_while_much_is_under_way():
    consumer = Consumer(A, B)
    consumer.app.polled_records = 5
    cursor = consumer.want(A, 0)
    consumer.want(B, 8)
    batches = await consumer.read()
    assert batches.keys() == {A, B}
    assert cursor.under_way == 4
    assert await consumer.read() == {}
    cursor.finish(batches[A])
    assert cursor.under_way == 0
    assert (await consumer.read()).keys() == {A}


async def test_faust_sees_one_message_a_fetch_with_the_offset_of_the_first_batch():
    consumer = Consumer(A, B)
    consumer.want(A, 0)
    consumer.want(B, 5)
    (message,) = [message async for _, message in consumer.getmany(timeout=1.0)]
    first = message.value[0]
    assert (message.offset, message.generation_id, message.tp) == (first.end - 1, 1, TP(*first.shard))
    assert {(batch.shard, batch.start) for batch in message.value} == {(ShardId(*A), 0), (ShardId(*B), 5)}


async def test_nothing_is_fetched_for_shards_that_want_nothing():
    consumer = Consumer(A, B)
    assert await consumer.read() == {}
    assert consumer.fetches == []  # to the client an empty set would mean every partition
    consumer.want(B, 0)
    assert set(await consumer.read()) == {B}
    assert consumer.fetches == [({B}, 0)]  # without waiting: A may want something any moment


async def test_a_shard_without_room_is_left_alone():
    consumer = Consumer(A, B)
    cursor = consumer.want(A, 0)
    consumer.want(B, 0)
    for _ in range(CREDITS):
        await consumer.read()
    cursor.outstanding -= 1
    await consumer.read()
    assert consumer.fetches[-1] == ({A}, 0)


async def test_a_fetch_that_outlives_its_generation_is_dropped():
    consumer = Consumer(A)
    consumer.want(A, 0)

    def rebalance():
        consumer.app.consumer_generation_id += 1

    consumer.during = rebalance
    assert await consumer.read() == {}


async def test_a_fetch_that_outlives_its_position_is_dropped_and_read_again():
    consumer = Consumer(A, B)
    consumer.want(A, 0)
    consumer.want(B, 0)
    consumer.during = lambda: consumer.want(A, 0)
    assert set(await consumer.read()) == {B}
    consumer.during = lambda: None
    assert (await consumer.read())[A].start == 0


async def test_a_stopped_flow_delivers_nothing():
    consumer = Consumer(A)
    consumer.want(A, 0)

    def stop():
        consumer.flow_active = False

    consumer.during = stop
    assert await consumer.read() == {}


async def test_a_log_without_the_next_record_halts_its_shard_only():
    consumer = Consumer(A, B)
    consumer.want(A, 3)
    consumer.want(B, 3)
    consumer.beginnings[A] = 5
    assert set(await consumer.read()) == {B}
    assert "2 records were deleted" in consumer.app.shards.halted[A]


def failing(error):
    def fail():
        raise error

    return fail


async def test_an_offset_that_kafka_does_not_have_halts_its_shard():
    consumer = Consumer(A)
    consumer.want(A, 3)
    consumer.during = failing(OffsetOutOfRangeError({TopicPartition(*A): 3}))
    assert await consumer.read() == {}
    assert "no offset 3" in consumer.app.shards.halted[A]


async def test_retention_may_take_what_was_applied_between_seeking_and_reading():
    consumer = Consumer(A)
    consumer.want(A, 3, verify=True)

    def expire():
        consumer.beginnings[A] = 3
        raise OffsetOutOfRangeError({TopicPartition(*A): 2})

    consumer.during = expire
    assert await consumer.read() == {}
    assert consumer.app.shards.halted == {}
    assert consumer.app.shards.reread_shards == [A]
    consumer.during = lambda: None
    consumer.want(A, 3, verify=True)
    assert (await consumer.read())[A].start == 3


async def test_a_log_that_ends_before_what_was_applied_halts_its_shard():
    consumer = Consumer(A)
    consumer.want(A, 13, verify=True)
    consumer.during = failing(OffsetOutOfRangeError({TopicPartition(*A): 12}))
    assert await consumer.read() == {}
    assert "no offset 12" in consumer.app.shards.halted[A]


async def test_any_other_error_has_the_same_records_read_again_after_a_rest():
    consumer = Consumer(A)
    consumer.want(A, 3)
    consumer.during = failing(CorruptRecordException())
    assert await consumer.read() == {}
    assert consumer.app.shards.reread_shards == [A]
    assert "CorruptRecordException" in consumer.app.shards.unreadable[A]
    consumer.want(A, 3)
    assert await consumer.read() == {}
    assert len(consumer.fetches) == 1
    assert consumer.app.shards.unreadable
    consumer.during = lambda: None
    consumer._resting.clear()
    assert (await consumer.read())[A].start == 3
    assert not consumer.app.shards.unreadable


async def test_what_others_say_of_bytes_is_not_quoted():
    consumer = Consumer(A)
    consumer.want(A, 3)
    consumer.during = failing(ValueError("secret"))
    assert await consumer.read() == {}
    assert consumer.app.shards.unreadable == {A: "cannot be read: ValueError"}


async def test_a_member_that_kafka_refused_may_try_again_and_it_is_told():
    consumer = Consumer(A)
    refused = []
    consumer.app.shards.see_refused = refused.append
    consumer.loop = asyncio.get_running_loop()

    def check_errors():
        consumer.coordination.errors.append("taken")
        consumer.coordinator._pending_exception = None
        raise InvalidSessionTimeoutError

    consumer.coordination.errors = []
    consumer.coordinator.check_errors = check_errors
    for pending in (None, InvalidSessionTimeoutError()):
        consumer.coordinator._pending_exception = pending
        consumer._take_errors()
        await asyncio.sleep(0)
    assert consumer.coordination.errors == ["taken"]
    (reason,) = refused
    assert "set kafka_session_timeout within" in reason


@pytest.mark.parametrize("error", [CorruptRecordException(), UnsupportedCodecError("no zstd here")])
async def test_a_partition_that_cannot_be_read_does_not_keep_the_others(error):
    consumer = Consumer(A, B)
    consumer.want(A, 0)
    consumer.want(B, 0)

    def fail():
        if A in consumer.fetches[-1][0]:
            raise error

    consumer.during = fail
    read = []
    for _ in range(20):
        read += await consumer.read()
        for shard in consumer.app.shards.reread_shards:
            if shard not in consumer.app.shards.halted:
                consumer.want(TP(*shard), consumer.places[shard] if shard in read else 0)
        consumer.app.shards.reread_shards.clear()
    assert read.count(B) == CREDITS
    assert A not in read
    assert sum(A in asked for asked, _ in consumer.fetches) <= 2  # with B, then alone
    assert (A in consumer.app.shards.halted) == isinstance(error, UnsupportedCodecError)


async def test_a_halted_shard_holds_nobody_back():
    consumer = Consumer(A, B)
    consumer.want(B, 0)
    consumer.app.shards.halted[A] = "because"
    await consumer.read()
    assert consumer.fetches == [({B}, 1.0)]


async def test_an_error_from_before_the_first_seek_is_nothing():
    consumer = Consumer(A)
    consumer.want(A, 3)
    consumer.during = failing(NoOffsetForPartitionError(A))
    assert await consumer.read() == {}
    assert not consumer.app.shards.reread_shards
    assert not consumer.app.shards.halted


async def test_a_seek_that_fails_is_tried_again():
    consumer = Consumer(A)
    consumer.want(A, 3)
    seek = consumer.seek_wait

    async def fail(partitions):
        raise TimeoutError

    consumer.seek_wait = fail
    assert await consumer.read() == {}
    assert consumer.fetches == []
    consumer.seek_wait = seek
    assert (await consumer.read())[A].start == 3


async def test_it_ends_when_the_client_has_left_its_group_for_good():
    consumer = Consumer(A)
    consumer.coordination.done = lambda: True
    with pytest.raises(KafkaError, match="membership"):
        await consumer.read()


LATER = 1.5 * SILENCE


async def test_a_member_of_the_group_whose_heartbeats_are_not_answered_is_told_until_they_are():
    consumer = Consumer(A)
    consumer.want(A, 3)
    assert consumer.unanswered(1.0) == set()
    assert consumer.unanswered(LATER) == {None, A}
    consumer.connection._last_action = LATER
    consumer.told[A] += 1
    assert consumer.unanswered(LATER + 1) == set()
    consumer._thread._ensure_consumer()._client._conns.clear()
    assert consumer.unanswered(2 * LATER) == {None, A}


async def test_while_partitions_are_given_out_the_group_may_take_its_time():
    consumer = Consumer()
    consumer.app.shards.status.assigned = False
    assert consumer.unanswered(LATER) == set()
    consumer.app.shards.status.assigned = True
    assert consumer.unanswered(LATER + 1) == set()
    assert consumer.unanswered(2 * LATER) == {None}


async def test_a_partition_of_which_nothing_is_told_is_unanswered_and_an_idle_one_is_not():
    consumer = Consumer(A, B)
    consumer.want(A, 3)
    consumer.want(B, 3)
    for now in range(30):
        consumer.connection._last_action = now
        consumer.told[B] += 1
        silent = consumer.unanswered(now)
    assert silent == {A}
    consumer.told[A] += 1
    assert consumer.unanswered(30) == set()


async def test_who_has_no_room_for_records_waits_for_no_answer():
    consumer = Consumer(A)
    cursor = consumer.want(A, 3)
    cursor.outstanding = CREDITS
    for now in range(30):
        consumer.connection._last_action = now
        assert consumer.unanswered(now) == set()
    cursor.outstanding -= 1
    assert consumer.unanswered(30) == set()


async def test_nobody_waits_for_an_answer_while_much_is_under_way():
    consumer = Consumer(A, B)
    consumer.app.polled_records = 4
    cursor = consumer.want(A, 0)
    consumer.want(B, 10)
    batch = (await consumer.read())[A]
    for now in range(30):
        consumer.connection._last_action = now
        assert consumer.unanswered(now) == set()
    cursor.finish(batch)
    assert consumer.unanswered(30) == set()
    consumer.connection._last_action = 30 + LATER
    assert consumer.unanswered(30 + LATER) == {A, B}


async def test_records_that_are_taken_are_an_answer():
    consumer = Consumer(A)
    consumer.want(A, 0)
    await consumer.read()
    for now in range(30):
        consumer.connection._last_action = now
        consumer.app.shards.cursors[ShardId(*A)].read += 1
        assert consumer.unanswered(now) == set()
