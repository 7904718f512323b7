"""Times are drawn as days; `|` is the watermark, `*` the stream time."""

import pytest

from stream.core.config import AHEAD, DAY, NEVER, CoreConfig
from stream.core.shard.event_time import EventTime, end_of_day

LATENESS = CoreConfig().lateness


def event_time(**settings):
    return EventTime(CoreConfig(**settings), NEVER, NEVER)


def test_stream_time_is_the_newest_event_and_the_watermark_follows_by_the_lateness():
    time = event_time()
    time.advance(100 * DAY)
    for event, newest in ((10, 10), (12, 12), (11, 12)):
        time.observe(event * DAY)
        assert (time.stream_time, time.watermark) == (newest * DAY, newest * DAY - LATENESS)


def test_without_a_clock_no_event_moves_the_watermark():
    time = event_time()
    time.observe(10 * DAY)
    assert (time.stream_time, time.watermark) == (10 * DAY, NEVER)


def test_an_event_too_far_ahead_of_the_clock_moves_the_stream_time_alone():
    time = event_time()
    time.advance(100 * DAY)
    time.observe(100 * DAY + AHEAD)
    time.observe(100 * DAY + AHEAD + 1)
    assert time.stream_time == 100 * DAY + AHEAD + 1
    assert time.watermark == 100 * DAY + AHEAD - LATENESS


def test_where_nothing_is_forgotten_the_clock_does_not_matter():
    time = event_time(forget=False)
    time.advance(100 * DAY)
    time.observe(10 * DAY)
    assert time.watermark == NEVER
    assert not time.is_expired(0)


@pytest.mark.parametrize(
    ("day", "expired"), [(None, False), (9, True), (10, False), (11, False)], ids=["none", "before", "at", "after"]
)
def test_a_record_is_expired_once_its_day_lies_before_the_watermark(day, expired):
    time = event_time(lateness=0)
    time.advance(100 * DAY)
    time.observe(10 * DAY)
    assert time.is_expired(day) is expired


def test_a_record_is_kept_from_the_present_event_time_on_however_old_its_events_are():
    time = event_time()
    time.advance(100 * DAY)
    time.observe(50 * DAY)
    assert time.retention_day(60 * DAY) == 60
    assert time.retention_day(3 * DAY) == 50


def test_every_event_is_late_until_windows_moved_and_none_is_without_windows():
    assert event_time().is_late(10 * DAY)
    assert not event_time(windows=()).is_late(NEVER)
    time = event_time()
    time.late_until = 5 * DAY
    assert time.is_late(5 * DAY)
    assert not time.is_late(5 * DAY + 1)


@pytest.mark.parametrize(("time", "day"), [(0, 0), (1, 1), (DAY, 1), (DAY + 1, 2), (-1, 0)])
def test_the_end_of_a_day(time, day):
    assert end_of_day(time) == day
