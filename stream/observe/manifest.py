"""Every metric of the product: name, type, help, labels. Nothing is emitted that is not in this list.

Rules: base units; a `global` metric says the same on every worker (all shards together: take the `max`), a `worker` metric speaks of that
worker alone (take the `sum`). Label values are bounded: no customer, order, sku or plan is ever one. D = `dimension,value`, X =
`journey,channel,segment,window`.
"""

from typing import Literal

import msgspec

SERIES = 15_000
"""Series that one worker exposes at most; see docs/reference/metrics.md for how it is kept."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric."""

    name: str
    """As exposed; of a histogram without `_bucket`, `_sum`, `_count`."""
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    scope: Literal["global", "worker"]
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, without the infinite one."""

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of its series."""
        if self.type == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "sum", "count"))
        return (self.name,)


_D = ("dimension", "value")
_X = ("journey", "channel", "segment", "window")
_SHARD = ("topic", "partition")


def _global(name: str, help_text: str, *labels: str) -> Metric:
    return Metric(name=name, type="gauge", help=help_text, labels=labels, scope="global")


def _gauge(name: str, help_text: str, *labels: str) -> Metric:
    return Metric(name=name, type="gauge", help=help_text, labels=labels, scope="worker")


def _counter(name: str, help_text: str, *labels: str) -> Metric:
    return Metric(name=name, type="counter", help=help_text, labels=labels, scope="worker")


def _histogram(name: str, help_text: str, *buckets: float) -> Metric:
    return Metric(name=name, type="histogram", help=help_text, scope="worker", buckets=buckets)


MANIFEST: tuple[Metric, ...] = (
    _global("upsell_kpi_ratio", "A KPI in a rolling window.", "kpi", "journey", *_D, "window"),
    _global("upsell_window_opportunities", "Checkouts and subscription moments that could have become more.", *_X),
    _global("upsell_window_transactions", "Transactions.", *_X),
    _global("upsell_window_kind_transactions", "Transactions of a kind; any: an upsell or a cross-sell.", "kind", *_X),
    _global(
        "upsell_window_reversed_transactions",
        "Transactions that lost a kind, or (all) everything, to refunds and cancellations.",
        *("kind", "journey", *_D, "window"),
    ),
    _global(
        "upsell_window_revenue",
        "Amounts in major units of the currency; total and reversed: of all transactions, else of those with known intent.",
        *("part", "currency", "journey", *_D, "window"),
    ),
    _global(
        "upsell_window_customers",
        "Distinct customers with a transaction (all) or with one of a kind.",
        *("kind", "journey", *_D, "window"),
    ),
    _global(
        "upsell_window_category_transactions",
        "Transactions with a line in the category (all), and by the kind of such a line.",
        *("kind", "category", "journey", "window"),
    ),
    _global(
        "upsell_window_intent_transactions",
        "Transactions by what is known of the initial intent.",
        *("intent", "journey", "window"),
    ),
    _global("upsell_target_ratio", "What the operator wants a KPI to reach.", "kpi", "journey", "segment"),
    _global("upsell_newest_event_timestamp_seconds", "Newest event time seen in a shard.", *_SHARD),
    _global("upsell_shard_age_seconds", "Time since a shard's last commit or tick.", *_SHARD),
    _global(
        "upsell_view_withheld", "Whether a detail of the windows is withheld to keep the bound of series.", "detail"
    ),
    _counter("upsell_events_total", "Records read, by what became of them.", "topic", "type", "result"),
    _counter("upsell_dead_letters_total", "Records that became dead letters.", "reason"),
    _counter(
        "upsell_transactions_total",
        "Transactions newly counted (all) and the kinds newly counted of them; never taken back.",
        *("kind", "journey", "channel", "segment"),
    ),
    _counter("upsell_commits_total", "Batches committed."),
    _counter("upsell_commit_failures_total", "Attempts to commit that failed and were made again.", "reason"),
    _histogram(
        "upsell_commit_duration_seconds",
        "Time that a commit took, with all its attempts.",
        *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    ),
    _histogram("upsell_batch_events", "Records in a committed batch.", 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000),
    _histogram(
        "upsell_event_delay_seconds",
        "Event time to committed.",
        *(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21_600, 86_400),
    ),
    _gauge("upsell_consumer_lag_records", "Records of an assigned partition that are not committed yet.", *_SHARD),
    _counter("upsell_fenced_total", "Shards lost to another owner in the midst of work."),
    _gauge("upsell_shard_halted", "Whether an assigned shard stands still until somebody mends it.", *_SHARD),
    _counter("upsell_rebalances_total", "Times that partitions were assigned anew."),
    _gauge("upsell_ready", "Whether the worker is ready: assigned, answered by Kafka, state claimed, committing."),
    _gauge("upsell_build_info", "Always 1; what runs here.", "version", "python", "faust"),
    _counter("upsell_label_overflow_total", "Times that a label value had no place and was counted as other.", "label"),
)
METRICS = {metric.name: metric for metric in MANIFEST}
