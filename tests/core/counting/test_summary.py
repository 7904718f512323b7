"""The figures that readers get are the sum of a settled and a recent part."""

import msgspec
import pytest

from stream.core.config import NEVER, Window
from stream.core.counting.cells import SALES, Count
from stream.core.counting.summary import Recent, Summary, decode_recent, decode_summary, encode_recent, encode_summary

SECOND = 1_000_000
CELL = (SALES, "web", "new")
MINUTE = Window.parse("1m")


def cells(number):
    return {CELL: [number] + [0] * (len(Count) - 1)}


def settled(at, dropped_through, *, sums=0):
    entries = list(cells(sums).items()) if sums else []
    return encode_summary(Summary("checkout", at, at, [("1m", entries)], entries, [dropped_through]))


def number(entries):
    return dict(entries).get(CELL, [0])[0]


@pytest.mark.parametrize(
    ("index", "counted"), [(40, 0), (41, 1), (100, 1), (101, 0)], ids=["dropped", "oldest", "head", "ahead"]
)
def test_a_recent_slice_counts_in_the_window_between_its_edges_and_always_in_the_total(index, counted):
    recent = encode_recent(200 * SECOND, SECOND, {index: cells(1)}, NEVER)
    figures = decode_summary(settled(100 * SECOND, 40), recent)
    ((_, window),) = figures.windows
    assert (number(window), number(figures.total)) == (counted, 1)


def test_both_parts_add_up():
    recent = encode_recent(100 * SECOND, SECOND, {99: cells(2)}, NEVER)
    figures = decode_summary(settled(100 * SECOND, 40, sums=5), recent)
    assert (number(figures.windows[0][1]), number(figures.total)) == (7, 7)


def test_parts_that_cancel_out_leave_nothing():
    recent = encode_recent(100 * SECOND, SECOND, {99: cells(-5)}, NEVER)
    figures = decode_summary(settled(100 * SECOND, 40, sums=5), recent)
    assert (figures.windows, figures.total) == ([("1m", [])], [])


def test_vectors_that_an_older_version_wrote_are_padded():
    short = [3] * Count.RESTORED
    entries = [(CELL, short)]
    stored = encode_summary(Summary("checkout", 100 * SECOND, 100 * SECOND, [("1m", entries)], entries, [40]))
    today = {CELL: [1] * len(Count)}
    for slices in ({99: today}, {98: dict(entries), 99: today}, {99: dict(entries), 98: today}):
        figures = decode_summary(stored, encode_recent(100 * SECOND, SECOND, slices, NEVER))
        expected = [3 * len(slices) + 1] * Count.RESTORED + [1] * (len(Count) - Count.RESTORED)
        assert (dict(figures.windows[0][1]), dict(figures.total)) == ({CELL: expected}, {CELL: expected})


def test_stream_time_is_that_of_the_recent_part_and_0_where_no_event_was():
    for stream_time, shown in ((123, 123), (NEVER, 0)):
        recent = encode_recent(stream_time, SECOND, {}, NEVER)
        assert decode_summary(settled(100 * SECOND, 40), recent).stream_time == shown


def test_a_longer_stored_slice_counts_at_its_end_or_at_the_newest_event_within_it():
    recent = decode_recent(encode_recent(65 * SECOND, 60 * SECOND, {1: cells(1), 2: cells(2)}, NEVER))
    assert {index: entry[CELL][0] for index, entry in recent.cells(5 * SECOND).items()} == {12: 1, 13: 2}


def test_a_recent_part_without_a_watermark_was_written_by_an_older_version():
    old = msgspec.msgpack.encode([5, SECOND, []])
    assert decode_recent(old) == Recent(5, SECOND, [], NEVER)


def test_a_summary_without_dropped_panes_was_written_by_an_older_version():
    old = msgspec.msgpack.encode(["checkout", 100 * SECOND, 5, [["1m", []]], []])
    recent = encode_recent(100 * SECOND, SECOND, {41: cells(1), 40: cells(1)}, NEVER)
    assert number(decode_summary(old, recent).windows[0][1]) == 1
