"""What `/readyz` says, from what shards and consumer know."""

import time
from types import SimpleNamespace
from typing import get_args

import pytest

from stream.core.shard.write_set import ShardId
from stream.kafka.cursor import HaltReason, LogView, ShardHaltedError
from stream.kafka.topic_watch import InputTopic
from stream.worker.retry import Waiting
from stream.worker.shard_task import CLAIMED, ShardState
from stream.worker.status import OF_PROCESS, Status

A, B = (ShardId("checkout-events", number) for number in range(2))


def shard(state=ShardState.READING, halted=None):
    halt = None if halted is None else ShardHaltedError("the text", reason=halted)
    return SimpleNamespace(state=state, waiting=Waiting("test"), log_view=LogView(), halted=halt)


def status(tasks=(), **facts):
    shards = {
        "assigned": True,
        "refused": None,
        "unanswered": False,
        "tasks": dict(tasks),
        "has_committed": True,
        "answered_at": time.monotonic(),
        **facts,
    }
    return Status(SimpleNamespace(**shards))


def test_a_worker_that_has_not_reached_redis_and_kafka_is_not_ready():
    starting = Status()
    assert starting.readiness() == (False, ["not started yet: connecting to Redis and Kafka"])
    starting.waiting = Waiting("waiting for Redis")
    starting.waiting.begin("connection: refused")
    assert starting.readiness() == (False, ["not started yet: connection: refused"])


def test_a_worker_that_connects_to_kafka_again_says_so():
    waiting = Waiting("waiting for Kafka")
    waiting.begin("it cannot be reached")
    assert Status(waiting=waiting, reconnecting=True).readiness() == (
        False,
        ["connecting to Kafka again: it cannot be reached"],
    )


def test_a_worker_that_stops_is_not_ready():
    stopping = status()
    stopping.stopping = True
    assert stopping.readiness() == (False, ["the worker is stopping"])


def test_without_partitions_there_is_nothing_to_be_unready_for():
    assert status(assigned=False).readiness() == (False, ["Kafka has not assigned partitions"])
    assert status().readiness() == (True, [])


def test_why_kafka_refuses_is_named_until_partitions_are_assigned():
    refused = "Kafka refuses this member of the group: GroupAuthorizationFailedError()"
    assert status(assigned=False, refused=refused).readiness() == (False, [refused])


def test_an_input_topic_that_cannot_be_read_is_named():
    reading = status()
    problem = "topic t does not exist: create it, or correct UPSELL_CHECKOUT_TOPIC"
    reading.topics = {"t": InputTopic("t", None, problem), "u": InputTopic("u", 4, None)}
    assert reading.readiness() == (False, [problem])


@pytest.mark.parametrize("state", [state for state in ShardState if state is not ShardState.HALTED])
def test_a_shard_that_is_not_claimed_is_named_with_its_state(state):
    ready, missing = status({A: shard(state)}).readiness()
    assert ready == (state in CLAIMED)
    assert missing == ([] if ready else [f"checkout-events/0: not claimed yet ({state.value})"])


@pytest.mark.parametrize("reason", get_args(HaltReason))
def test_one_shard_that_is_halted_by_its_log_makes_no_worker_unready_but_one_halted_by_the_process_does(reason):
    ready, missing = status({A: shard(ShardState.HALTED, reason), B: shard()}).readiness()
    assert ready == (reason not in OF_PROCESS)
    assert missing == ([] if ready else ["checkout-events/0: halted: the text"])


def test_a_worker_whose_shards_are_all_halted_is_not_ready_and_says_each_cause_once():
    halted = {
        A: shard(ShardState.HALTED, "topic_recreated"),
        B: shard(ShardState.HALTED, "topic_recreated"),
    }
    assert status(halted).readiness() == (False, ["checkout-events/0, checkout-events/1: halted: the text"])


def test_a_worker_that_has_shards_and_never_committed_is_not_ready():
    fresh = status({A: shard()}, has_committed=False)
    assert fresh.readiness() == (False, ["no shard has committed since the worker started"])
    assert status(has_committed=False).readiness() == (True, [])


def test_many_shards_with_one_cause_are_one_line():
    waiting = {ShardId("checkout-events", number): shard() for number in range(5)}
    for each in waiting.values():
        each.waiting.begin("Redis is full")
    assert status(waiting).readiness() == (
        False,
        ["checkout-events/0, checkout-events/1, checkout-events/2 and 2 more: Redis is full"],
    )


def test_what_a_shard_waits_for_is_named():
    waiting = shard()
    waiting.waiting.begin("full: OOM")
    claiming = shard(ShardState.CLAIMING)
    claiming.waiting.begin("connection: cut")
    assert status({B: claiming, A: waiting}).readiness() == (
        False,
        ["checkout-events/0: full: OOM", "checkout-events/1: connection: cut"],
    )


def test_a_kafka_that_does_not_answer_is_named_once_and_a_partition_by_itself():
    silent = {A: shard(), B: shard()}
    silent[A].log_view.unanswered = True
    assert status(silent).readiness() == (False, ["checkout-events/0: Kafka does not answer"])
    silent[B].log_view.unanswered = True
    assert status(silent, unanswered=True).readiness() == (
        False,
        ["Kafka does not answer"],
    )


def test_a_partition_that_cannot_be_read_is_named():
    unreadable = shard()
    unreadable.log_view.unreadable = "cannot be read: CorruptRecordException()"
    assert status({A: unreadable}).readiness() == (
        False,
        ["checkout-events/0: cannot be read: CorruptRecordException()"],
    )


def test_a_kafka_that_went_away_during_a_rebalance_is_named_as_the_cause():
    silent = status(assigned=False, answered_at=time.monotonic() - 60)
    assert silent.readiness() == (False, ["Kafka does not answer"])
