"""The history of one shard for readers: what is stored of it, decoded.

Rules: a reader sees the records and what waits for them as one commit left them. It reads hours or days, those whose records it named.
"""

from datetime import tzinfo

from stream.core.config import QUARTER
from stream.core.counting.cells import Cells, merge, padded
from stream.core.counting.days import ShardDays, records_of
from stream.core.counting.history import Step, Table, decode_cells, tables_of
from stream.core.counting.summary import decode_recent
from stream.core.counting.timeline import ShardPast
from stream.core.event import Journey
from stream.core.shard.state import KEYS_A_DAY, decode_history
from stream.core.shard.write_set import ShardId, StoredHistory


def decode_past(stored: StoredHistory, step: Step, zone: tzinfo, now: int) -> ShardPast | None:
    """What a shard contributes, given what is stored of these hours or days, and the time in microseconds; None where it was never committed.

    A shard that was stored without history contributes none. Neither does one whose days are those of another time zone: its history begins tomorrow.

    Raises:
        UnreadableStateError: a newer version of the product wrote it.
    """
    if stored.state is None or stored.recent is None:
        return None
    journey, since, oldest = _kept(stored.shard, stored.state, step, zone, now)
    if oldest is None:
        return ShardPast(journey, since, {})
    cells: dict[Table, Cells] = {}
    for name, fields in stored.records.items():
        table = Table.parse(name)
        if name[0] == step and table.number >= oldest.number:
            own = cells.setdefault(table, {})
            for field, data in fields.items():
                own.update(decode_cells(field, data))
    for quarter, entries in decode_recent(stored.recent).history:
        for table in tables_of(quarter, zone):
            if table.step == step and table.number >= oldest.number:
                merge(cells.setdefault(table, {}), padded(entries))
    return ShardPast(journey, since, cells)


def decode_days(stored: StoredHistory, zone: tzinfo, now: int) -> ShardDays | None:
    """The same for the other records of days: offers, products, pairs, paths.

    Raises:
        UnreadableStateError: a newer version of the product wrote it.
    """
    if stored.state is None or stored.recent is None:
        return None
    journey, since, oldest = _kept(stored.shard, stored.state, "d", zone, now)
    if oldest is None:
        return ShardDays(journey, since, {})
    daily = decode_recent(stored.recent).daily
    return ShardDays(journey, since, records_of(KEYS_A_DAY, stored.records, daily, oldest.number))


def _kept(shard: ShardId, state: bytes, step: Step, zone: tzinfo, now: int) -> tuple[Journey, int, Table | None]:
    """The journey of a shard, since when its hours or days are complete (microseconds), and the oldest one that is; None where there are none."""
    journey, history = decode_history(shard, state)
    if history is None:
        return journey, now, None
    if step == "d" and history.zone != str(zone):
        return journey, tables_of(now // QUARTER, zone)[1].end(zone), None
    hour, day = history.dropped
    oldest = Table(step, (hour if step == "h" else day) + 1)
    return journey, max(history.since, oldest.begin(zone) if oldest.number > 1 else 0), oldest
