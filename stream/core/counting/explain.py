"""Why a rate changed from one period to another: the share of each cell (channel, segment) in the change.

    Δr = Σ_c [ w̄_c · Δr_c  +  (r̄_c - r̄) · Δw_c ]          w: share of the cell in the denominator; r: its rate; bars: means of both periods
               the rate of     more or less of a
               the cell        better or worse cell

Rules: everything is computed as fractions, so the parts add up to the change exactly. A cell that has no denominator in one period takes its rate of the
other one. What it counts there all the same (a sale whose checkout began in an earlier hour) belongs to its rate.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Final

import msgspec

from stream.core.counting.cells import MONEY, SALES, Cells, Count, Revenue
from stream.core.counting.kpi import KPIS, Kpi

Cell = tuple[str, str]
"""Channel and segment."""

MAIN: Final = Fraction(4, 5)
"""Share of the change that the main parts together explain, at least."""


class Ratio(msgspec.Struct, frozen=True):
    """What is divided: counts, or amounts in minor units."""

    numerator: int
    denominator: int

    @property
    def value(self) -> Fraction | None:
        """None without a denominator."""
        return Fraction(self.numerator, self.denominator) if self.denominator else None


NOTHING: Final = Ratio(0, 0)


class Part(msgspec.Struct, frozen=True):
    """What one cell contributes to the change."""

    cell: Cell
    before: Ratio
    after: Ratio
    rate: Fraction
    """By the change of its rate."""
    mix: Fraction
    """By the change of its share in the denominator."""

    @property
    def total(self) -> Fraction:
        """Both together."""
        return self.rate + self.mix


class Explanation(msgspec.Struct, frozen=True):
    """The change of a rate."""

    before: Ratio
    after: Ratio
    change: Fraction | None
    """None where one of the periods has no rate."""
    parts: tuple[Part, ...]
    """Largest first, whatever the sign; without those that are 0. They add up to `change`."""
    main: tuple[Part, ...] | None
    """The fewest parts of the change's sign that make up `MAIN` of it; None where nothing changed, or it is not known."""


class NotExplainableError(ValueError):
    """This KPI is not the ratio of two sums over cells."""


def explainable() -> list[str]:
    """The KPIs that can be explained."""
    return [kpi.name for kpi in KPIS if isinstance(kpi.numerator, Count | Revenue)]


def ratios(kpi: Kpi, cells: Cells, currency: str | None) -> dict[Cell, Ratio]:
    """What a KPI divides in each cell; amounts are those of `currency`.

    Raises:
        NotExplainableError: the KPI is no ratio of counts or of amounts.
    """
    match kpi.numerator, kpi.denominator:
        case (Count() as numerator, Count() as denominator) | (Revenue() as numerator, Revenue() as denominator):
            pass
        case _:
            raise NotExplainableError(f"{kpi.name} is no ratio of counts or of amounts")
    kind, counts = (SALES, None) if isinstance(numerator, Count) else (MONEY, currency)
    divided = {
        (key[1], key[2]): Ratio(vector[numerator], vector[denominator])
        for key, vector in cells.items()
        if key[0] == kind and (counts is None or key[3] == counts)
    }
    return {cell: ratio for cell, ratio in divided.items() if ratio != NOTHING}


def currencies(*periods: Cells) -> list[str]:
    """Currencies with amounts of transactions with known intent, sorted."""
    return sorted(
        {
            key[3]
            for cells in periods
            for key, vector in cells.items()
            if key[0] == MONEY and any(vector[: Revenue.TOTAL])
        }
    )


def explain(before: Mapping[Cell, Ratio], after: Mapping[Cell, Ratio]) -> Explanation:
    """Explain the change between two periods."""
    whole_before, whole_after = _sum(before), _sum(after)
    old, new = whole_before.value, whole_after.value
    if old is None or new is None:
        return Explanation(whole_before, whole_after, None, (), None)
    change, mean = new - old, (old + new) / 2
    parts = [
        _part(cell, before.get(cell, NOTHING), after.get(cell, NOTHING), whole_before, whole_after, mean)
        for cell in sorted(before.keys() | after.keys())
    ]
    parts.sort(key=lambda part: -abs(part.total))
    shown = tuple(part for part in parts if part.rate or part.mix)
    return Explanation(whole_before, whole_after, change, shown, _main(shown, change))


def _part(cell: Cell, before: Ratio, after: Ratio, whole_before: Ratio, whole_after: Ratio, mean: Fraction) -> Part:
    """`whole_…` are the totals of the periods, `mean` that of their rates."""
    # What the cell adds to the rate of the whole is numerator / denominator of the whole, so no cell needs a rate of its own for this.
    added = Fraction(after.numerator, whole_after.denominator) - Fraction(before.numerator, whole_before.denominator)
    share = Fraction(after.denominator, whole_after.denominator) - Fraction(
        before.denominator, whole_before.denominator
    )
    known = [rate for rate in (before.value, after.value) if rate is not None]
    own = sum(known, Fraction()) / len(known) if known else mean
    mix = (own - mean) * share
    return Part(cell, before, after, added - mean * share - mix, mix)


def _main(parts: tuple[Part, ...], change: Fraction) -> tuple[Part, ...] | None:
    if not change:
        return None
    chosen: list[Part] = []
    reached = Fraction(0)
    for part in parts:
        if abs(reached) >= MAIN * abs(change):
            break
        if part.total * change > 0:
            chosen.append(part)
            reached += part.total
    return tuple(chosen)


def _sum(ratios: Mapping[Cell, Ratio]) -> Ratio:
    return Ratio(sum(each.numerator for each in ratios.values()), sum(each.denominator for each in ratios.values()))
