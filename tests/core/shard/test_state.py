"""What is stored of a shard is read again, and what cannot be read is refused by name."""

import msgspec
import pytest

from stream.core.config import DAY, NEVER, CoreConfig, Window
from stream.core.counting.cells import SALES, Count, encode
from stream.core.counting.history import History, HistoryState
from stream.core.counting.summary import encode_recent
from stream.core.counting.windows import NONE, RollingWindow
from stream.core.shard.state import LAYOUT, restore
from stream.core.shard.state import encode as encode_state
from stream.core.shard.write_set import ShardId, Stored

SHARD = ShardId("checkout-events", 3)
HOUR = Window.parse("1h")
CONFIG = CoreConfig(windows=(HOUR,))
CELLS = {(SALES, "web", "new"): [1] * len(Count)}


def kept(config=CONFIG, **state):
    return History(config, HistoryState(**state), {}, None)


def restored(stored, config=CONFIG, journey="checkout"):
    return restore(SHARD, journey, config, stored, 5_000_000)


def test_a_new_shard_is_empty():
    new = restored(Stored(None, {}))
    assert (new.stream_time, new.watermark, new.total, new.recent, new.sets, new.orphans) == (
        NEVER, NEVER, {}, {}, set(), [],
    )  # fmt: skip
    assert [window.dropped_through for window in new.windows] == [NONE]


def test_what_was_encoded_is_restored():
    state = encode_state("checkout", CELLS, {b"all|all|all"}, [RollingWindow(HOUR, (), 7)], kept())
    recent = encode_recent(20 * DAY, 5_000_000, {4: CELLS}, 19 * DAY)
    old = restored(Stored(state, {b"1h|8": encode(CELLS)}, recent))
    assert (old.stream_time, old.watermark) == (20 * DAY, 19 * DAY)
    assert (old.total, old.sets, old.recent) == (CELLS, {b"all|all|all"}, {4: CELLS})
    assert [window.dropped_through for window in old.windows] == [7]


def test_panes_of_a_window_that_the_settings_no_longer_have_are_orphans():
    assert restored(Stored(None, {b"24h|8": encode(CELLS), b"1h|8": encode(CELLS)})).orphans == [b"24h|8"]


def test_a_window_that_is_new_may_lack_everything_up_to_the_newest_event():
    state = encode_state("checkout", {}, (), [], kept())
    recent = encode_recent(20 * DAY, 5_000_000, {}, 20 * DAY - CONFIG.lateness)
    (window,) = restored(Stored(state, {}, recent)).windows
    assert window.dropped_through == HOUR.pane_of(20 * DAY)


def test_one_event_of_a_clock_far_ahead_does_not_make_a_new_window_lack_what_comes():
    state = encode_state("checkout", {}, (), [], kept())
    recent = encode_recent(400 * DAY, 5_000_000, {}, 20 * DAY)
    (window,) = restored(Stored(state, {}, recent)).windows
    assert window.dropped_through == HOUR.pane_of(20 * DAY + CONFIG.lateness)


def test_a_state_of_layout_1_is_read_and_its_vectors_are_padded():
    short = [(key, vector[: Count.RESTORED]) for key, vector in CELLS.items()]
    state = msgspec.msgpack.encode([1, "checkout", short, [b"all|all|all"], [("1h", 7)]])
    recent = msgspec.msgpack.encode([20 * DAY, 5_000_000, [(4, short)], 19 * DAY])
    old = restored(Stored(state, {b"1h|8": msgspec.msgpack.encode(short)}, recent))
    padded = {(SALES, "web", "new"): [1] * Count.RESTORED + [0] * (len(Count) - Count.RESTORED)}
    assert (old.total, old.recent, old.sets) == (padded, {4: padded}, {b"all|all|all"})
    (window,) = old.windows
    window.advance(8 * HOUR.pane)
    assert (window.sum, window.dropped_through) == (padded, 7)
    assert (
        msgspec.msgpack.decode(encode_state("checkout", old.total, old.sets, old.windows, old.history))[0]
        == LAYOUT
        == 2
    )


def test_a_newer_layout_is_refused_with_what_to_do():
    with pytest.raises(
        ValueError, match=rf"checkout-events:3 .* newer version .*layout {LAYOUT + 1}.*another UPSELL_APP_ID"
    ):
        restored(Stored(msgspec.msgpack.encode([LAYOUT + 1, "some", "thing", "else"]), {}))


def test_the_state_of_the_other_journey_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"holds checkout events, .* subscription events\. Correct the topic names"):
        restored(Stored(encode_state("checkout", {}, (), [], kept()), {}), journey="subscription")


def test_a_state_of_before_windows_were_told_apart_has_whole_windows():
    state = msgspec.msgpack.encode([LAYOUT, "checkout", [], []])
    assert [window.dropped_through for window in restored(Stored(state, {})).windows] == [NONE]
