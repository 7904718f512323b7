"""The KPIs as a table: what is divided by what, in which figure sets it exists, and how its values are called.

Rules: a KPI is a ratio of sums, never a mean of ratios; counts and amounts stay integers until the one division at the end. Without a
denominator there is no value (None), never 0. Amounts are compared within one currency only: a set with two has no revenue KPI.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import msgspec

from stream.core.counting.cells import Count, Revenue
from stream.core.money import half_even

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Dimension = Literal["all", "channel", "segment", "category"]


class CustomerKind(StrEnum):
    """Distinct customers with a transaction (all), or with one of that kind."""

    ALL = "all"
    UPSELL = "upsell"
    CROSS_SELL = "cross_sell"
    ANY = "any"


class Average(StrEnum):
    """The average total of the transactions that are an upsell or a cross-sell (any), or of those with known intent that are neither."""

    ANY = "any"
    PLAIN = "plain"


Term = Count | Revenue | CustomerKind | Average
"""What is divided: a count, an amount of transactions with known intent, a number of customers, or an average."""


class Band(msgspec.Struct, frozen=True):
    """Values from `low` on have this name. Bands colour displays; they page nobody."""

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
    """How displays show it. The value is the plain ratio in either case."""
    bands: tuple[Band, ...] = ()
    """Highest first; a value below all of them has no name."""
    has_target: bool = True
    """Whether an operator may set a target for it."""

    def band(self, value: float) -> str | None:
        """The name of the value's band, such as `strong`."""
        for band in self.bands:
            if value > band.low or (value == band.low and not band.above):
                return band.name
        return None


KPIS: tuple[Kpi, ...] = (
    Kpi(
        name="upsell_cross_sell_rate",
        formula="transactions with any / opportunities",
        numerator=Count.ANY,
        denominator=Count.OPPORTUNITIES,
        bands=(Band("above typical", 0.30, above=True), Band("typical", 0.20), Band("below typical", 0.0)),
    ),
    Kpi(
        name="upsell_ratio",
        formula="upsell transactions / transactions",
        numerator=Count.UPSELL,
        denominator=Count.TRANSACTIONS,
        dimensions=frozenset(("all", "channel", "segment", "category")),
    ),
    Kpi(
        name="upsell_revenue_ratio",
        formula="final revenue / revenue of the initial intent, over transactions with known intent",
        numerator=Revenue.FINAL,
        denominator=Revenue.INITIAL,
        unit="factor",
        bands=(Band("strong", 1.5), Band("typical", 1.0), Band("weak", 0.0)),
    ),
    Kpi(
        name="upsell_revenue_share",
        formula="upsell amounts / revenue of the initial intent, over transactions with known intent",
        numerator=Revenue.UPSELL,
        denominator=Revenue.INITIAL,
    ),
    Kpi(
        name="cross_sell_rate",
        formula="cross-sell transactions / transactions",
        numerator=Count.CROSS_SELL,
        denominator=Count.TRANSACTIONS,
        dimensions=frozenset(("all", "channel", "segment", "category")),
        bands=(Band("strong", 0.30, above=True), Band("typical", 0.20), Band("below typical", 0.0)),
    ),
    Kpi(
        name="cross_sell_ratio",
        formula="cross-sell transactions / transactions, per segment",
        numerator=Count.CROSS_SELL,
        denominator=Count.TRANSACTIONS,
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
    Kpi(
        name="order_value_lift",
        formula="average total of transactions with any / average total of those with known intent and without",
        numerator=Average.ANY,
        denominator=Average.PLAIN,
        unit="factor",
        has_target=False,
    ),
)


class AmountKpi(msgspec.Struct, frozen=True, kw_only=True):
    """A KPI of money: an amount per opportunity or transaction. A figure set has it if exactly one currency has a total."""

    name: str
    formula: str
    numerator: tuple[Revenue, ...]
    """Amounts that are added up."""
    denominator: Count


AMOUNT_KPIS: tuple[AmountKpi, ...] = (
    AmountKpi(
        name="revenue_per_opportunity",
        formula="total revenue / opportunities",
        numerator=(Revenue.TOTAL,),
        denominator=Count.OPPORTUNITIES,
    ),
    AmountKpi(
        name="average_order_value",
        formula="total revenue / transactions",
        numerator=(Revenue.TOTAL,),
        denominator=Count.TRANSACTIONS,
    ),
    AmountKpi(
        name="extra_revenue_per_transaction",
        formula="(upsell + cross-sell amounts) / transactions",
        numerator=(Revenue.UPSELL, Revenue.CROSS_SELL),
        denominator=Count.TRANSACTIONS,
    ),
)
AMOUNT_PLACES = 2
"""Decimal places that the value of such a KPI has more than its currency."""


def amounts(sales: Sequence[int], revenue: Mapping[str, Sequence[int]]) -> dict[str, tuple[str, int] | None]:
    """Every KPI of money of a figure set: currency, and value in units of 10**-AMOUNT_PLACES minor units, rounded half even.

    None where there is no denominator, or unless exactly one currency has a total.
    """
    only = _one_with_total(sales, revenue)
    values: dict[str, tuple[str, int] | None] = dict.fromkeys(kpi.name for kpi in AMOUNT_KPIS)
    if only is not None:
        currency, own = only
        for kpi in AMOUNT_KPIS:
            if number := sales[kpi.denominator]:
                amount = sum(own[part] for part in kpi.numerator)
                values[kpi.name] = currency, half_even(10**AMOUNT_PLACES * amount, number)
    return values


def rates(
    dimension: Dimension,
    sales: Sequence[int],
    revenue: Mapping[str, Sequence[int]] | None,
    customers: Mapping[str, int] | None,
) -> dict[str, float | None]:
    """Every KPI of a figure set, in the order of the table; None where it has no denominator.

    `sales` by `Count`, `revenue` by currency and `Revenue`, `customers` by `CustomerKind`; without revenue or customers their KPIs are left out.
    """
    values: dict[str, float | None] = {}
    for kpi in KPIS:
        if dimension not in kpi.dimensions:
            continue
        match kpi.numerator, kpi.denominator:
            case Count() as numerator, Count() as denominator:
                values[kpi.name] = _ratio(sales[numerator], sales[denominator])
            case Revenue() as numerator, Revenue() as denominator:
                if revenue is not None:
                    own = _one_currency(revenue)
                    values[kpi.name] = None if own is None else _ratio(own[numerator], own[denominator])
            case Average(), Average():
                if revenue is not None:
                    values[kpi.name] = _lift(sales, revenue)
            case CustomerKind() as numerator, CustomerKind() as denominator:
                if customers is not None:
                    values[kpi.name] = _ratio(customers[numerator], customers[denominator])
            case _:  # pragma: no cover
                raise AssertionError(f"{kpi.name} divides terms of two types")
    return values


def _ratio(numerator: int, denominator: int) -> float | None:
    return numerator / denominator if denominator > 0 else None


def _lift(sales: Sequence[int], revenue: Mapping[str, Sequence[int]]) -> float | None:
    """The average total with an upsell or a cross-sell, divided by the one without.

    None, too, where an older version counted a part of the amounts, which did not separate the two: half a comparison would be wrong.
    """
    only = _one_with_total(sales, revenue)
    if only is None:
        return None
    _, own = only
    if own[Revenue.TOTAL_ANY] + own[Revenue.TOTAL_PLAIN] != own[Revenue.FINAL]:
        return None
    # Every upsell and cross-sell has a known intent.
    flagged, others = sales[Count.ANY], sales[Count.KNOWN] - sales[Count.ANY]
    return _ratio(own[Revenue.TOTAL_ANY] * others, own[Revenue.TOTAL_PLAIN] * flagged)


def _one_with_total(sales: Sequence[int], revenue: Mapping[str, Sequence[int]]) -> tuple[str, Sequence[int]] | None:
    """The only currency that has a total, and its amounts; None where there are several, or none."""
    found = [(currency, own) for currency, own in revenue.items() if own[Revenue.TOTAL]]
    return found[0] if len(found) == 1 and not sales[Count.OTHER_CURRENCY] else None


def _one_currency(revenue: Mapping[str, Sequence[int]]) -> Sequence[int] | None:
    """The amounts of the only currency with known intent; None where there are several, or none."""
    known = [amounts for amounts in revenue.values() if any(amounts[: Revenue.TOTAL])]
    return known[0] if len(known) == 1 else None
