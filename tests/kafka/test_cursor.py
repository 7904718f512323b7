from types import SimpleNamespace

import pytest

from stream.core.shard.write_set import ShardId
from stream.kafka import cursor as cursor_module
from stream.kafka.cursor import Batch, Cursor, LogView, ShardHaltedError
from stream.kafka.log_identity import LogIdentity, fingerprint, recognise, resume

SHARD = ShardId("checkout-events", 0)


def record(offset, value=b"v", key=b"k", timestamp=1000):
    return SimpleNamespace(offset=offset, value=value, key=key, timestamp=timestamp)


@pytest.mark.parametrize(
    ("offset", "verify", "beginning", "start"),
    [
        (None, False, 0, 0),  # never read: all of the log
        (None, False, 70, 70),
        (40, False, 0, 40),
        (40, True, 0, 39),  # the last applied record is read again to be recognised
        (40, True, 39, 39),
        (40, True, 40, 40),  # it is gone, but nothing that was not read
        (0, True, 0, 0),
    ],
)
def test_where_a_log_is_sought(offset, verify, beginning, start):
    assert Cursor(offset, verify=verify).start(beginning) == start


def test_a_log_that_begins_after_the_next_record_is_not_read():
    with pytest.raises(
        ShardHaltedError, match="begins at 41, but the next record to apply is 40: 1 records were deleted"
    ):
        Cursor(40, verify=True).start(41)


def test_batches_cover_the_gaps_between_records():
    cursor = Cursor(10, verify=False)
    cursor.seek(cursor.start(0))
    first, second = [record(12), record(13)], [record(20)]
    assert cursor.record_fetch(SHARD, first) == Batch(SHARD, cursor, 10, 14, first)
    assert cursor.record_fetch(SHARD, second) == Batch(SHARD, cursor, 14, 21, second)
    assert cursor.outstanding == 2


@pytest.mark.parametrize("other", [{"value": b"w"}, {"value": None}, {"key": b"l"}, {"key": None}, {"timestamp": 1001}])
def test_a_fingerprint_tells_records_apart(other):
    assert fingerprint(record(5)) == fingerprint(record(6)) != fingerprint(record(5, **other))


def test_an_identity_survives_being_stored():
    identity = LogIdentity("cluster").after(record(5))
    assert resume("cluster", identity.encode()) == identity
    assert resume("cluster", None) == LogIdentity("cluster")
    assert resume("cluster", LogIdentity("cluster").encode()) == LogIdentity("cluster")


def test_another_cluster_is_refused():
    with pytest.raises(ShardHaltedError, match=r"from Kafka cluster 'one', this is 'two'.*another UPSELL_APP_ID"):
        resume("two", LogIdentity("one").encode())


def test_only_a_record_at_the_very_offset_can_be_wrong():
    identity = LogIdentity("cluster").after(record(5))
    recognise(identity, 5, [record(5), record(6)])
    recognise(identity, 5, [record(6, b"other")])
    recognise(LogIdentity("cluster"), 5, [record(5, b"other")])
    with pytest.raises(ShardHaltedError, match="offset 5 is not the one that was applied"):
        recognise(identity, 5, [record(5, b"other")])


@pytest.mark.parametrize(("topic", "reason"), [(None, "topic_recreated"), (bytes(15) + b"1", "log_truncated")])
def test_another_record_in_the_same_topic_means_that_the_log_was_truncated(topic, reason):
    identity = LogIdentity("cluster").of(topic).after(record(5))
    with pytest.raises(ShardHaltedError, match="truncated") as halted:
        recognise(identity, 5, [record(5, b"other")])
    assert halted.value.reason == reason


@pytest.mark.parametrize(
    ("offset", "empty", "read", "next_offset"),
    [
        (None, range(3), 0, None),
        (8, range(0), 8, 8),
        (8, range(8, 10), 8, 10),
        (8, range(8, 10), 7, 10),  # the record before was sought, and is no longer there
        (8, range(8, 10), 9, 8),  # something was fetched meanwhile
        (8, range(9, 10), 8, 8),
    ],
)
def test_offsets_without_a_record_are_passed_over(offset, empty, read, next_offset):
    cursor = Cursor(offset, verify=False)
    cursor.seek(read)
    assert cursor.pass_over(offset, empty) == next_offset
    assert cursor.read == (next_offset if next_offset == empty.stop else read)


def test_nothing_is_passed_over_while_a_batch_is_outstanding():
    cursor = Cursor(8, verify=False)
    cursor.seek(8)
    cursor.outstanding = 1
    assert cursor.pass_over(8, range(8, 10)) == 8


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
    assert LogView(start=start, end=end, empty=empty).lag(offset) == lag


def test_a_log_that_was_read_is_no_longer_unreadable():
    view = LogView(unreadable="cannot be read: a checksum is wrong")
    view.note_read(9, range(5, 7))
    assert (view.end, view.empty, view.unreadable) == (9, range(5, 7), None)


def test_since_when_a_record_waits_is_when_the_log_was_first_seen_to_have_it(monkeypatch):
    now = iter(range(100, 200))
    monkeypatch.setattr(cursor_module.time, "monotonic", lambda: next(now))
    view = LogView(start=0)
    assert view.waiting_since(None) is None
    view.note_read(4, range(0))
    view.note_read(4, range(0))
    view.note_read(9, range(4, 6))
    assert view.waiting_since(None) == 100
    assert view.waiting_since(4) == 101, "offsets 4 and 5 hold no records"
    assert view.waiting_since(9) is None
