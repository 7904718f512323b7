"""What the consumer delivers and where it seeks."""

import pytest
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)
from aiokafka.structs import TopicPartition
from faust.types import TP
from support.consumers import A, B, Consumer

from stream.core.shard.write_set import ShardId
from stream.kafka.cursor import CREDITS


async def test_it_reads_from_where_the_shards_say():
    consumer = Consumer(A, B)
    consumer.want(A, 3)
    consumer.want(B, None)
    consumer.beginnings[B] = 2
    batches = await consumer.read()
    assert (batches[A].start, batches[A].end, len(batches[A].records)) == (3, 7, 4)
    assert (batches[B].start, batches[B].end) == (2, 6)
    assert (await consumer.read())[A].start == 7
    assert consumer.shards.ends == {A: 10, B: 10}
    assert [timeout for _, timeout in consumer.fetches] == [1.0, 1.0]


async def test_offsets_after_the_last_record_that_hold_none_are_noted():
    consumer = Consumer(A)
    consumer.want(A, 3)
    await consumer.read()
    assert not consumer.shards.empty[A]
    consumer.passed_over = 2
    await consumer.read()
    assert consumer.shards.empty[A] == range(10, 12)
    consumer.during = lambda: consumer.want(A, 3)
    consumer.passed_over = 5
    await consumer.read()
    assert consumer.shards.empty[A] == range(10, 12), "what was read through an older cursor says nothing"


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


async def test_a_fetch_that_outlives_its_cursor_is_dropped_and_read_again():
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
    assert "2 records were deleted" in consumer.shards.halted[A]


def failing(error):
    def fail():
        raise error

    return fail


async def test_records_deleted_between_seeking_and_reading_halt_their_shard():
    consumer = Consumer(A)
    consumer.want(A, 3)

    def expire():
        consumer.beginnings[A] = 5
        raise OffsetOutOfRangeError({TopicPartition(*A): 3})

    consumer.during = expire
    assert await consumer.read() == {}
    assert "begins at 5, but the next record to apply is 3: 2 records were deleted" in consumer.shards.halted[A]
    assert consumer.shards.reasons[A] == "records_deleted"


async def test_an_offset_that_kafka_does_not_have_for_a_moment_is_sought_again():
    consumer = Consumer(A)
    consumer.want(A, 3)
    consumer.during = failing(OffsetOutOfRangeError({TopicPartition(*A): 3}))
    assert await consumer.read() == {}
    assert consumer.shards.halted == {}
    assert consumer.shards.reread_shards == [A]


async def test_retention_may_take_what_was_applied_between_seeking_and_reading():
    consumer = Consumer(A)
    consumer.want(A, 3, verify=True)

    def expire():
        consumer.beginnings[A] = 3
        raise OffsetOutOfRangeError({TopicPartition(*A): 2})

    consumer.during = expire
    assert await consumer.read() == {}
    assert consumer.shards.halted == {}
    assert consumer.shards.reread_shards == [A]
    consumer.during = lambda: None
    consumer.want(A, 3, verify=True)
    assert (await consumer.read())[A].start == 3


async def test_a_log_that_ends_before_what_was_applied_halts_its_shard():
    consumer = Consumer(A)
    consumer.want(A, 13, verify=True)
    consumer.during = failing(OffsetOutOfRangeError({TopicPartition(*A): 12}))
    assert await consumer.read() == {}
    assert "ends at 10, but the next record to apply is 13: the log was truncated" in consumer.shards.halted[A]
    assert "Kafka has lost 3 records that the figures contain" in consumer.shards.halted[A]
    assert consumer.shards.reasons[A] == "log_truncated"


async def test_what_was_applied_through_the_same_cursor_counts_as_applied():
    consumer = Consumer(A)
    cursor = consumer.want(A, 3)
    cursor.finish((await consumer.read())[A])
    consumer.logs[A] = consumer.logs[A][:5]
    consumer.during = failing(OffsetOutOfRangeError({TopicPartition(*A): 7}))
    assert await consumer.read() == {}
    assert "ends at 5, but the next record to apply is 7" in consumer.shards.halted[A]


async def test_after_any_other_error_the_same_records_are_read_again_after_a_while():
    consumer = Consumer(A)
    consumer.want(A, 3)
    consumer.during = failing(CorruptRecordException())
    assert await consumer.read() == {}
    assert consumer.shards.reread_shards == [A]
    assert "CorruptRecordException" in consumer.shards.unreadable[A]
    consumer.want(A, 3)
    assert await consumer.read() == {}
    assert len(consumer.fetches) == 1
    assert consumer.shards.unreadable
    consumer.during = lambda: None
    consumer._unreadable_until.clear()
    assert (await consumer.read())[A].start == 3
    assert not consumer.shards.unreadable


async def test_the_error_of_a_library_that_may_quote_the_record_is_not_shown():
    consumer = Consumer(A)
    consumer.want(A, 3)
    consumer.during = failing(ValueError("secret"))
    assert await consumer.read() == {}
    assert consumer.shards.unreadable == {A: "cannot be read: ValueError"}


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
        for shard in consumer.shards.reread_shards:
            if shard not in consumer.shards.halted:
                consumer.want(TP(*shard), consumer.positions[shard] if shard in read else 0)
        consumer.shards.reread_shards.clear()
    assert read.count(B) == CREDITS
    assert A not in read
    assert sum(A in asked for asked, _ in consumer.fetches) <= 2  # with B, then alone
    assert consumer.shards.reasons == ({A: "codec"} if isinstance(error, UnsupportedCodecError) else {})


async def test_a_halted_shard_holds_nobody_back():
    consumer = Consumer(A, B)
    consumer.want(B, 0)
    consumer.shards.halted[A] = "because"
    await consumer.read()
    assert consumer.fetches == [({B}, 1.0)]


async def test_an_error_from_before_the_first_seek_is_nothing():
    consumer = Consumer(A)
    consumer.want(A, 3)
    consumer.during = failing(NoOffsetForPartitionError(A))
    assert await consumer.read() == {}
    assert not consumer.shards.reread_shards
    assert not consumer.shards.halted


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
