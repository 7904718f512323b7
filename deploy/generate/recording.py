"""The recording rules: one value of each gauge that all workers expose, and for every KPI its numerator, denominator, rate and upper bound.

Rules: a global gauge is read only here, as the `max` over workers of the last value within `RECENT` (figures: 2 minutes), so that one failed scrape
leaves no gap.
Ratios are ratios of sums. Which KPI divides what comes from the product's own table. No rule aggregates `by`, so that the labels of the scrape
target (`env`, `job`, …) are kept.

The sums of a KPI have the labels of `upsell_target_ratio` (`kpi`, `journey`, and `segment`, which may be `all`) and `window`, so that an alert can
compare the two directly.
"""

from collections.abc import Iterator

from deploy.generate.rule import Group, Record
from stream.core.counting.cells import Count, Revenue
from stream.core.counting.kpi import KPIS, CustomerKind, Kpi

Z = 3.5
"""Standard normal quantile of the upper bounds (one-sided, 99.98 %). With 99 % there would be pages every week without a cause: docs/explanation/pager.md."""
Z_REVENUE = 4.5
"""The same for revenue. Its spread is estimated from 12 to 24 hours, so this is a quantile of Student's t with 11 degrees of freedom."""
TRIALS, SUCCESSES = "upsell:kpi_trials:sum", "upsell:kpi_successes:sum"
PROPORTION, UPPER_BOUND = "upsell:kpi_proportion:ratio", "upsell:kpi_upper_bound:ratio"
WEEK_Z, _POOLED = "upsell:kpi_proportion:week_z", "upsell:kpi_proportion:week_pooled"
REVENUE_RATIO, REVENUE_UPPER_BOUND = "upsell:kpi_revenue:ratio", "upsell:kpi_revenue_upper_bound:ratio"
REVERSED, UNKNOWN = "reversed_share", "unknown_intent_share"
"""Values of the label `kpi` for two shares that are not in the product's table."""
SIX_HOURS = "6x1h"
"""Value of the label `window` for the sum of the last six full hours. The product cannot give a window this name."""

_RATES = tuple(kpi for kpi in KPIS if kpi.has_target and not isinstance(kpi.numerator, Revenue))
REVENUE = tuple(kpi for kpi in KPIS if isinstance(kpi.numerator, Revenue))
COUNTED = tuple(kpi for kpi in _RATES if isinstance(kpi.numerator, Count))
"""KPIs whose counts of separate hours may be added. Customers may not: one who buys in two hours would count twice."""

_GAUGES = (
    "upsell_kpi_ratio",
    "upsell_window_opportunities",
    "upsell_window_transactions",
    "upsell_window_kind_transactions",
    "upsell_window_reversed_transactions",
    "upsell_window_customers",
    "upsell_window_intent_transactions",
    "upsell_target_ratio",
)
"""Gauges of the figures, with the same value on every worker."""
_STATES = ("upsell_journey_up", "upsell_shard_age_seconds", "upsell_shard_halt_info", "upsell_redis_memory_bytes")
"""Gauges of the product's state, with the same value on every worker."""
RECENT = "90s"
"""How old a value of the product's state may be: a restarted worker's last values must not keep an alert for more than two minutes."""
_PRESENT = "30m"
"""A counter without a sample for so long is new. Long enough that a few failed scrapes do not make an old counter look new."""
_COUNTS = {
    Count.OPPORTUNITIES: "upsell:window_opportunities:max",
    Count.TRANSACTIONS: "upsell:window_transactions:max",
    Count.UPSELL: 'upsell:window_kind_transactions:max{kind="upsell"}',
    Count.CROSS_SELL: 'upsell:window_kind_transactions:max{kind="cross_sell"}',
    Count.ANY: 'upsell:window_kind_transactions:max{kind="any"}',
}
_TRANSACTIONS = "sum without (channel, segment) (upsell:window_transactions:max)"
_INTENTS = "sum without (intent) (upsell:window_intent_transactions:max)"
_SHARES = {
    REVERSED: (
        'sum without (kind, dimension, value) (upsell:window_reversed_transactions:max{kind="all", dimension="all"})',
        _TRANSACTIONS,
    ),
    UNKNOWN: ('sum without (intent) (upsell:window_intent_transactions:max{intent="unknown"})', _INTENTS),
}
"""Shares of transactions that are no KPIs but are judged in the same way: the part, the whole."""


def _latest(metric: str, within: str = "2m") -> Record:
    return Record(
        name=f"upsell:{metric.removeprefix('upsell_')}:max",
        expr=f"max without (instance, pod) (last_over_time({metric}[{within}]))",
    )


def growth(counter: str, within: str) -> str:
    """How much each series of a counter has grown, including its first value.

    `increase` ignores the first value of a series, but a series appears only when there is something to count, and that may be a whole burst.
    So a series without a sample before is new, and its highest value is its growth, even if the worker has restarted since.
    """
    before = f"present_over_time({counter}[{_PRESENT}] offset {within})"
    return f"(max_over_time({counter}[{within}]) unless {before}) or increase({counter}[{within}])"


def _counted(name: str, counter: str, drop: str = "") -> Iterator[Record]:
    """The growth of a counter within an hour over all workers, and the same only while it goes on.

    It goes on if anything was counted within 5 minutes or, where fewer than 60 are counted an hour, within 30: with less, five more would be expected.
    """
    without = ", ".join(filter(None, ("instance", "pod", drop)))
    hour = f"upsell:{name}:increase1h"

    def counted_within(window: str) -> str:
        return f"sum without ({without}) ({growth(counter, window)}) > 0"

    yield Record(name=hour, expr=f"sum without ({without}) ({growth(counter, '1h')})")
    yield Record(
        name=f"upsell:{name}:ongoing1h",
        # The maximum, because the number sinks while nothing is counted any more.
        expr=(
            f"    {hour}\nand\n  (\n"
            f"    {counted_within('5m')}\n"
            f"  or\n    (max_over_time({hour}[30m]) < 60 and {counted_within('30m')})\n"
            f"  )"
        ),
    )


def _sums() -> Iterator[Record]:
    for kpi in _RATES:
        yield Record(name=TRIALS, expr=_trials(kpi), labels={"kpi": kpi.name})
        yield Record(name=SUCCESSES, expr=_successes(kpi), labels={"kpi": kpi.name})
    hours = f'{{kpi=~"{"|".join(kpi.name for kpi in COUNTED)}", window="1h"}}[6h:1h]'
    for name in (TRIALS, SUCCESSES):
        yield Record(name=name, expr=f"sum_over_time({name}{hours})", labels={"window": SIX_HOURS})
    for share, (part, whole) in _SHARES.items():
        labels = {"kpi": share, "segment": "all"}
        yield Record(name=TRIALS, expr=whole, labels=labels)
        yield Record(name=SUCCESSES, expr=f"{part} or 0 * {whole}", labels=labels)


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
            # A kind that was never counted has no series; its count is 0.
            or_none = f"sum without (channel, kind) ({{}}) or 0 * sum without (channel) ({_COUNTS[of]})"
            return _with_all(kpi, or_none, _COUNTS[count])
        case CustomerKind() as kind, CustomerKind() as of:
            return f"{_customers(kind)}\nor\n0 * {_customers(of)}"
    raise AssertionError(f"{kpi.name} has no successes")


def _with_all(kpi: Kpi, by_segment: str, series: str) -> str:
    """The sum by segment and, if the KPI has it, over all segments."""
    segments = by_segment.format(series)
    if "all" not in kpi.dimensions:
        return segments
    return f'{segments}\nor\nlabel_replace(sum without (segment) ({segments}), "segment", "all", "", "")'


def _customers(kind: CustomerKind) -> str:
    """By segment, and `all`; the gauge has both, as values of its dimensions."""
    series = f'upsell:window_customers:max{{kind="{kind}", dimension=~"all|segment"}}'
    return f'sum without (kind, dimension, value) (label_replace({series}, "segment", "$1", "value", "(.+)"))'


def _proportions() -> Iterator[Record]:
    """The rate, and Wilson's upper bound: only once in 4,000 times would a rate above it give so few successes."""
    p, n = PROPORTION, TRIALS
    square = f"{Z**2:.2f}"
    # A sale may be counted in a later pane than its opportunity, so a window can hold more successes than trials; the bound needs p ≤ 1.
    yield Record(name=p, expr=f"clamp_max({SUCCESSES} / ({n} > 0), 1)")
    yield Record(
        name=UPPER_BOUND,
        expr=(
            f"(\n  {p} + {square} / (2 * {n})\n"
            f"  + {Z} * sqrt({p} * (1 - {p}) / {n} + {square} / (4 * {n} ^ 2))\n"
            f") / (1 + {square} / {n})"
        ),
    )


def _against_last_week() -> Iterator[Record]:
    """The z statistic of two proportions: now, and at the same time a week ago. Not by segment: many segments would be many chances of a false alarm."""
    s, n, p, pooled = (f'{name}{{segment="all"}}' for name in (SUCCESSES, TRIALS, PROPORTION, _POOLED))
    yield Record(name=_POOLED, expr=f"({s} + {s} offset 1w)\n/\n({n} + {n} offset 1w)")
    yield Record(
        name=WEEK_Z,
        expr=f"({p} - {p} offset 1w)\n/\nsqrt({pooled} * (1 - {pooled}) * (1 / {n} + 1 / ({n} offset 1w)))",
    )


def _revenue() -> Iterator[Record]:
    """Revenue KPIs by segment, with an upper bound for a day's value: the scatter of its hours shows how much is chance."""
    names = "|".join(kpi.name for kpi in REVENUE)
    series = f'upsell:kpi_ratio:max{{kpi=~"{names}", dimension=~"all|segment"}}'
    hours = f'{REVENUE_RATIO}{{window="1h"}}[1d:1h]'
    yield Record(
        name=REVENUE_RATIO,
        expr=f'max without (dimension, value) (label_replace({series}, "segment", "$1", "value", "(.+)"))',
    )
    yield Record(
        name=REVENUE_UPPER_BOUND,
        expr=(
            f'{REVENUE_RATIO}{{window="24h"}}\n'
            f"+ ignoring (window) {Z_REVENUE} * stddev_over_time({hours}) / sqrt(count_over_time({hours}))\n"
            f"and ignoring (window) count_over_time({hours}) >= 12"
        ),
    )


GROUPS = (
    # One group, because groups are not evaluated in order: both sums of a rate must be of the same moment.
    Group(
        "upsell-kpis",
        (
            *map(_latest, _GAUGES),
            *_sums(),
            *_proportions(),
            *_against_last_week(),
            *_revenue(),
        ),
    ),
    Group(
        "upsell-pipeline",
        (
            *(_latest(name, RECENT) for name in _STATES),
            # While a shard moves, its former worker and its new one both expose its lag.
            _latest("upsell_consumer_lag_records", RECENT),
            _latest("upsell_oldest_unapplied_seconds", RECENT),
            _latest("upsell_input_topic_up", RECENT),
            Record(
                name="upsell:consumer_lag_records:sum",
                expr="sum without (topic, partition) (upsell:consumer_lag_records:max)",
            ),
            Record(
                name="upsell:events:rate5m",
                expr="sum without (instance, pod, topic, type, result) (rate(upsell_events_total[5m]))",
            ),
        ),
    ),
    Group(
        "upsell-input",
        (
            Record(
                name="upsell:events:increase1h",
                expr=f"sum without (instance, pod, result) ({growth('upsell_events_total', '1h')})",
            ),
            *_counted("rejected_events", 'upsell_events_total{result="rejected"}', drop="result"),
            *_counted("dead_letters", "upsell_dead_letters_total"),
            *_counted("records_without_key", "upsell_records_without_key_total"),
            *_counted("label_overflow", "upsell_label_overflow_total"),
        ),
    ),
)
