"""How many sales `explain` needs to find what broke: a drop is planted in one cell of each simulated shop, and its first part is compared with that cell.

`python bench/explain/explain.py [--shops N]` prints the figures of docs/reference/history.md; 100 shops take 20 minutes on one core. Rules: the
shops are those of `upsell-stream simulate` with its defaults, of some 700 checkouts an hour. The drop lasts for six hours, at noon of the second day, and
its factor is drawn by the seed (0.1 to 0.25). The first one to six hours of it are compared with those of the day before, and with the hours just before.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

from stream.core.config import CoreConfig
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.events.decode import Rejected, decode_line
from stream.observe.past import Past, explain_document
from stream.observe.queries import ExplainQuery, parse
from stream.simulate.incident import HOUR, IncidentWish
from stream.simulate.record import Emitted
from stream.simulate.shop import Shop, ShopSettings

DEFAULTS: Final = ShopSettings()
CELLS: Final = [*product(DEFAULTS.channels, DEFAULTS.segments)]
"""Each has 5 to 13 % of the opportunities. Some guests have no segment; with 2 % in each channel, theirs are left out."""
RATE: Final = 0.9
BEGIN: Final = datetime(2026, 3, 1, 11, tzinfo=UTC)
BROKEN: Final = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOURS: Final = 6
END: Final = BROKEN + HOURS * HOUR
AGAINST: Final = ("yesterday", "previous")
CLASSES: Final = (0, 50, 75, 100, 125, 150)
"""Numbers of opportunities in the cell at which a class begins."""


@dataclass(frozen=True, slots=True)
class Look:
    """One question to `explain`, and whether its first part is the planted cell."""

    against: str
    hours: int
    segment: str
    is_first: bool
    """The planted cell is the first part."""
    is_main: bool
    """It is one of the main parts, which have the sign of the whole change: the whole may have risen by chance."""
    opportunities: int
    """In the cell: the smaller number of both periods."""
    transactions: int
    """As for opportunities."""


def past_of(records: Iterable[Emitted], now: datetime) -> Past:
    """The history of checkouts, as `classify --as-of` computes it. Offers and subscriptions are not in these figures."""
    config, moment = CoreConfig(), int(now.timestamp()) * 1_000_000
    offline = Offline(config, LabelRegistry(), moment)
    for record in records:
        if record.topic == "checkout" and not record.about_offer:
            event = decode_line(record.value)
            assert not isinstance(event, Rejected), event
            offline.apply(event)
    return Past(offline.timeline(), {}, config, moment)


def looked(past: Past, cell: tuple[str, str], begin: datetime, hours: int, against: str) -> Look:
    """Ask what changed in some hours."""
    asked = [("from", begin.isoformat()), ("to", (begin + hours * HOUR).isoformat()), ("against", against)]
    explained, sales = (_explained(past, [("kpi", kpi), *asked]) for kpi in ("upsell_cross_sell_rate", "upsell_ratio"))
    return Look(
        against,
        hours,
        cell[1],
        is_first=_cell(explained["parts"][0]) == cell,
        is_main=cell in map(_cell, explained["main"] or ()),
        opportunities=_smaller(explained, cell),
        transactions=_smaller(sales, cell),
    )


def _explained(past: Past, asked: list[tuple[str, str]]) -> dict[str, Any]:
    query = parse(ExplainQuery, asked)
    return explain_document(past, query, query.spans(past.now, past.config))


def _cell(part: dict[str, Any]) -> tuple[str, str]:
    return part["channel"], part["segment"]


def _smaller(document: dict[str, Any], cell: tuple[str, str]) -> int:
    """The smaller denominator of a cell in both periods."""
    parts = (part for part in document["parts"] if _cell(part) == cell)
    return min((part[period]["denominator"] for part in parts for period in ("before", "after")), default=0)


def looks(seed: int) -> Iterator[Look]:
    """Everything that is asked about one shop."""
    cell = CELLS[seed % len(CELLS)]
    incident = IncidentWish(*cell, HOURS).planted(seed, DEFAULTS.channels, DEFAULTS.segments, BEGIN, END)
    shop = Shop(ShopSettings(seed=seed, rate=RATE, incident=incident), BEGIN)
    past = past_of(shop.until(END), END)
    for against, hours in product(AGAINST, range(1, HOURS + 1)):
        yield looked(past, cell, BROKEN, hours, against)


def report(shops: Sequence[Sequence[Look]]) -> Iterator[str]:
    """Say how often the planted cell came first: by hours compared, and by the opportunities in the cell."""
    found = [look for shop in shops for look in shop]
    for against, hours in product(AGAINST, range(1, HOURS + 1)):
        same = [look for look in found if (look.against, look.hours) == (against, hours)]
        by_segment = (f"{name} {_right(look for look in same if look.segment == name)}" for name in DEFAULTS.segments)
        yield f"{hours} h against {against}: {_right(same)} ({', '.join(by_segment)})"
        yield f"    also one of the main parts: {sum(look.is_first and look.is_main for look in same)}"
    for low, high in zip(CLASSES, [*CLASSES[1:], sys.maxsize], strict=True):
        same = [look for look in found if low <= look.opportunities < high]
        least = min((look.transactions for look in same), default=0)
        yield f"{low} opportunities or more in the cell ({least} transactions or more): {_right(same)}"
    for low in CLASSES[1:]:
        enough = ([look for look in shop if look.against == AGAINST[0] and look.opportunities >= low] for shop in shops)
        once = [min(looks, key=lambda look: look.hours) for looks in enough if looks]
        yield f"fewest hours with {low} opportunities, against {AGAINST[0]}, each shop once: {_right(once)}"


def _right(found: Iterable[Look]) -> str:
    chosen = [look.is_first for look in found]
    return f"{sum(chosen)} of {len(chosen)}"


def main() -> None:
    """Ask about many shops, and print how often the planted cell came first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shops", type=int, default=100)
    shops = [[*looks(seed)] for seed in range(parser.parse_args().shops)]
    print("the planted cell is the first part")
    print(*report(shops), sep="\n")


if __name__ == "__main__":
    main()
