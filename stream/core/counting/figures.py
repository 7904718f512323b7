"""Figures: what all shards counted together, as figure sets for any choice of window, journey and dimension.

Rules: figures are sums of cells, so it does not matter how events were spread over shards, or in which order shards are merged. Customers and revenue exist
by journey only: one customer of both journeys would count twice, and cash and MRR are never added. A document (`plain`) always has every count key; a
KPI without a denominator is None. Windows are merged by name: shards may have different ones while settings change.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import msgspec

from stream.core.config import MICROSECONDS, Window
from stream.core.counting import kpi
from stream.core.counting.cells import CATEGORY, MONEY, SALES, Categorized, Cells, Count, Revenue
from stream.core.counting.kpi import CustomerKind, Dimension
from stream.core.counting.summary import Summary
from stream.core.event import Journey
from stream.core.money import exponent, plain

JOURNEYS: tuple[Journey, ...] = ("checkout", "subscription")
ALL = "all"
"""The one value of the dimension `all`."""
TOTAL = "total"
"""The name, among those of the windows, of everything that was ever applied."""
DECIMALS = 6
"""Decimal places of a rate in a document."""

Section = tuple[Dimension, str]
"""A dimension and one of its values."""

PARTS: Mapping[str, Revenue] = {
    part.name.lower(): part
    for part in (
        *(Revenue.INITIAL, Revenue.UPSELL, Revenue.CROSS_SELL, Revenue.DOWNSELL, Revenue.RESTORED),
        *(Revenue.FINAL, Revenue.TOTAL, Revenue.REVERSED),
    )
}
"""The parts of revenue by their names, in the order of documents."""

_NO_SALES = [0] * len(Count)
_KINDS = (Count.UPSELL, Count.CROSS_SELL, Count.DOWNSELL, Count.RESTORED, Count.ANY)
_CATEGORIZED = tuple(Count[position.name] for position in Categorized)


class ShardFigures(msgspec.Struct, frozen=True):
    """What one shard contributes."""

    summary: Summary
    customers: Mapping[bytes, tuple[int, ...]] = {}
    """`kind|dimension|value` -> distinct customers in each of the summary's windows, in the same order."""
    customers_ever: Mapping[bytes, int] = {}
    """`kind|dimension|value` -> distinct customers ever, where none is forgotten (offline); used by `Figures.summary` alone."""


class FigureSet(msgspec.Struct, frozen=True, dict=True):
    """A figure set: all counts of one label value. Of a category it holds transactions and their kinds only."""

    dimension: Dimension
    sales: list[int]
    """Vector by `Count`."""
    revenue: Mapping[str, list[int]] | None
    """Currency, sorted -> vector by `Revenue`, minor units; None where the set spans both journeys or belongs to a category."""
    customers: Mapping[str, int] | None
    """Distinct customers by `CustomerKind`; None as for revenue, and in the total of a worker."""

    @cached_property
    def amounts(self) -> dict[str, tuple[str, str] | None]:
        """Every KPI of money: currency, and value as a decimal string of major units. Empty for a set without revenue."""
        if self.revenue is None:
            return {}
        return {
            name: None if found is None else (found[0], plain(found[1], exponent(found[0]) + kpi.AMOUNT_PLACES))
            for name, found in kpi.amounts(self.sales, self.revenue).items()
        }

    @cached_property
    def rates(self) -> dict[str, float | None]:
        """Every KPI that the set has, exact to a double."""
        return kpi.rates(self.dimension, self.sales, self.revenue, self.customers)

    def plain(self) -> dict[str, Any]:
        """The set as JSON values: amounts are decimal strings in major units, rates are rounded to `DECIMALS`."""
        sales = self.sales
        kinds = {position.name.lower(): sales[position] for position in _KINDS}
        rates = {name: None if value is None else round(value, DECIMALS) for name, value in self.rates.items()}
        if self.dimension == "category":
            return {"transactions": sales[Count.TRANSACTIONS], "kind_transactions": kinds, "rates": rates}
        document: dict[str, Any] = {
            "opportunities": sales[Count.OPPORTUNITIES],
            "transactions": sales[Count.TRANSACTIONS],
            "kind_transactions": kinds,
            "reversed_transactions": {
                "all": sales[Count.REVERSED_ALL],
                "upsell": sales[Count.REVERSED_UPSELL],
                "cross_sell": sales[Count.REVERSED_CROSS_SELL],
                "downsell": sales[Count.REVERSED_DOWNSELL],
                "restored": sales[Count.REVERSED_RESTORED],
                "any": sales[Count.REVERSED_ANY],
            },
            "intents": {
                "known": sales[Count.KNOWN],
                "unknown": sales[Count.UNKNOWN],
                "incomparable": sales[Count.INCOMPARABLE],
            },
        }
        if self.customers is not None:
            document["customers"] = dict(self.customers)
        if self.revenue is not None:
            document["revenue"] = {
                currency: {name: plain(amounts[part], exponent(currency)) for name, part in PARTS.items()}
                for currency, amounts in self.revenue.items()
            }
            document["amounts"] = {
                name: None if found is None else {"currency": found[0], "value": found[1]}
                for name, found in self.amounts.items()
            }
        document["rates"] = rates
        return document


class WindowFigures:
    """One window, of one journey or of both, split by dimension. All mappings are sorted by label value."""

    def __init__(
        self, cells: Mapping[tuple[str, ...], list[int]], customers: Mapping[str, int] | None, *, revenue: bool
    ) -> None:
        """`customers`: `kind|dimension|value` -> count, None where they are not counted; `revenue`: whether amounts may be added up."""
        self._cells = cells
        self._customers = customers
        self._revenue = revenue

    @cached_property
    def pairs(self) -> dict[tuple[str, str], list[int]]:
        """(channel, segment) -> vector by `Count`."""
        return dict(sorted(((key[1], key[2]), vector) for key, vector in self._cells.items() if key[0] == SALES))

    @cached_property
    def sets(self) -> dict[Section, FigureSet]:
        """(`all`, `all`), which is always there, and each channel and segment that counted something."""
        sales: defaultdict[Section, list[list[int]]] = defaultdict(list)
        for (channel, segment), vector in self.pairs.items():
            sales["channel", channel].append(vector)
            sales["segment", segment].append(vector)
        money: defaultdict[Section, defaultdict[str, list[list[int]]]] = defaultdict(lambda: defaultdict(list))
        if self._revenue:
            for key, vector in self._cells.items():
                if key[0] == MONEY:
                    money["channel", key[1]][key[3]].append(vector)
                    money["segment", key[2]][key[3]].append(vector)
        parts = {section: self._set(section, vectors, money[section]) for section, vectors in sorted(sales.items())}
        # `all` is the sum of the channels: that takes a tenth of the additions of summing all cells.
        channels = [figures for (dimension, _), figures in parts.items() if dimension == "channel"]
        amounts: defaultdict[str, list[list[int]]] = defaultdict(list)
        for figures in channels:
            for currency, vector in (figures.revenue or {}).items():
                amounts[currency].append(vector)
        everything: Section = ("all", ALL)
        return {everything: self._set(everything, [figures.sales for figures in channels], amounts), **parts}

    @cached_property
    def categories(self) -> dict[str, FigureSet]:
        """Category -> its set."""
        own = sorted((key[1], vector) for key, vector in self._cells.items() if key[0] == CATEGORY)
        return {category: FigureSet("category", _as_sales(vector), None, None) for category, vector in own}

    def by_dimension(self) -> dict[str, Any]:
        """The document of each channel, segment and category: `{"channel": {value: S}, …}`."""
        document: dict[str, dict[str, Any]] = {"channel": {}, "segment": {}}
        for (dimension, value), figures in self.sets.items():
            if dimension != "all":
                document[dimension][value] = figures.plain()
        return document | {"category": {value: figures.plain() for value, figures in self.categories.items()}}

    def _set(self, section: Section, sales: list[list[int]], money: Mapping[str, list[list[int]]]) -> FigureSet:
        return FigureSet(
            section[0],
            _sum(sales) if sales else _NO_SALES,
            {currency: _sum(money[currency]) for currency in sorted(money)} if self._revenue else None,
            self._count(section),
        )

    def _count(self, section: Section) -> dict[str, int] | None:
        if self._customers is None:
            return None
        dimension, value = section
        return {kind.value: self._customers.get(f"{kind.value}|{dimension}|{value}", 0) for kind in CustomerKind}


class Figures:
    """All shards together, at one moment."""

    def __init__(self, shards: Iterable[ShardFigures]) -> None:
        """Add up the shards, in any order."""
        self.as_of = 0
        """The newest moment of a shard's windows, microseconds since the epoch; 0 where there are none."""
        cells: defaultdict[tuple[str, str], defaultdict[tuple[str, ...], list[list[int]]]]
        cells = defaultdict(lambda: defaultdict(list))
        customers: defaultdict[tuple[str, str], defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._customers_ever: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
        names: set[str] = set()
        for shard in shards:
            summary = shard.summary
            self.as_of = max(self.as_of, summary.at)
            for name, window in summary.windows:
                names.add(name)
                _gather(cells[name, summary.journey], window)
            in_windows = [customers[name, summary.journey] for name, _ in summary.windows]
            for set_name, counts in shard.customers.items():
                key = set_name.decode()
                # Fewer or more counts than windows: counted under other settings, and soon counted again.
                for in_window, count in zip(in_windows, counts, strict=False):
                    in_window[key] += count
            _gather(cells[TOTAL, summary.journey], summary.total)
            ever = self._customers_ever[summary.journey]
            for set_name, count in shard.customers_ever.items():
                ever[set_name.decode()] += count
        self.windows: tuple[str, ...] = tuple(sorted(names, key=lambda name: Window.parse(name).length))
        """Names of the windows that any shard has, shortest first."""
        self._cells: dict[tuple[str, str], Cells] = {
            place: {key: _sum(vectors) for key, vectors in gathered.items()} for place, gathered in cells.items()
        }
        self._customers = customers
        self._window_figures: dict[tuple[str, Journey | None], WindowFigures] = {}

    def slice(self, window: str, journey: Journey | None = None) -> WindowFigures:
        """A window (or `TOTAL`) of one journey, or of both (then without customers and revenue). An unknown window is empty."""
        place = (window, journey)
        found = self._window_figures.get(place)
        if found is None:
            found = self._window_figures[place] = self._cut(window, journey)
        return found

    def select(
        self, window: str, journey: Journey | None = None, dimension: Dimension = "all", value: str = ALL
    ) -> FigureSet:
        """One figure set; an empty one for what was never seen."""
        cut = self.slice(window, journey)
        found = cut.categories.get(value) if dimension == "category" else cut.sets.get((dimension, value))
        if found is not None:
            return found
        empty = cut.sets["all", ALL]
        by_journey = dimension != "category"
        return FigureSet(
            dimension,
            _NO_SALES,
            {} if by_journey and empty.revenue is not None else None,
            dict.fromkeys(empty.customers, 0) if by_journey and empty.customers is not None else None,
        )

    def summary(self) -> dict[str, Any]:
        """Everything ever applied, with the customers ever seen: `{"all": S, "checkout": S, "subscription": S}`."""
        document = {ALL: self.select(TOTAL).plain()}
        for journey in JOURNEYS:
            ever = WindowFigures(self._cells.get((TOTAL, journey), {}), self._customers_ever[journey], revenue=True)
            document[journey] = ever.sets["all", ALL].plain()
        return document

    def plain(self, windows: Iterable[str] | None = None) -> dict[str, Any]:
        """The document of `rates --json` and `/api/v1/rates`; `as_of` is RFC 3339 in UTC, None where no shard has windows.

        `windows` are those to show, besides the total; by default those that any shard has.
        """
        shown = self.windows if windows is None else windows
        return {
            "as_of": _timestamp(self.as_of) if self.as_of else None,
            "windows": {window: self._document(window) for window in (*shown, TOTAL)},
        }

    def _document(self, window: str) -> dict[str, Any]:
        document: dict[str, Any] = {ALL: self.select(window).plain()}
        for journey in JOURNEYS:
            document[journey] = self.select(window, journey).plain()
        document |= self.slice(window).by_dimension()
        document["by"] = {journey: self.slice(window, journey).by_dimension() for journey in JOURNEYS}
        return document

    def _cut(self, window: str, journey: Journey | None) -> WindowFigures:
        if journey is not None:
            customers = None if window == TOTAL else self._customers[window, journey]
            return WindowFigures(self._cells.get((window, journey), {}), customers, revenue=True)
        gathered: defaultdict[tuple[str, ...], list[list[int]]] = defaultdict(list)
        for own in JOURNEYS:
            _gather(gathered, self._cells.get((window, own), {}).items())
        return WindowFigures({key: _sum(vectors) for key, vectors in gathered.items()}, None, revenue=False)


def _as_sales(categorized: list[int]) -> list[int]:
    """A CATEGORY vector as a SALES vector."""
    sales = [*_NO_SALES]
    for position, number in zip(_CATEGORIZED, categorized, strict=True):
        sales[position] = number
    return sales


def _gather(
    gathered: defaultdict[tuple[str, ...], list[list[int]]], entries: Iterable[tuple[tuple[str, ...], list[int]]]
) -> None:
    for key, vector in entries:
        gathered[key].append(vector)


def _sum(vectors: list[list[int]]) -> list[int]:
    """Position by position; several times faster than adding one vector after the other."""
    return vectors[0] if len(vectors) == 1 else list(map(sum, zip(*vectors, strict=True)))


def _timestamp(moment: int) -> str:
    seconds, microseconds = divmod(moment, MICROSECONDS)
    time = datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds, tzinfo=None)
    return f"{time.isoformat()}Z"
