"""What is noted of answers that Kafka does not give."""

from types import SimpleNamespace

import pytest
from aiokafka.client import ConnectionGroup
from aiokafka.errors import InvalidSessionTimeoutError
from aiokafka.structs import TopicPartition
from support.consumers import A, B, Consumer

from stream.consumer.liveness import KAFKA_TIMEOUT, Liveness, LogEnd
from stream.core.shard.write_set import ShardId
from stream.kafka.cursor import CREDITS

LATER = 1.5 * KAFKA_TIMEOUT


async def test_unanswered_heartbeats_are_noted_until_they_are_answered():
    consumer = Consumer(A)
    consumer.want(A, 3)
    assert consumer.unanswered(1.0) == set()
    assert consumer.unanswered(LATER) == {None, A}
    consumer.connection._last_action = LATER
    consumer.answered[A] += 1
    assert consumer.unanswered(LATER + 1) == set()
    consumer._thread._ensure_consumer()._client._conns.clear()
    assert consumer.unanswered(2 * LATER) == {None, A}


async def test_the_last_answer_is_known_whatever_is_assigned_and_whichever_connection_it_came_by():
    consumer = Consumer(A)
    consumer.shards.assigned = False
    connections = consumer._thread._ensure_consumer()._client._conns
    connections[7, ConnectionGroup.DEFAULT] = SimpleNamespace(_last_action=3.0)
    consumer.liveness.check(4.0)
    assert consumer.shards.answered_at == 3.0
    connections.clear()
    consumer.liveness.check(5.0)
    assert consumer.shards.answered_at == 3.0


async def test_a_rebalance_may_take_the_group_longer():
    consumer = Consumer()
    consumer.shards.assigned = False
    assert consumer.unanswered(LATER) == set()
    consumer.shards.assigned = True
    assert consumer.unanswered(LATER + 1) == set()
    assert consumer.unanswered(2 * LATER) == {None}


async def test_a_partition_whose_fetches_are_not_answered_is_noted_and_an_idle_one_is_not():
    consumer = Consumer(A, B)
    consumer.want(A, 3)
    consumer.want(B, 3)
    for now in range(30):
        consumer.connection._last_action = now
        consumer.answered[B] += 1
        silent = consumer.unanswered(now)
    assert silent == {A}
    consumer.answered[A] += 1
    assert consumer.unanswered(30) == set()


async def test_a_shard_without_room_for_records_waits_for_no_answer():
    consumer = Consumer(A)
    cursor = consumer.want(A, 3)
    cursor.outstanding = CREDITS
    for now in range(30):
        consumer.connection._last_action = now
        assert consumer.unanswered(now) == set()
    cursor.outstanding -= 1
    assert consumer.unanswered(30) == set()


async def test_no_shard_waits_for_an_answer_while_many_records_are_under_way():
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


async def test_records_that_were_fetched_are_an_answer():
    consumer = Consumer(A)
    consumer.want(A, 0)
    await consumer.read()
    for now in range(30):
        consumer.connection._last_action = now
        consumer.shards.cursors[ShardId(*A)].read += 1
        assert consumer.unanswered(now) == set()


async def test_a_member_that_kafka_refused_may_try_again_and_the_reason_is_reported():
    consumer = Consumer(A)
    refused = []

    def check_errors():
        consumer.coordination.errors.append("taken")
        consumer.coordinator._pending_exception = None
        raise InvalidSessionTimeoutError

    consumer.coordination.errors = []
    consumer.coordinator.check_errors = check_errors
    for pending in (None, InvalidSessionTimeoutError()):
        consumer.coordinator._pending_exception = pending
        consumer.liveness.clear_refusal(refused.append)
    assert consumer.coordination.errors == ["taken"]
    (reason,) = refused
    assert "set kafka_session_timeout between" in reason


@pytest.mark.parametrize(
    ("state", "fetched", "end"),
    [
        ({"highwater": 9, "lso": None}, False, LogEnd(9, 7)),
        ({"highwater": 9, "lso": -1}, False, LogEnd(9, 7)),  # a broker without transactions
        ({"highwater": 9, "lso": 8}, False, LogEnd(8, 7)),
        ({"highwater": 9, "lso": 8, "has_valid_position": False}, False, LogEnd(8, None)),
        ({"highwater": 9, "lso": 8}, True, LogEnd(8, None)),  # what was fetched may be an error
    ],
)
def test_the_end_of_a_log_as_the_client_knows_it(state, fetched, end):
    partition = TopicPartition(*A)
    known = SimpleNamespace(**{"position": 7, "has_valid_position": True, **state})
    assignment = SimpleNamespace(state_value={partition: known}.get)
    client = SimpleNamespace(
        _subscription=SimpleNamespace(
            is_assigned=lambda asked: asked == partition, subscription=SimpleNamespace(assignment=assignment)
        ),
        _fetcher=SimpleNamespace(_records={partition} if fetched else ()),
    )
    liveness = Liveness(None, lambda: client, lambda: False)
    assert liveness.log_end(ShardId(*A)) == end
    assert liveness.log_end(ShardId(*B)) is None
