"""The history that workers stored, and that of offline judging: every hour and day, cell by cell.

Rules: it is read as `upsell-stream history` reads it, once all records are applied. Nothing waits for a clock: what is counted is in its hour at once, so
both histories must be equal whenever they are read.
"""

from datetime import tzinfo

from stream.core.counting.summary import decode_summary
from stream.core.counting.timeline import Timeline, rfc3339
from stream.observe.past import Source, read_past
from stream.observe.queries import HistoryQuery, parse
from stream.observe.state import shard_views
from stream.settings import Settings
from stream.tables.redis import connect

STEPS = ("1h", "1d")


async def stored_history(settings: Settings) -> dict[str, Timeline]:
    """What all shards stored, by step: every hour or day that is kept, and the next one, because producers' clocks may be ahead."""
    config = settings.core()
    tables = connect(settings)
    try:
        application, now = await tables.application(), await tables.now()
        summaries = [decode_summary(shard.summary, shard.recent) for shard in application.shards]
        source = Source(tables, shard_views(application, summaries, now), config, now)
        found = {}
        for step in STEPS:
            span = parse(HistoryQuery, [("step", step)]).everything(now, config)
            past = await read_past(source, None, [span._replace(after=span.after + 1)])
            found[step] = past.timeline
        return found
    finally:
        await tables.close()


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
