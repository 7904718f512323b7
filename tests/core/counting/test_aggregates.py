from stream.core.config import STEP, CoreConfig, Window
from stream.core.counting import aggregates as module
from stream.core.counting.aggregates import Aggregates
from stream.core.counting.cells import SALES, Count, decode
from stream.core.counting.daily import Daily
from stream.core.counting.history import History, HistoryState
from stream.core.counting.summary import decode_summary, encode_recent, encode_summary
from stream.core.counting.windows import RollingWindow
from stream.core.entities.assessment import Opportunity

SECOND = 1_000_000
NOW = 1_772_370_000 * SECOND
CELL = (SALES, "web", "new")


def aggregates(*names, **parts):
    windows = [RollingWindow(Window.parse(name)) for name in names]
    config = CoreConfig()
    history = History(config, HistoryState(), {}, None)
    return Aggregates(
        config,
        windows,
        parts.get("total", {}),
        parts.get("recent", {}),
        history=history,
        daily=Daily(config, {}, (), history),
        orphans=parts.get("orphans", ()),
    )


def opportunities(cells):
    return dict(cells)[CELL][Count.OPPORTUNITIES]


def test_windows_move_in_steps_and_never_back():
    one = aggregates("5m")
    assert one.is_due(NOW)
    assert one.advance(NOW + STEP - 1)
    assert one.at == NOW
    assert not one.advance(NOW)
    assert not one.advance(NOW - STEP)
    assert one.at == NOW


def test_what_is_counted_stays_recent_until_windows_move():
    one = aggregates("5m", "1h")
    one.advance(NOW)
    one.unsettled = False
    one.opportunity(Opportunity(NOW, "web", "new"), 1)
    panes, length, recent = one.drain()
    assert panes == {}
    assert opportunities(recent[NOW // length]) == 1
    assert not one.unsettled
    one.advance(NOW + STEP)
    assert one.unsettled
    panes, _, recent = one.drain()
    assert recent == {}
    assert {key.partition(b"|")[0]: opportunities(decode(data)) for key, data in panes.items()} == {b"5m": 1, b"1h": 1}


def test_many_recent_cells_are_settled_at_once(monkeypatch):
    monkeypatch.setattr(module, "RECENT", 1)
    one = aggregates("5m")
    one.advance(NOW)
    for segment in ("new", "loyal"):
        one.opportunity(Opportunity(NOW, "web", segment), 1)
    _, _, recent = one.drain()
    assert recent == {}
    assert len(one.total) == 2


def test_readers_get_the_same_figures_before_and_after_settling():
    one = aggregates("5m", "1h")
    one.advance(NOW)
    settled = encode_summary(one.settled_summary("checkout", NOW))
    one.opportunity(Opportunity(NOW - 10 * SECOND, "web", "new"), 1)
    _, length, recent = one.drain()
    read = decode_summary(settled, encode_recent(NOW, length, recent, NOW))
    assert read == one.summary("checkout", NOW)
    assert [opportunities(cells) for _, cells in read.windows] == [1, 1]


def test_what_was_recent_when_it_was_stored_counts_once():
    one = aggregates("5m", recent={NOW // (5 * SECOND): {CELL: [1] + [0] * (len(Count) - 1)}})
    one.advance(NOW)
    summary = one.summary("checkout", NOW)
    assert [opportunities(cells) for _, cells in summary.windows] == [1]
    assert opportunities(summary.total) == 1


def test_orphaned_panes_are_deleted_once():
    one = aggregates("5m", orphans=[b"7m|3"])
    assert one.drain()[0] == {b"7m|3": None}
    assert one.drain()[0] == {}


def test_without_windows_everything_goes_to_the_total():
    one = aggregates()
    one.opportunity(Opportunity(NOW, "web", "new"), 1)
    summary = one.summary("checkout", NOW)
    assert (summary.windows, opportunities(summary.total)) == ([], 1)
