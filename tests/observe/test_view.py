import asyncio
import json
import logging

import pytest
from support.summaries import NOW, SMALL, SMALL_CUSTOMERS, FakeTables, full, shard

from stream.core.counting.figures import TOTAL
from stream.observe import view as view_module
from stream.observe.view import WITHDRAWN_AFTER, View
from stream.settings import Settings, Target
from stream.tables.interface import Application, TablesUnavailableError

TWO = ("5m", "1h")


class Clock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tables():
    return FakeTables([shard(cells=SMALL, customers=SMALL_CUSTOMERS), shard("subscription-events", 1)])


@pytest.fixture
def view(tables, clock):
    return View(tables, Settings(windows=TWO), monotonic=clock)


async def test_there_is_nothing_before_the_first_read(view):
    assert 'upsell_journey_up{journey="checkout"} 0\n' in view.exposition().decode()
    assert "upsell_window" not in view.exposition().decode()
    assert view.rates() is None
    assert "not been read yet" in view.unavailable()


async def test_shows_all_shards(view):
    await view.refresh()
    text = view.exposition().decode()
    assert 'upsell_shard_age_seconds{topic="checkout-events",partition="0"} 3.0\n' in text
    assert 'upsell_shard_age_seconds{topic="subscription-events",partition="1"} 3.0\n' in text
    assert 'upsell_newest_event_timestamp_seconds{topic="checkout-events",partition="0"} 1767323043.5\n' in text
    document = json.loads(view.rates())
    assert document["as_of"] == "2026-01-02T03:04:05Z"
    assert list(document["windows"]) == [*TWO, TOTAL]
    assert document["windows"]["1h"]["checkout"]["transactions"] == 4
    assert view.unavailable() is None


async def test_a_shard_without_ticks_stays_and_ages(view, tables):
    await view.refresh()
    tables.time = NOW + 60_000_000
    await view.refresh()
    assert 'upsell_shard_age_seconds{topic="checkout-events",partition="0"} 63.0\n' in view.exposition().decode()
    assert json.loads(view.rates())["windows"]["1h"]["checkout"]["transactions"] == 4


async def test_windows_of_the_settings_are_there_before_any_shard_has_them(tables):
    view = View(tables, Settings(windows=("5m", "7d")))
    await view.refresh()
    document = json.loads(view.rates())
    assert list(document["windows"]) == ["5m", "7d", TOTAL]
    assert document["windows"]["7d"]["checkout"]["customers"] == {"all": 0, "upsell": 0, "cross_sell": 0, "any": 0}


async def test_targets_of_the_settings_are_shown(tables):
    targets = (Target(kpi="cross_sell_rate", journey="checkout", segment="new", ratio=0.2),)
    view = View(tables, Settings(windows=TWO, targets=targets))
    await view.refresh()
    assert (
        'upsell_target_ratio{kpi="cross_sell_rate",journey="checkout",segment="new"} 0.2\n'
        in view.exposition().decode()
    )


async def test_is_withdrawn_when_old_and_comes_back(view, tables, clock):
    await view.refresh()
    clock.seconds += WITHDRAWN_AFTER
    assert view.exposition()
    clock.seconds += 0.001
    assert 'upsell_journey_up{journey="checkout"} 0\n' in view.exposition().decode()
    assert "upsell_window" not in view.exposition().decode()
    assert view.rates() is None
    assert "last read 30 s ago" in view.unavailable()
    await view.refresh()
    assert view.exposition()


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0)


async def test_continues_after_failures_and_logs_them_once(view, tables, monkeypatch, caplog):
    caplog.set_level(logging.INFO, view_module.__name__)
    monkeypatch.setattr(view_module, "INTERVAL", 0.0)
    good, reads = tables.shards, 0

    async def application():
        nonlocal reads
        reads += 1
        if reads < 4:
            raise TablesUnavailableError("connection", "nobody answers")
        return Application(good, {}, {})

    tables.application = application
    task = asyncio.create_task(view.run())
    await until(lambda: reads == 2)
    assert "nobody answers" in view.unavailable()
    await until(lambda: view.unavailable() is None and reads > 5)
    task.cancel()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_damaged_summary_does_not_end_the_view(view, tables, monkeypatch):
    monkeypatch.setattr(view_module, "INTERVAL", 0.0)
    whole = tables.shards
    tables.shards = [shard(cells=SMALL), type(whole[0])(whole[0].shard, b"\xc1", b"\xc1", NOW, {})]
    task = asyncio.create_task(view.run())
    await until(lambda: "malformed" in view.unavailable())
    tables.shards = whole
    await until(lambda: view.unavailable() is None)
    task.cancel()


async def test_withheld_detail_is_logged_when_it_changes(tables, caplog):
    windows = ("1m", "5m", "15m", "1h", "6h", "24h", "7d", "30d")
    view = View(tables, Settings(windows=windows))
    tables.shards = full(windows, 1)
    await view.refresh()
    await view.refresh()
    assert [record.args for record in caplog.records] == [("channel_segment, revenue, reversed",)]
