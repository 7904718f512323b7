"""What the history of one shard weighs when every bound is full: every hour and day that is kept has all channels, segments, currencies, offers, products."""

from random import Random

import pytest
from support.summaries import CHANNELS, CURRENCIES, SEGMENTS
from support.tables import SHARD, RedisBackend, applied

from stream.core.config import DAY, CoreConfig
from stream.core.counting.cells import MONEY, SALES, Count, Revenue
from stream.core.counting.daily import Daily, merged
from stream.core.counting.history import HOUR, History, HistoryState
from stream.core.entities import basket, offers
from stream.core.entities.tally import OVERFLOW, book
from stream.core.judging.cart import LONGEST_ID
from stream.core.shard.state import KEYS_A_DAY
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
    """The writes that fill every record of hours and days that is kept, some hours at a time."""
    history = History(CONFIG, HistoryState(), {}, None)
    history.advance(NOW)
    cells = full_cells()
    first = (NOW - CONFIG.days_kept) // HOUR
    for hour in range(first, NOW // HOUR + 1):
        history.add(4 * hour, {key: [*vector] for key, vector in cells.items()})
        if hour % 24 == 23 or hour == NOW // HOUR:
            history.settle({name: [None] * len(fields) for name, fields in history.fields().items()})
    return history.drain()[0]


def full_days():
    """The same for offers and products: keys of the greatest length that are all different, as many as have a place and some more, in all currencies."""
    random = Random(1)
    history = History(CONFIG, HistoryState(), {}, None)
    history.advance(NOW)
    daily = Daily(CONFIG, KEYS_A_DAY, (), history)

    def name(length):
        return f"{random.getrandbits(4 * length):0{length}x}"

    for day in range(CONFIG.days_kept // DAY + 1):
        keys = {
            basket.PRODUCTS: [(name(LONGEST_ID),) for _ in range(1100)],
            basket.PATHS: [(name(LONGEST_ID), name(LONGEST_ID), "substitute") for _ in range(1100)],
            basket.PAIRS: [(name(LONGEST_ID), name(LONGEST_ID)) for _ in range(1100)],
            offers.OFFERS: [(name(256), name(256)) for _ in range(300)],
        }
        for sort, names in keys.items():
            counts, amounts = ((0,) * 9, 2) if sort == offers.OFFERS else ((0,) * 4, 1)
            (tallies,) = daily.days((sort,), NOW - day * DAY)
            for key in names:
                for currency in CURRENCIES:
                    numbers = [random.randrange(1000) for _ in counts]
                    book(tallies, key, 1, numbers, currency, [random.randrange(10**7) for _ in range(amounts)])
        daily.settle({name: [None] * len(fields) for name, fields in daily.fields().items()})
    return daily.drain(())[0]


@pytest.mark.embedded
async def test_history_offers_and_drivers_at_their_largest_fit_what_a_shard_may_hold(embedded_valkey, name_prefix):
    backend = RedisBackend(embedded_valkey.url, name_prefix)
    try:
        tables = backend.tables()
        claim = await tables.claim(SHARD, b"a")
        records, days = full_history(), full_days()
        assert len(records) == 8 * 24 + 1 + 35 + 1
        assert all(len(fields) == len(CHANNELS) * len(SEGMENTS) for fields in records.values())
        assert len(days) == 4 * 36
        offset = None
        for number, (name, fields) in enumerate((records | days).items()):
            await applied(tables, claim, offset, number, history={name: fields})
            offset = number
        payload = sum(len(field) + len(data) for fields in (records | days).values() for field, data in fields.items())
        keys = [key for key in await backend.keys() if b":history:" in key]
        used = sum([await backend.raw.memory_usage(key, samples=0) for key in keys])
        assert payload < used <= LIMIT
        hours = [name for name in records if name.startswith("h")]
        (stored,) = await tables.history([SHARD], hours, ROOM)
        assert len(stored.records) == len(hours), "one answer of the API may have all hours of a full shard"
        (stored,) = await tables.history([SHARD], list(days), ROOM)
        assert len(stored.records) == len(days), "and another one all its days of offers and products"
        for name in days:
            sort = name[0]
            found = merged(KEYS_A_DAY[sort], stored.records[name], ())
            assert len(found) == KEYS_A_DAY[sort] + 1
            assert OVERFLOW in found
        with pytest.raises(TooLargeError):
            await tables.history([SHARD] * 6, hours, ROOM)
    finally:
        await backend.flush()
        await backend.close()
