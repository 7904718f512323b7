"""The history that workers stored, and that of offline judging: every hour and day, cell by cell; offers and products, key by key.

Rules: it is read as `upsell-stream history` reads it, once all records are applied. Nothing waits for a clock: what is counted is in its hour at once, so
both histories must be equal whenever they are read.
"""

from collections.abc import Iterable
from datetime import tzinfo
from itertools import product
from typing import NamedTuple

from stream.core.counting.days import Days
from stream.core.counting.figures import JOURNEYS
from stream.core.counting.summary import decode_summary
from stream.core.counting.timeline import Timeline, rfc3339
from stream.core.entities.tally import OVERFLOW, Key, Tallies
from stream.core.shard.state import KEYS_A_DAY
from stream.observe.past import Source, read_past
from stream.observe.queries import HistoryQuery, parse
from stream.observe.selling import read_days
from stream.observe.state import shard_views
from stream.settings import Settings
from stream.tables.redis import connect

STEPS = ("1h", "1d")


class StoredPast(NamedTuple):
    """What all shards stored: every hour or day that is kept, and the next one, because producers' clocks may be ahead."""

    timelines: dict[str, Timeline]
    """By step."""
    days: Days
    ordinals: range
    """Of the days."""


async def stored_past(settings: Settings) -> StoredPast:
    """What the commands `history`, `offers` and `drivers` read."""
    config = settings.core()
    tables = connect(settings)
    try:
        application, now = await tables.application(), await tables.now()
        summaries = [decode_summary(shard.summary, shard.recent) for shard in application.shards]
        source = Source(tables, shard_views(application, summaries, now), config, now)
        timelines = {}
        for step in STEPS:
            span = parse(HistoryQuery, [("step", step)]).everything(now, config)
            span = span._replace(after=span.after + 1)
            timelines[step] = (await read_past(source, None, [span])).timeline
        days = await read_days(source, None, span, list(KEYS_A_DAY))
        return StoredPast(timelines, days.days, range(span.first, span.after))
    finally:
        await tables.close()


def differences_of_days(stored: Days, expected: Days, ordinals: Iterable[int]) -> tuple[list[str], int]:
    """What is wrong in what was stored of offers and products on these days, and how many keys were compared.

    Shards share what one of them alone has no place for, so records in which anything is beyond the bound are left out.
    """
    wrong, compared = [], 0
    for journey, sort, ordinal in product(JOURNEYS, KEYS_A_DAY, ordinals):
        ours, theirs = (_counted(days.tallies(journey, sort, [ordinal])) for days in (stored, expected))
        if OVERFLOW in ours or OVERFLOW in theirs:
            continue
        compared += len(theirs)
        wrong += [
            f"{journey}, {sort}:{ordinal}, {key}: {ours.get(key)} instead of {theirs.get(key)}"
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key)
        ]
    return wrong, compared


def _counted(tallies: Tallies) -> dict[Key, tuple[list[int], dict[str, list[int]]]]:
    found = {
        key: (tally.counts, {currency: own for currency, own in tally.amounts.items() if any(own)})
        for key, tally in tallies.items()
    }
    return {key: counted for key, counted in found.items() if any(counted[0]) or counted[1]}


def differences(stored: Timeline, expected: Timeline, step: str, zone: tzinfo) -> list[str]:
    """What is wrong in the hours or days that were stored; empty if nothing is. `expected` may have both."""
    wrong = []
    places = stored.tables | {(journey, table) for journey, table in expected.tables if table.step == step[-1]}
    for journey, table in sorted(places):
        begin = table.begin(zone)
        ours, theirs = (timeline.cells(journey, [table]) for timeline in (stored, expected))
        wrong += [
            f"{journey}, {step} from {rfc3339(begin, zone)}, {key}: {ours.get(key)} instead of {theirs.get(key)}"
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key)
        ]
        if stored.since(journey) > begin:
            wrong.append(
                f"{journey}: complete only since {rfc3339(stored.since(journey))}, {rfc3339(begin, zone)} is left out"
            )
    return wrong
