"""The KPIs as a table: what is divided by what, where it exists, and what is thought of the result.

Rules: a KPI is a ratio of sums, never a mean of ratios; counts and amounts stay integers until the one division at the end. Without a
denominator there is no value (None), never 0. Amounts are compared within one currency only: a set with two has no revenue KPI.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import msgspec

from stream.core.counting.cells import Money, Sale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream.core.counting.figures import FigureSet

Dimension = Literal["all", "channel", "segment", "category"]


class CustomerKind(StrEnum):
    """Distinct customers with a transaction (all), or with one of that kind."""

    ALL = "all"
    UPSELL = "upsell"
    CROSS_SELL = "cross_sell"
    ANY = "any"


Term = Sale | Money | CustomerKind
"""What is divided: a count, an amount of transactions with known intent, or a number of customers."""


class Band(msgspec.Struct, frozen=True):
    """From where on a value is called by a name. Bands colour, they page nobody."""

    name: str
    low: float
    above: bool = False
    """Whether `low` itself lies outside."""


class Kpi(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table."""

    name: str
    formula: str
    numerator: Term
    denominator: Term
    """Of the same type as the numerator."""
    dimensions: frozenset[Dimension] = frozenset(("all", "channel", "segment"))
    """Figure sets that have it, provided they hold what it is made of (customers and revenue are kept by journey only)."""
    unit: Literal["percent", "factor"] = "percent"
    """How people are shown it; the value is the plain ratio in either case."""
    bands: tuple[Band, ...] = ()
    """Highest first; a value below all of them has no name."""

    def band(self, value: float) -> str | None:
        """What the value is called, e.g. `strong`."""
        for band in self.bands:
            if value > band.low or (value == band.low and not band.above):
                return band.name
        return None


KPIS: tuple[Kpi, ...] = (
    Kpi(
        name="upsell_cross_sell_rate",
        formula="transactions with any / opportunities",
        numerator=Sale.ANY,
        denominator=Sale.OPPORTUNITIES,
        bands=(Band("above typical", 0.30, above=True), Band("typical", 0.20), Band("below typical", 0.0)),
    ),
    Kpi(
        name="upsell_ratio",
        formula="upsell transactions / transactions",
        numerator=Sale.UPSELL,
        denominator=Sale.TRANSACTIONS,
        dimensions=frozenset(("all", "channel", "segment", "category")),
    ),
    Kpi(
        name="upsell_revenue_ratio",
        formula="final revenue / revenue of the initial intent, over transactions with known intent",
        numerator=Money.FINAL,
        denominator=Money.INITIAL,
        unit="factor",
        bands=(Band("strong", 1.5), Band("typical", 1.0), Band("weak", 0.0)),
    ),
    Kpi(
        name="upsell_revenue_share",
        formula="upsell amounts / revenue of the initial intent, over transactions with known intent",
        numerator=Money.UPSELL,
        denominator=Money.INITIAL,
    ),
    Kpi(
        name="cross_sell_rate",
        formula="cross-sell transactions / transactions",
        numerator=Sale.CROSS_SELL,
        denominator=Sale.TRANSACTIONS,
        dimensions=frozenset(("all", "channel", "segment", "category")),
        bands=(Band("strong", 0.30, above=True), Band("typical", 0.20), Band("below typical", 0.0)),
    ),
    Kpi(
        name="cross_sell_ratio",
        formula="cross-sell transactions / transactions, per segment",
        numerator=Sale.CROSS_SELL,
        denominator=Sale.TRANSACTIONS,
        dimensions=frozenset(("segment",)),
        bands=(Band("strong", 0.20, above=True), Band("moderate", 0.10), Band("under-performing", 0.0)),
    ),
    Kpi(
        name="customer_upsell_rate",
        formula="distinct customers with an upsell / distinct customers with a transaction",
        numerator=CustomerKind.UPSELL,
        denominator=CustomerKind.ALL,
    ),
    Kpi(
        name="customer_cross_sell_rate",
        formula="distinct customers with a cross-sell / distinct customers with a transaction",
        numerator=CustomerKind.CROSS_SELL,
        denominator=CustomerKind.ALL,
    ),
    Kpi(
        name="customer_any_rate",
        formula="distinct customers with an upsell or a cross-sell / distinct customers with a transaction",
        numerator=CustomerKind.ANY,
        denominator=CustomerKind.ALL,
    ),
)


def rates(figures: FigureSet) -> dict[str, float | None]:
    """Every KPI that the set has, in the order of the table; None where it has no denominator."""
    values: dict[str, float | None] = {}
    for kpi in KPIS:
        if figures.dimension not in kpi.dimensions:
            continue
        match kpi.numerator, kpi.denominator:
            case Sale() as numerator, Sale() as denominator:
                values[kpi.name] = _ratio(figures.sales[numerator], figures.sales[denominator])
            case Money() as numerator, Money() as denominator:
                if figures.revenue is not None:
                    amounts = _one_currency(figures.revenue)
                    values[kpi.name] = None if amounts is None else _ratio(amounts[numerator], amounts[denominator])
            case CustomerKind() as numerator, CustomerKind() as denominator:
                if figures.customers is not None:
                    values[kpi.name] = _ratio(figures.customers[numerator], figures.customers[denominator])
            case _:  # pragma: no cover
                raise AssertionError(f"{kpi.name} divides what cannot be compared")
    return values


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator > 0 else None


def _one_currency(revenue: Mapping[str, list[int]]) -> list[int] | None:
    """The amounts of the only currency with known intent; None where there are several, or none."""
    known = [amounts for amounts in revenue.values() if any(amounts[: Money.TOTAL])]
    return known[0] if len(known) == 1 else None
