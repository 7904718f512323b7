"""What the history of one shard weighs when every bound is full: all channels, segments and currencies in every hour and day that is kept."""

import pytest
from support.summaries import CHANNELS, CURRENCIES, SEGMENTS
from support.tables import SHARD, RedisBackend, applied

from stream.core.config import CoreConfig
from stream.core.counting.cells import MONEY, SALES, Count, Revenue
from stream.core.counting.history import HOUR, History, HistoryState
from stream.observe.past import ROOM
from stream.tables.interface import TooLargeError

LIMIT = 32_000_000
"""Bytes of history, offers and drivers of one shard together."""
NOW = 1_772_370_000_000_000
CONFIG = CoreConfig()


def full_cells():
    """Every cell, with numbers that are long: some 10^5 sales and 10^8 minor units an hour."""
    cells = {}
    for number, (channel, segment) in enumerate((channel, segment) for channel in CHANNELS for segment in SEGMENTS):
        cells[SALES, channel, segment] = [100_000 + number + position for position in range(len(Count))]
        for currency in CURRENCIES:
            cells[MONEY, channel, segment, currency] = [10**8 + number + position for position in range(len(Revenue))]
    return cells


def full_history():
    """The writes that fill every record that is kept, some hours at a time."""
    history = History(CONFIG, HistoryState(), {}, None)
    history.advance(NOW)
    cells = full_cells()
    first = (NOW - CONFIG.days_kept) // HOUR
    for hour in range(first, NOW // HOUR + 1):
        history.add(4 * hour, {key: [*vector] for key, vector in cells.items()})
        if hour % 24 == 23 or hour == NOW // HOUR:
            history.settle({name: [None] * len(fields) for name, fields in history.missing().items()})
    return history.drain()[0]


@pytest.mark.embedded
async def test_the_history_at_its_largest_is_less_than_half_of_what_all_may_hold(embedded_valkey, name_prefix):
    backend = RedisBackend(embedded_valkey.url, name_prefix)
    try:
        tables = backend.tables()
        claim = await tables.claim(SHARD, b"a")
        records = full_history()
        assert len(records) == 8 * 24 + 1 + 35 + 1
        offset = None
        for number, (name, fields) in enumerate(records.items()):
            assert len(fields) == len(CHANNELS) * len(SEGMENTS)
            await applied(tables, claim, offset, number, history={name: fields})
            offset = number
        payload = sum(len(field) + len(data) for fields in records.values() for field, data in fields.items())
        keys = [key for key in await backend.keys() if b":history:" in key]
        used = sum([await backend.raw.memory_usage(key, samples=0) for key in keys])
        assert payload < used <= LIMIT / 2
        hours = [name for name in records if name.startswith("h")]
        (stored,) = await tables.history([SHARD], hours, ROOM)
        assert len(stored.records) == len(hours), "one answer of the API may have all hours of a full shard"
        with pytest.raises(TooLargeError):
            await tables.history([SHARD] * 6, hours, ROOM)
    finally:
        await backend.flush()
        await backend.close()
