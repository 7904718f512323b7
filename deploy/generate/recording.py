"""The recording rules: one view of many workers' gauges, and every KPI as numerator, denominator, rate and upper bound.

Rules: a global gauge is read here alone, as the `max` over workers and the last value of 2 minutes, so that one failed scrape is no gap.
Ratios are of sums. Which KPI divides what is read off the product's own table. Labels of the scrape target (`env`, `job`, …) are kept:
nothing aggregates `by`.

A KPI's sums have the labels of `upsell_target_ratio` (`kpi`, `journey`, `segment`, with `all`) and `window`, so an alert compares the two as they are.
"""

from deploy.generate.rule import DAY, HOUR, MINUTE, WEEK, Group, Record, Times
from stream.core.counting.cells import Count, Revenue
from stream.core.counting.kpi import KPIS, CustomerKind, Kpi

Z = 3.5
"""Standard normal quantile of the bounds, one-sided 99.98 %. docs/explanation/pager.md has what 99 % would do: pages every week without a cause."""
Z_REVENUE = 4.5
"""The same for revenue, whose spread is itself an estimate from 12 to 24 hours: Student's t with 11 degrees of freedom."""
TRIALS, SUCCESSES = "upsell:kpi_trials:sum", "upsell:kpi_successes:sum"
PROPORTION, UPPER_BOUND = "upsell:kpi_proportion:ratio", "upsell:kpi_upper_bound:ratio"
WEEK_Z, _POOLED = "upsell:kpi_proportion:week_z", "upsell:kpi_proportion:week_pooled"
REVENUE_RATIO, REVENUE_UPPER_BOUND = "upsell:kpi_revenue:ratio", "upsell:kpi_revenue_upper_bound:ratio"
REVERSED, UNKNOWN = "reversed_share", "unknown_intent_share"
"""Their `kpi` labels, beside those of the product's table."""
SIX_HOURS = "6x1h"
"""The label `window` of the sum of the last six full hours: not a name the product can give to a window of its own."""

_COUNTS = {
    Count.OPPORTUNITIES: "upsell:window_opportunities:max",
    Count.TRANSACTIONS: "upsell:window_transactions:max",
    Count.UPSELL: 'upsell:window_kind_transactions:max{kind="upsell"}',
    Count.CROSS_SELL: 'upsell:window_kind_transactions:max{kind="cross_sell"}',
    Count.ANY: 'upsell:window_kind_transactions:max{kind="any"}',
}
_VIEW = (
    "upsell_kpi_ratio",
    "upsell_window_opportunities",
    "upsell_window_transactions",
    "upsell_window_kind_transactions",
    "upsell_window_reversed_transactions",
    "upsell_window_customers",
    "upsell_window_intent_transactions",
    "upsell_target_ratio",
    "upsell_newest_event_timestamp_seconds",
    "upsell_shard_age_seconds",
)
_RATES = tuple(kpi for kpi in KPIS if not isinstance(kpi.numerator, Revenue))
REVENUE = tuple(kpi for kpi in KPIS if isinstance(kpi.numerator, Revenue))
COUNTED = tuple(kpi for kpi in _RATES if isinstance(kpi.numerator, Count))
"""KPIs whose trials of disjoint hours add up; a customer of two hours would be two."""


def groups(times: Times) -> tuple[Group, ...]:
    """All recording rules."""
    return (
        # One group, since groups are not evaluated in order: a rate's two sums must be of the same moment.
        Group(
            "upsell-kpis",
            (
                *(_view(metric, times) for metric in _VIEW),
                *_sums(times),
                *_shares(),
                *_proportions(),
                *_against_last_week(times),
                *_revenue(times),
            ),
        ),
        Group("upsell-pipeline", tuple(_pipeline(times))),
    )


def _view(metric: str, times: Times) -> Record:
    fresh = times.range(2 * MINUTE)
    name = metric.removeprefix("upsell_")
    return Record(name=f"upsell:{name}:max", expr=f"max without (instance, pod) (last_over_time({metric}[{fresh}]))")


def _sums(times: Times) -> list[Record]:
    rules: list[Record] = []
    for kpi in _RATES:
        rules.append(Record(name=TRIALS, expr=_trials(kpi), labels={"kpi": kpi.name}))
        rules.append(Record(name=SUCCESSES, expr=_successes(kpi), labels={"kpi": kpi.name}))
    hours = (
        f'{{kpi=~"{"|".join(kpi.name for kpi in COUNTED)}", window="{times.window(HOUR)}"}}'
        f"[{times.span(6 * HOUR)}:{times.span(HOUR)}]"
    )
    rules += [
        Record(name=name, expr=f"sum_over_time({name}{hours})", labels={"window": SIX_HOURS})
        for name in (TRIALS, SUCCESSES)
    ]
    return rules


def _trials(kpi: Kpi) -> str:
    match kpi.denominator:
        case Count() as count:
            return _with_all(kpi, "sum without (channel) ({})", _COUNTS[count])
        case CustomerKind() as kind:
            return _customers(kind)
    raise AssertionError(f"{kpi.name} has no trials")


def _successes(kpi: Kpi) -> str:
    match kpi.numerator, kpi.denominator:
        case Count() as count, Count() as of:
            # What was never counted has no series, but is 0 of all.
            or_none = f"sum without (channel, kind) ({{}}) or 0 * sum without (channel) ({_COUNTS[of]})"
            return _with_all(kpi, or_none, _COUNTS[count])
        case CustomerKind() as kind, CustomerKind() as of:
            return f"{_customers(kind)}\nor\n0 * {_customers(of)}"
    raise AssertionError(f"{kpi.name} has no successes")


def _with_all(kpi: Kpi, by_segment: str, series: str) -> str:
    """The sum by segment, and where the KPI has it, over all segments."""
    segments = by_segment.format(series)
    if "all" not in kpi.dimensions:
        return segments
    return f'{segments}\nor\nlabel_replace(sum without (segment) ({segments}), "segment", "all", "", "")'


def _customers(kind: CustomerKind) -> str:
    """By segment, with `all`: the gauge has both, as values of its dimensions."""
    series = f'upsell:window_customers:max{{kind="{kind}", dimension=~"all|segment"}}'
    return f'sum without (kind, dimension, value) (label_replace({series}, "segment", "$1", "value", "(.+)"))'


def _proportions() -> list[Record]:
    """The rate, and Wilson's upper bound of it: no rate above it would have given so few successes, except once in 4,000 times."""
    p, n = PROPORTION, TRIALS
    square = f"{Z**2:.2f}"
    bound = (
        f"(\n  {p} + {square} / (2 * {n})\n"
        f"  + {Z} * sqrt({p} * (1 - {p}) / {n} + {square} / (4 * {n} ^ 2))\n"
        f") / (1 + {square} / {n})"
    )
    return [
        # A sale may count in a later pane than its opportunity, so a window can hold more successes than trials; the bound needs p ≤ 1.
        Record(name=p, expr=f"clamp_max({SUCCESSES} / ({n} > 0), 1)"),
        Record(name=UPPER_BOUND, expr=bound),
    ]


def _revenue(times: Times) -> list[Record]:
    """Revenue KPIs by segment, with the upper bound of a day's: hours differ by chance, and their scatter tells by how much."""
    names = "|".join(kpi.name for kpi in REVENUE)
    series = f'upsell:kpi_ratio:max{{kpi=~"{names}", dimension=~"all|segment"}}'
    hours = f'{REVENUE_RATIO}{{window="{times.window(HOUR)}"}}[{times.span(DAY)}:{times.span(HOUR)}]'
    day = f'{REVENUE_RATIO}{{window="{times.window(DAY)}"}}'
    bound = (
        f"{day}\n+ ignoring (window) {Z_REVENUE} * stddev_over_time({hours}) / sqrt(count_over_time({hours}))\n"
        f"and ignoring (window) count_over_time({hours}) >= 12"
    )
    return [
        Record(
            name=REVENUE_RATIO,
            expr=f'max without (dimension, value) (label_replace({series}, "segment", "$1", "value", "(.+)"))',
        ),
        Record(name=REVENUE_UPPER_BOUND, expr=bound),
    ]


def _shares() -> list[Record]:
    """Two shares of transactions that are no KPIs and are judged in the same way."""
    transactions = "sum without (channel, segment) (upsell:window_transactions:max)"
    reversals = 'upsell:window_reversed_transactions:max{kind="all", dimension="all"}'
    intents = "upsell:window_intent_transactions:max"
    unknown = f'sum without (intent) ({intents}{{intent="unknown"}})'
    every = f"sum without (intent) ({intents})"
    of = {
        REVERSED: (f"sum without (kind, dimension, value) ({reversals})", transactions),
        UNKNOWN: (unknown, every),
    }
    return [
        Record(name=name, expr=expr, labels={"kpi": share, "segment": "all"})
        for share, (part, whole) in of.items()
        for name, expr in ((TRIALS, whole), (SUCCESSES, f"{part} or 0 * {whole}"))
    ]


def _against_last_week(times: Times) -> list[Record]:
    """The z statistic of two proportions: now, and at the same time a week ago; overall only, for many segments would be many chances."""
    week = f" offset {times.span(WEEK)}"
    s, n, p, pooled = (f'{name}{{segment="all"}}' for name in (SUCCESSES, TRIALS, PROPORTION, _POOLED))
    return [
        Record(name=_POOLED, expr=f"({s} + {s}{week})\n/\n({n} + {n}{week})"),
        Record(
            name=WEEK_Z,
            expr=f"({p} - {p}{week})\n/\nsqrt({pooled} * (1 - {pooled}) * (1 / {n} + 1 / ({n}{week})))",
        ),
    ]


def _pipeline(times: Times) -> list[Record]:
    fresh, rate = times.range(2 * MINUTE), times.range(5 * MINUTE)
    return [
        # Of two workers that both speak of a shard, one has just lost it.
        Record(
            name="upsell:consumer_lag_records:max",
            expr=f"max without (instance, pod) (last_over_time(upsell_consumer_lag_records[{fresh}]))",
        ),
        Record(
            name="upsell:consumer_lag_records:sum",
            expr="sum without (topic, partition) (upsell:consumer_lag_records:max)",
        ),
        Record(
            name="upsell:events:rate5m",
            expr=f"sum without (instance, pod, topic, type, result) (rate(upsell_events_total[{rate}]))",
        ),
    ]
