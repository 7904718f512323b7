import re
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.programs import program_or_skip
from support.summaries import NOW, SMALL, SMALL_CUSTOMERS, FakeTables, full, shard

from stream.core.counting.kpi import KPIS
from stream.events.catalogue import EVENT_TYPES
from stream.observe.counters import Counters
from stream.observe.exposition import WINDOW_SERIES
from stream.observe.manifest import MANIFEST, METRICS, SERIES
from stream.observe.view import View
from stream.settings import Settings, Target
from stream.tables.interface import Halt, KnownTopic

ROOT = Path(__file__).parents[2]
FOUR = ("5m", "1h", "24h", "30d")
EIGHT = ("1m", "5m", "15m", "1h", "6h", "24h", "7d", "30d")


def fed(counters, channels=("web",), segments=("new",), partitions=1):
    """The counters with a value in every metric."""
    topics = ("checkout-events", "subscription-events")
    for topic in topics:
        counters.without_key(topic, 1)
        for type_ in (*EVENT_TYPES, None):
            for result in ("applied", "duplicate", "stale", "late", "unmatched", "unchanged", "test", "rejected"):
                counters.event(topic, type_, result)
        for partition in range(partitions):
            counters.lag(topic, partition, 1)
            counters.oldest_unapplied(topic, partition, 0.5)
            counters.halted(topic, partition, False)
    for journey in ("checkout", "subscription"):
        for kind in ("all", "upsell", "cross_sell", "downsell", "restored", "any"):
            if (journey, kind) == ("checkout", "restored"):
                continue  # only an item of a subscription can be restored
            for channel in channels:
                for segment in segments:
                    counters.transactions(kind, journey, channel, segment, 1)
    counters.dead_letter("not_json")
    counters.commit_failure("timeout")
    counters.overflow("channel")
    counters.commit(10, 0.01)
    counters.delays([0.1])
    counters.fenced()
    counters.rebalance()
    counters.ready(True)
    counters.input_topic_up("checkout-events", True)
    return counters


async def worker(tables, settings, counters):
    """The text that a scrape of a worker returns."""
    view = View(tables, settings)
    await view.refresh()
    return counters.exposition() + view.exposition()


def series(exposition):
    return [line for line in exposition.decode().splitlines() if not line.startswith("#")]


@pytest.fixture
async def everything():
    """A text with all metrics."""
    own = shard(cells=SMALL, customers=SMALL_CUSTOMERS)
    halts = {own.shard: Halt("topic_recreated", "text", NOW)}
    tables = FakeTables([own], halts=halts, topics={own.shard.topic: KnownTopic("checkout", 1, NOW)})
    settings = Settings(windows=("5m", "1h"), targets=(Target(kpi="upsell_ratio", journey="checkout", ratio=0.1),))
    return await worker(tables, settings, fed(Counters()))


async def test_the_manifest_and_what_is_emitted_are_the_same(everything):
    families = {}
    for family in text_string_to_metric_families(everything.decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert name not in families, "a metric in two places"
        families[name] = family
    assert {name for name in families if not name.startswith("process_")} == METRICS.keys()
    for metric in MANIFEST:
        family = families[metric.name]
        assert (family.type, family.documentation) == (metric.type, metric.help)
        assert {sample.name for sample in family.samples} == set(metric.samples)
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(metric.labels)


async def test_the_order_of_labels_is_the_contracts(everything):
    for line in series(everything):
        metric = METRICS.get(line.partition("{")[0])
        if metric is not None and metric.scope == "global":
            assert re.findall(r'(\w+)="(?:[^"\\]|\\.)*"', line) == list(metric.labels)


@pytest.mark.prometheus
def test_promtool_has_no_complaints(everything):
    promtool = program_or_skip("promtool", "prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=everything, capture_output=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


@pytest.mark.parametrize("windows", [FOUR, EIGHT])
async def test_series_stay_within_the_bound_when_everything_is_full(windows):
    channels, segments = ([f"{name} {number}" for number in range(size)] for name, size in (("c", 10), ("s", 18)))
    targets = tuple(
        Target(kpi=kpi, journey=journey, segment=segment, ratio=0.5)
        for kpi in (kpi.name for kpi in KPIS if kpi.has_target)
        for journey in ("checkout", "subscription")
        for segment in ("all", *segments)
        if (kpi, segment) != ("cross_sell_ratio", "all")
    )
    shards = full(windows, partitions=64)
    halts = {each.shard: Halt("topic_recreated", "text", NOW) for each in shards}
    topics = {
        topic: KnownTopic(topic.partition("-")[0], 64, NOW) for topic in ("checkout-events", "subscription-events")
    }
    tables = FakeTables(shards, halts=halts, topics=topics)
    counters = fed(Counters(), channels, segments, partitions=64)
    exposition = await worker(tables, Settings(windows=windows, targets=targets), counters)
    assert len(set(series(exposition))) == len(series(exposition))
    assert SERIES / 2 < len(series(exposition)) <= SERIES
    of_windows = [line for line in series(exposition) if 'window="' in line]
    assert len(series(exposition)) - len(of_windows) + WINDOW_SERIES <= SERIES
