"""Whether figures can be trusted, from what Redis holds."""

from typing import get_args

import pytest
from support.summaries import NOW, SMALL, shard

from stream.core.counting.summary import decode_summary
from stream.core.shard.write_set import ShardId
from stream.kafka.cursor import HaltReason
from stream.observe.manifest import REASONS
from stream.observe.state import STATES, LastHour, is_up, journey_states, last_hour, shard_views
from stream.tables.interface import ACCEPTED, WITHOUT_KEY, Application, Halt, KnownTopic, ShardHealth

SECOND = 1_000_000
BEHIND = 60 * SECOND
CHECKOUT = "checkout-events"
OLD = NOW - 3600 * SECOND


def own(partition, **more):
    return shard(CHECKOUT, partition, **{"cells": SMALL, **more})


def halt(reason="topic_recreated", text="text"):
    return Halt(reason, text, NOW)


def states(shards=(), halts=None, topics=None, now=NOW, journeys=None):
    application = Application(list(shards), halts or {}, topics or {})
    summaries = [decode_summary(each.summary, each.recent) for each in application.shards]
    views = shard_views(application, summaries, now)
    return journey_states(views, application.topics, now, BEHIND, journeys)


def state(*shards, **more):
    return states(shards, **more)["checkout"]


def reasons(found):
    return {reason.reason: list(reason.shards) for reason in found.reasons}


def places(*partitions):
    return [f"{CHECKOUT}/{number}" for number in partitions]


def test_live():
    found = state(own(0), own(1), topics={CHECKOUT: KnownTopic("checkout", 2, OLD)})
    assert (found.state, reasons(found)) == ("live", {})
    assert is_up(found)


def test_empty_is_when_nothing_was_ever_applied():
    assert states() == {"checkout": states()["checkout"], "subscription": states()["subscription"]}
    assert states()["checkout"].state == "empty"
    found = state(shard(at=0))
    assert found.state == "empty"
    assert is_up(found)


def test_a_halted_shard_makes_it_partial_and_all_make_it_stopped():
    halts = {ShardId(CHECKOUT, 1): halt()}
    found = state(own(0), own(1), halts=halts)
    assert (found.state, reasons(found)) == ("partial", {"topic_recreated": places(1)})
    assert not is_up(found)
    found = state(own(1), halts=halts)
    assert found.state == "stopped"


def test_a_cause_is_named_once_with_all_its_shards():
    halts = {
        ShardId(CHECKOUT, 0): halt(text="the log begins at 7"),
        ShardId(CHECKOUT, 1): halt(text="the log begins at 9"),
        ShardId(CHECKOUT, 2): halt("codec"),
    }
    found = state(own(0), own(1), own(2), own(3), halts=halts)
    assert reasons(found) == {"topic_recreated": places(0, 1), "codec": places(2)}
    assert found.reasons[0].text == "the log begins at 7"


@pytest.mark.parametrize(("seconds", "expected"), [(26, "live"), (28, "stopped")])
def test_a_shard_is_silent_after_thirty_seconds(seconds, expected):
    found = state(own(0), now=NOW + seconds * SECOND)  # committed 3 s before NOW
    assert found.state == expected
    if expected == "stopped":
        assert "no commit for 31 s" in found.reasons[0].text


def test_one_silent_shard_of_two_is_partial():
    late = own(0)
    fresh = type(late)(ShardId(CHECKOUT, 1), late.summary, late.recent, NOW + 60 * SECOND, {})
    found = state(late, fresh, now=NOW + 60 * SECOND)
    assert (found.state, reasons(found)) == ("partial", {"silent": places(0)})


def test_a_partition_that_nobody_ever_committed_is_unclaimed_once_the_topic_is_known_for_a_while():
    topics = {CHECKOUT: KnownTopic("checkout", 3, OLD)}
    found = state(own(0), own(1), topics=topics)
    assert (found.state, reasons(found)) == ("partial", {"unclaimed": places(2)})
    fresh = {CHECKOUT: KnownTopic("checkout", 3, NOW - 20 * SECOND)}
    assert state(own(0), topics=fresh).state == "live"
    assert state(topics=topics).state == "stopped"


def test_a_new_partition_that_was_never_committed_is_shown_as_halted():
    topics = {CHECKOUT: KnownTopic("checkout", 1, OLD)}
    found = state(own(0), topics=topics, halts={ShardId(CHECKOUT, 1): halt("partitions_grown")})
    assert (found.state, reasons(found)) == ("partial", {"partitions_grown": places(1)})


def test_behind_is_when_the_oldest_record_is_older_than_the_setting():
    late = own(0, health=ShardHealth(NOW - BEHIND - 1))
    found = state(late, own(1, health=ShardHealth(NOW - BEHIND)))
    assert (found.state, reasons(found)) == ("behind", {"behind": places(0)})
    assert "60 s old" in found.reasons[0].text


def test_a_shard_that_its_worker_cannot_read_is_not_live_although_it_commits_ticks():
    unread = ShardHealth(0, (), NOW - 31 * SECOND)
    found = state(own(0, health=unread), own(1))
    assert (found.state, reasons(found)) == ("partial", {"unread": places(0)})
    assert "31 s" in found.reasons[0].text
    assert state(own(0, health=unread), own(1, health=unread)).state == "stopped"
    assert state(own(0, health=ShardHealth(0, (), NOW - 29 * SECOND))).state == "live"


def test_the_first_of_stopped_partial_behind_is_shown_with_all_reasons():
    late = own(0, health=ShardHealth(NOW - 2 * BEHIND))
    found = state(late, own(1), halts={ShardId(CHECKOUT, 1): halt()})
    assert (found.state, reasons(found)) == ("partial", {"topic_recreated": places(1), "behind": places(0)})
    assert STATES[:3] == ("stopped", "partial", "behind")


def test_each_journey_has_its_own_state():
    found = states([own(0), shard("subscription-events", 0, SMALL)], halts={ShardId(CHECKOUT, 0): halt()})
    assert {name: each.state for name, each in found.items()} == {"checkout": "stopped", "subscription": "live"}


def test_a_journey_that_is_switched_off_has_no_state():
    assert states([own(0)], journeys=["checkout"]).keys() == {"checkout"}
    assert states([own(0)], topics={CHECKOUT: KnownTopic("checkout", 1, OLD)}).keys() == {"checkout"}


def test_every_reason_is_in_the_manifest():
    assert set(REASONS) == {*get_args(HaltReason), "silent", "unread", "unclaimed", "behind"}


def test_what_became_of_records_is_counted_over_all_shards_for_an_hour():
    recent = (
        (NOW - 3601 * SECOND, {"invalid": 1000}),
        (NOW - 60 * SECOND, {"invalid": 2, ACCEPTED: 9, WITHOUT_KEY: 5}),
    )
    shards = [
        own(0, health=ShardHealth(0, recent)),
        own(1, health=ShardHealth(0, ((NOW, {"no_key": 1, "invalid": 1}),))),
    ]
    found = last_hour(Application(shards, {}, {}), NOW)
    assert found == LastHour(9, 5, {"invalid": 3, "no_key": 1})
    assert found.rejections == 4
