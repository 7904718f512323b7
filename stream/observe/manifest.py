"""All metrics: name, type, help, labels. Only metrics in this list are exposed.

Rules: base units. A `global` metric is about all shards and has the same value on every worker: aggregate with `max`. A `worker` metric is about one
worker: aggregate with `sum`. The number of label values is bounded; a customer, order, sku or plan is never a label value.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

SERIES = 15_000
"""Largest number of series of one worker; docs/reference/metrics.md explains how it is kept."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric."""

    name: str
    """Of a histogram: without `_bucket`, `_sum`, `_count`."""
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    scope: Literal["global", "worker"]
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets, without `+Inf`."""

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of its series."""
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
    _global("upsell_kpi_ratio", "Value of a KPI in a rolling window.", "kpi", "journey", *_D, "window"),
    _global(
        "upsell_kpi_amount",
        "Value of a KPI of money in a rolling window, in major units of the currency.",
        *("kpi", "currency", "journey", *_D, "window"),
    ),
    _global(
        "upsell_window_opportunities",
        "Checkouts and subscription events in which an upsell or a cross-sell was possible.",
        *_X,
    ),
    _global("upsell_window_transactions", "Transactions.", *_X),
    _global(
        "upsell_window_kind_transactions", "Transactions of a kind; any: with an upsell or a cross-sell.", "kind", *_X
    ),
    _global(
        "upsell_window_reversed_transactions",
        "Transactions that lost a kind by refunds or cancellations; all: transactions that were reversed completely.",
        *("kind", "journey", *_D, "window"),
    ),
    _global(
        "upsell_window_revenue",
        "Amounts in major units of the currency. Parts total and reversed: all transactions; other parts: those with known intent.",
        *("part", "currency", "journey", *_D, "window"),
    ),
    _global(
        "upsell_window_customers",
        "Distinct customers with a transaction of a kind; all: with any transaction.",
        *("kind", "journey", *_D, "window"),
    ),
    _global(
        "upsell_window_category_transactions",
        "Transactions with a line of a kind in the category; all: with any line in the category.",
        *("kind", "category", "journey", "window"),
    ),
    _global(
        "upsell_window_intent_transactions",
        "Transactions by what is known about the initial intent.",
        *("intent", "journey", "window"),
    ),
    _global("upsell_target_ratio", "Configured target of a KPI.", "kpi", "journey", "segment"),
    _global("upsell_newest_event_timestamp_seconds", "Newest event time in a shard.", *_SHARD),
    _global("upsell_shard_age_seconds", "Time since the last commit or tick of a shard.", *_SHARD),
    _global(
        "upsell_journey_up",
        "1 if the figures of a journey are live, or nothing was applied yet; 0 if they are behind, partial, stopped or older than 30 s.",
        "journey",
    ),
    _global("upsell_shard_halt_info", "1 while a shard is halted; then it makes no progress.", *_SHARD, "reason"),
    _global("upsell_input_topic_partitions", "Partitions of an input topic that are read.", "topic"),
    _global("upsell_redis_memory_bytes", "Memory of Redis: used, and its limit if there is one.", "kind"),
    _global(
        "upsell_view_withheld",
        "1 if a detail of the windows is left out to limit the number of series, else 0.",
        "detail",
    ),
    _counter("upsell_events_total", "Records read, by result.", "topic", "type", "result"),
    _counter("upsell_records_without_key_total", "Records that were applied although they have no key.", "topic"),
    _counter("upsell_dead_letters_total", "Records that were rejected and published as dead letters.", "reason"),
    _counter(
        "upsell_transactions_total",
        "Transactions by kind, counted when they first have it (all: when they start). Reversals do not decrease it.",
        *("kind", "journey", "channel", "segment"),
    ),
    _counter("upsell_commits_total", "Batches committed to Redis."),
    _counter("upsell_commit_failures_total", "Failed attempts to commit a batch; each is retried.", "reason"),
    _histogram(
        "upsell_commit_duration_seconds",
        "Duration of a commit, including all attempts.",
        *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    ),
    _histogram("upsell_batch_events", "Records in a committed batch.", 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000),
    _histogram(
        "upsell_event_delay_seconds",
        "Time from the event to its commit.",
        *(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21_600, 86_400),
    ),
    _gauge("upsell_consumer_lag_records", "Records of an assigned partition that are not committed yet.", *_SHARD),
    _gauge(
        "upsell_oldest_unapplied_seconds",
        "Age of the oldest record of an assigned partition that is not applied, by its Kafka timestamp; 0 if all are.",
        *_SHARD,
    ),
    _counter("upsell_fenced_total", "Shards that another worker claimed while this worker processed them."),
    _gauge(
        "upsell_shard_halted",
        "1 if an assigned shard is halted: it makes no progress until somebody fixes the cause.",
        *_SHARD,
    ),
    _counter("upsell_rebalances_total", "Rebalances: assignments of partitions to this worker."),
    _gauge(
        "upsell_ready", "1 if the worker is ready: partitions assigned, Kafka answers, shards claimed, commits succeed."
    ),
    _gauge(
        "upsell_input_topic_up",
        "1 if an input topic exists and this worker may read it, else 0; as Kafka last answered, every 15 s.",
        "topic",
    ),
    _gauge("upsell_build_info", "Always 1; the labels have the versions.", "version", "python", "faust"),
    _counter(
        "upsell_label_overflow_total",
        "Events with a label value that was counted as other, because all places were taken.",
        "label",
    ),
)
METRICS = {metric.name: metric for metric in MANIFEST}

REASONS: Mapping[str, str] = {
    "newer_layout": "Stored by a newer version, which this worker cannot read.",
    "wrong_journey": "Stored for the other journey: the topic names of the settings are exchanged.",
    "damaged_state": "What Redis holds cannot be decoded.",
    "codec": "The worker cannot decompress the records.",
    "defect": "An unexpected error; please report it.",
    "other_application": "Another application uses the same app_id with other topics.",
    "partitions_grown": "The partition is new, and nobody has accepted it yet.",
    "topic_recreated": "The topic was deleted and created again.",
    "records_deleted": "Kafka deleted records before they were read.",
    "log_truncated": "The log ends before the next record to apply.",
    "other_cluster": "The state was made from another Kafka cluster.",
    "silent": "No commit for 30 s, not even one without records.",
    "unread": "Its worker has not been able to read the shard for 30 s: Kafka does not answer, or its records cannot be read.",
    "unclaimed": "No worker has ever committed the shard.",
    "behind": "The oldest record that is not applied is older than behind_seconds.",
}
"""Reasons in the state of a journey's figures; all but the last four are reasons of halted shards (`stream.kafka.cursor.HaltReason`)."""
