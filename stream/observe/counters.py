"""The metrics of one worker about itself, in a Prometheus registry of its own.

Rules: the product never reads these values back. A series appears when it is first counted. The type of an event comes from outside, so its values
are bounded here; all other label values come from the product and are bounded already.
"""

import platform
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from operator import add

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from stream.core.labels import OTHER
from stream.core.result import Version
from stream.events.catalogue import EVENT_TYPES
from stream.observe.manifest import METRICS, Metric
from stream.observe.sales import NewestSales


class Counters:
    """The worker's metrics. Count on the event loop; `exposition` may be called from any thread."""

    def __init__(self) -> None:
        """Create all `worker` metrics of the manifest."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client has no type for it
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._events = self._counter("upsell_events_total")
        self._dead_letters = self._counter("upsell_dead_letters_total")
        self._transactions = self._counter("upsell_transactions_total")
        self._commits = self._counter("upsell_commits_total")
        self._commit_failures = self._counter("upsell_commit_failures_total")
        self._commit_duration = self._histogram("upsell_commit_duration_seconds")
        self._batch_events = self._histogram("upsell_batch_events")
        self._event_delay = _Delays(METRICS["upsell_event_delay_seconds"])
        self._registry.register(self._event_delay)
        self._lag = self._gauge("upsell_consumer_lag_records")
        self._oldest_unapplied = self._gauge("upsell_oldest_unapplied_seconds")
        self._without_key = self._counter("upsell_records_without_key_total")
        self._fenced = self._counter("upsell_fenced_total")
        self._halted = self._gauge("upsell_shard_halted")
        self._rebalances = self._counter("upsell_rebalances_total")
        self._ready = self._gauge("upsell_ready")
        self._overflow = self._counter("upsell_label_overflow_total")
        self._input_topic_up = self._gauge("upsell_input_topic_up")
        build_info = self._gauge("upsell_build_info")
        build_info.labels(version("upsell-stream"), platform.python_version(), version("faust-streaming")).set(1)
        self.sales = NewestSales()
        # Looking up a label set takes longer than incrementing it, and these two are used for every event.
        self._events_of: dict[tuple[str, str | None, str], Counter] = {}
        self._transactions_of: dict[tuple[str, str, str, str], Counter] = {}

    def event(self, topic: str, type: str | None, result: str, count: int = 1) -> None:  # noqa: A002 - the label's name
        """Count records with the same topic, type and result. `type` is None if it could not be read."""
        if type not in EVENT_TYPES:
            type = OTHER  # noqa: A001 - the label's name
        key = (topic, type, result)
        counter = self._events_of.get(key)
        if counter is None:
            counter = self._events_of[key] = self._events.labels(*key)
        counter.inc(count)

    def dead_letter(self, reason: str) -> None:
        """Count a dead letter."""
        self._dead_letters.labels(reason).inc()

    def transactions(self, kind: str, journey: str, channel: str, segment: str, number: int) -> None:
        """Count transactions (kind `all`), or transactions that have a kind for the first time (`Step.counted`)."""
        key = (kind, journey, channel, segment)
        counter = self._transactions_of.get(key)
        if counter is None:
            counter = self._transactions_of[key] = self._transactions.labels(*key)
        counter.inc(number)

    def commit(self, events: int, seconds: float) -> None:
        """Count the commit of a batch: its records, and the seconds that the commit took."""
        self._commits.inc()
        self._batch_events.observe(events)
        self._commit_duration.observe(seconds)

    def commit_failure(self, reason: str) -> None:
        """Count a failed attempt to commit."""
        self._commit_failures.labels(reason).inc()

    def delays(self, seconds: Sequence[float]) -> None:
        """Observe the seconds from event time to commit, for all events of a batch."""
        self._event_delay.observe(seconds)

    def lag(self, topic: str, partition: int, records: int) -> None:
        """Set the number of records of an assigned partition that are not committed yet."""
        self._lag.labels(topic, partition).set(records)

    def oldest_unapplied(self, topic: str, partition: int, seconds: float) -> None:
        """Set the age of the oldest record of an assigned partition that is not applied; 0 if all are."""
        self._oldest_unapplied.labels(topic, partition).set(seconds)

    def without_key(self, topic: str, records: int) -> None:
        """Count records that were applied although they have no key."""
        self._without_key.labels(topic).inc(records)

    def halted(self, topic: str, partition: int, halted: bool) -> None:  # noqa: FBT001 - the gauge's value
        """Set whether an assigned shard is halted. Nothing is known about the lag of a halted one."""
        self._halted.labels(topic, partition).set(halted)
        if halted:
            self._lag.remove(topic, partition)
            self._oldest_unapplied.remove(topic, partition)

    def drop_shard(self, topic: str, partition: int) -> None:
        """Remove the series of a partition that is no longer assigned."""
        self._lag.remove(topic, partition)
        self._oldest_unapplied.remove(topic, partition)
        self._halted.remove(topic, partition)
        self.sales.drop_shard(topic, partition)

    def fenced(self) -> None:
        """Count a shard that another worker claimed while this worker processed it."""
        self._fenced.inc()

    def rebalance(self) -> None:
        """Count an assignment of partitions."""
        self._rebalances.inc()

    def judged(self, topic: str, partition: int, versions: Sequence[Version]) -> None:
        """Add versions of a shard's transactions that were published and are now committed."""
        self.sales.add(topic, partition, versions)

    def overflow(self, label: str) -> None:
        """Count an event whose value of this label was counted as `other`."""
        self._overflow.labels(label).inc()

    def ready(self, ready: bool) -> None:  # noqa: FBT001 - the gauge's value
        """Set whether the worker is ready."""
        self._ready.set(ready)

    def input_topic_up(self, topic: str, up: bool) -> None:  # noqa: FBT001 - the gauge's value
        """Set whether an input topic exists and may be read."""
        self._input_topic_up.labels(topic).set(up)

    def total_lag(self) -> int:
        """The sum of the lag of all assigned partitions whose lag is known."""
        return sum(round(sample.value) for family in self._lag.collect() for sample in family.samples)

    def exposition(self) -> bytes:
        """All series in the Prometheus text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str) -> Counter:
        name, text, labels = _described(name)
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str) -> Gauge:
        name, text, labels = _described(name)
        return Gauge(name, text, labels, registry=self._registry)

    def _histogram(self, name: str) -> Histogram:
        buckets = METRICS[name].buckets
        name, text, labels = _described(name)
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)


def _described(name: str) -> tuple[str, str, tuple[str, ...]]:
    metric = METRICS[name]
    return metric.name, metric.help, metric.labels


class _Delays(Collector):
    """A histogram that observes a whole batch at once, ten times faster than the one of prometheus_client, value by value."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._state = [0] * (len(metric.buckets) + 1), 0.0
        """Number of values up to each bound, and the sum of values. Replaced as a whole, because a scrape reads it from another thread."""

    def observe(self, values: Sequence[float]) -> None:
        ordered = sorted(values)
        early = bisect_left(
            ordered, 0.0
        )  # events ahead of the clock have no delay, and the sum of a histogram must not decrease
        cumulative, total = self._state
        added = [*(bisect_right(ordered, bound) for bound in self._metric.buckets), len(ordered)]
        self._state = list(map(add, cumulative, added)), total + sum(ordered[early:])

    def collect(self) -> Iterable[HistogramMetricFamily]:
        cumulative, total = self._state
        bounds = (*map(str, map(float, self._metric.buckets)), "+Inf")
        family = HistogramMetricFamily(self._metric.name, self._metric.help)
        family.add_metric((), list(zip(bounds, cumulative, strict=True)), total)
        yield family
