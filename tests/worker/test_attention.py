"""What needs attention is a line a minute in the log."""

import pytest

from stream.tables.interface import ShardHealth
from stream.worker import attention as module
from stream.worker.attention import EVERY, AttentionLog
from stream.worker.health import KEPT, PANE, HealthReport

NOW = 1_767_323_047_000_000


class Clock:
    seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def test_dead_letters_are_one_line_a_minute_with_reasons_and_counts(clock, caplog):
    log = AttentionLog(clock)
    log.flush()
    assert caplog.messages == []
    log.rejected({"invalid": 30, "no_key": 1})
    log.flush()
    assert caplog.messages[0].startswith("31 records were rejected and are dead letters now: invalid 30, no_key 1. ")
    log.rejected({"invalid": 7})
    log.flush()
    assert len(caplog.messages) == 1
    clock.seconds += EVERY
    log.flush()
    assert caplog.messages[1].startswith("7 records were rejected")
    assert "upsell-stream dead-letters" in caplog.messages[1]
    clock.seconds += EVERY
    log.flush()
    assert len(caplog.messages) == 2


def test_records_without_a_key_have_a_line_of_their_own(clock, caplog):
    log = AttentionLog(clock)
    log.rejected({"invalid": 1})
    log.without_key("checkout-events", 60)
    log.flush()
    assert [record.name for record in caplog.records] == [module.__name__] * 2
    assert caplog.messages[1].startswith("60 records without a key were applied (checkout-events 60). ")


def test_a_report_keeps_an_hour_and_goes_on_from_what_is_stored():
    report = HealthReport(ShardHealth())
    report.count({"invalid": 1}, NOW)
    report.count({"invalid": 2, "future": 1}, NOW + 1)
    minute = NOW - NOW % PANE
    assert report.report(7, 5, NOW) == ShardHealth(7, ((minute, {"invalid": 3, "future": 1}),), 5)
    later = HealthReport(report.report(0, 0, NOW))
    later.count({"invalid": 5}, NOW + PANE)
    assert [counts for _, counts in later.report(0, 0, NOW + PANE).recent] == [
        {"invalid": 3, "future": 1},
        {"invalid": 5},
    ]
    assert later.report(0, 0, NOW + KEPT * PANE).recent == ((minute + PANE, {"invalid": 5}),)
