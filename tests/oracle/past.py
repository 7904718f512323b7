"""The past of a file of events, from the contract alone: figures of each hour or day (`history`), and the parts of a rate's change (`explain`).

An hour is one of UTC, a day one of a time zone; both have their first moment and not their last. What is counted lies at its own time: an opportunity at
its own, a sale (also what was reversed of it) at the sale's.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from oracle import oracle
from oracle.oracle import Between

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import tzinfo
    from sqlite3 import Connection

JOURNEYS = ("checkout", "subscription")
COUNTS = {
    "upsell_cross_sell_rate": ('"any"', "opportunity"),
    "upsell_ratio": ('"upsell"', "sale"),
    "cross_sell_rate": ('"cross_sell"', "sale"),
}
AMOUNTS = {"upsell_revenue_ratio": "final_amount", "upsell_revenue_share": "upsell_amount"}
Cell = tuple[str, str]


def periods(step: str, begin: datetime, end: datetime, zone: tzinfo) -> Iterator[tuple[datetime, datetime]]:
    """The hours or days that lie in [begin, end) with any part."""
    if step == "1h":
        start = begin.replace(minute=0, second=0, microsecond=0)
        while start < end:
            yield start, start + timedelta(hours=1)
            start += timedelta(hours=1)
        return
    day = begin.astimezone(zone).date()
    while (first := datetime(day.year, day.month, day.day, tzinfo=zone)) < end:
        day += timedelta(days=1)
        yield first, datetime(day.year, day.month, day.day, tzinfo=zone)


def counted(lines: Iterable[bytes]) -> Connection:
    """What a file counts, for the functions below."""
    return oracle._figures_database(oracle._read(lines))


def history(
    db: Connection, step: str, begin: datetime, end: datetime, dimension: str, zone: tzinfo
) -> list[dict[str, Any]]:
    """A row for each period, journey and value of the dimension that counted anything in the range."""
    spans = [*periods(step, begin, end, zone)]
    values = ["all"]
    if dimension != "all":
        where, bound = oracle._where({}, _between(spans[0][0], spans[-1][1]))
        query = f"SELECT {dimension} FROM opportunity WHERE {where} UNION SELECT {dimension} FROM sale WHERE {where}"
        values = sorted(name for (name,) in db.execute(query, bound * 2).fetchall())
    rows = []
    for first, after in spans:
        for journey in JOURNEYS:
            for value in values:
                only = {"journey": journey} | ({} if dimension == "all" else {dimension: value})
                figures = oracle._figures(db, only, _between(first, after), whole=True, segment=dimension == "segment")
                rows.append({"start": first, "journey": journey, "value": value, **figures})
    return rows


def explain(
    db: Connection, kpi: str, journey: str, before: tuple[datetime, datetime], after: tuple[datetime, datetime]
) -> dict[str, Any]:
    """`change`, and of each cell that has any of it `(rate, mix)`; and `main`."""
    old, new = (_divided(db, kpi, journey, *period) for period in (before, after))
    whole_old, whole_new = ([sum(column) for column in zip(*of.values(), strict=True)] or [0, 0] for of in (old, new))
    if not whole_old[1] or not whole_new[1]:
        return {"change": None, "parts": {}, "main": None}
    change = Fraction(*whole_new) - Fraction(*whole_old)
    mean = (Fraction(*whole_new) + Fraction(*whole_old)) / 2
    parts = {}
    for cell in old.keys() | new.keys():
        (above_old, below_old), (above_new, below_new) = old.get(cell, (0, 0)), new.get(cell, (0, 0))
        share_old, share_new = Fraction(below_old, whole_old[1]), Fraction(below_new, whole_new[1])
        rate_old = Fraction(above_old, below_old) if below_old else None
        rate_new = Fraction(above_new, below_new) if below_new else None
        # What is counted above, where nothing is below, has no rate: it adds its own share of the whole.
        alone = (0 if below_new else Fraction(above_new, whole_new[1])) - (
            0 if below_old else Fraction(above_old, whole_old[1])
        )
        if rate_old is None and rate_new is None:
            own = (alone, Fraction())
        else:
            first, second = (rate_new if rate_old is None else rate_old), (rate_old if rate_new is None else rate_new)
            rate = (share_old + share_new) / 2 * (second - first) + alone
            own = (rate, ((first + second) / 2 - mean) * (share_new - share_old))
        if any(own):
            parts[cell] = own
    assert sum(map(sum, parts.values()), Fraction()) == change
    return {"change": change, "parts": parts, "main": _main(parts, change)}


def _main(parts: dict[Cell, tuple[Fraction, Fraction]], change: Fraction) -> int | None:
    """How many parts of the change's sign make up four fifths of it, the largest first."""
    if not change:
        return None
    same = sorted((sum(own) for own in parts.values() if sum(own) * change > 0), key=abs, reverse=True)
    return next(count for count in range(1, len(same) + 1) if abs(sum(same[:count])) >= abs(change) * Fraction(8, 10))


def _divided(db: Connection, kpi: str, journey: str, begin: datetime, end: datetime) -> dict[Cell, tuple[int, int]]:
    where, values = oracle._where({"journey": journey}, _between(begin, end))
    if kpi in COUNTS:
        above, below = COUNTS[kpi]
        queries = (
            f"SELECT channel, segment, COUNT(*) FROM sale WHERE {where} AND {above} GROUP BY channel, segment",
            f"SELECT channel, segment, COUNT(*) FROM {below} WHERE {where} GROUP BY channel, segment",
        )
    else:
        queries = tuple(
            f"SELECT channel, segment, SUM({column}) FROM sale WHERE {where} AND intent = 'known' GROUP BY channel, segment"
            for column in (AMOUNTS[kpi], "initial_amount")
        )
    above, below = (
        {(channel, segment): number for channel, segment, number in db.execute(query, values)} for query in queries
    )
    found = {cell: (above.get(cell, 0), below.get(cell, 0)) for cell in above.keys() | below.keys()}
    return {cell: both for cell, both in found.items() if any(both)}


def _between(begin: datetime, end: datetime) -> Between:
    return Between(oracle._since_epoch(begin), oracle._since_epoch(end))
