"""Summaries of shards, and tables that return given summaries."""

from dataclasses import dataclass, field

from stream.core.config import NEVER, STEP
from stream.core.counting.cells import CATEGORY, MONEY, SALES, Categorized, Count, Revenue
from stream.core.counting.summary import Summary, encode_recent, encode_summary
from stream.core.labels import BOUNDS, OTHER, UNKNOWN
from stream.core.shard.write_set import ShardId
from stream.tables.interface import Application, Halt, KnownTopic, ServerMemory, ShardHealth, ShardSummary

NOW = 1_767_323_047_000_000
AT = 1_767_323_045_000_000  # 2026-01-02T03:04:05Z

CHANNELS = [*(f"channel {number}" for number in range(BOUNDS["channel"])), OTHER, UNKNOWN]
SEGMENTS = [*(f"segment {number}" for number in range(BOUNDS["segment"])), OTHER, UNKNOWN]
CATEGORIES = [*(f"category {number}" for number in range(BOUNDS["category"])), OTHER]
CURRENCIES = ["EUR", "USD", "JPY", "GBP"]


def sale(**values):
    return [values.get(position.name.lower(), 0) for position in Count]


def money(**values):
    return [values.get(part.name.lower(), 0) for part in Revenue]


@dataclass
class FakeTables:
    """The methods that the view calls."""

    shards: list[ShardSummary] = field(default_factory=list)
    time: int = NOW
    error: Exception | None = None
    halts: dict[ShardId, Halt] = field(default_factory=dict)
    topics: dict[str, KnownTopic] = field(default_factory=dict)
    memory: ServerMemory | None = field(default_factory=lambda: ServerMemory(1_000_000, 4_000_000))

    async def history(self, *_):
        return []

    async def application(self):
        if self.error is not None:
            raise self.error
        return Application(self.shards, self.halts, self.topics)

    async def server_memory(self):
        return self.memory

    async def now(self):
        return self.time


def shard(
    topic="checkout-events",
    partition=0,
    cells=(),
    *,
    windows=("5m", "1h"),
    customers=None,
    total=None,
    at=AT,
    health=None,
):
    """The summary of one shard: the same cells in every window, and in the total if `total` is not given."""
    entries = list(dict(cells).items())
    summary = Summary(
        journey="checkout" if topic.startswith("checkout") else "subscription",
        at=at,
        stream_time=at - 1_500_000 if at else 0,
        windows=[(name, entries) for name in windows],
        total=entries if total is None else list(total.items()),
    )
    counts = {name.encode(): (count,) * len(windows) for name, count in (customers or {}).items()}
    return ShardSummary(
        ShardId(topic, partition),
        encode_summary(summary),
        encode_recent(summary.stream_time or NEVER, STEP, {}, NEVER),
        NOW - 3_000_000,
        counts,
        health or ShardHealth(),
    )


SMALL = {
    (SALES, "web", 'a "new"\\one'): sale(
        opportunities=10,
        transactions=4,
        upsell=2,
        cross_sell=1,
        downsell=1,
        restored=1,
        any=3,
        known=4,
        unknown=1,
        incomparable=1,
        reversed_all=1,
        reversed_upsell=1,
        reversed_restored=1,
    ),
    (MONEY, "web", 'a "new"\\one', "EUR"): money(
        initial=1000,
        upsell=250,
        cross_sell=50,
        downsell=10,
        restored=20,
        final=1250,
        total=1600,
        reversed=5,
        total_any=1000,
        total_plain=250,
    ),
    (CATEGORY, "shoes"): [3, 2, 1, 0, 2, 1],
}
SMALL_CUSTOMERS = {"all|all|all": 4, "upsell|all|all": 1, "all|channel|web": 4, 'all|segment|a "new"\\one': 4}


def full_cells():
    """Cells for every possible label value; no count of them is 0."""
    sales = [7] * len(Count)
    sales[Count.ANY], sales[Count.OTHER_CURRENCY] = 3, 0
    revenue = [700] * len(Revenue)
    revenue[Revenue.TOTAL_ANY], revenue[Revenue.TOTAL_PLAIN] = 400, 300
    cells = {(CATEGORY, category): [7] * len(Categorized) for category in CATEGORIES}
    for channel in CHANNELS:
        for segment in SEGMENTS:
            cells[SALES, channel, segment] = sales
            cells |= {(MONEY, channel, segment, currency): revenue for currency in CURRENCIES}
    return cells


def full(windows, partitions):
    """The largest possible summaries of so many partitions of each topic in these windows."""
    cells = full_cells()
    sections = [("all", "all"), *(("channel", name) for name in CHANNELS), *(("segment", name) for name in SEGMENTS)]
    customers = {
        f"{kind}|{dimension}|{value}": 5
        for kind in ("all", "upsell", "cross_sell", "any")
        for dimension, value in sections
    }
    return [
        shard(topic, partition, cells if partition == 0 else (), windows=windows, customers=customers)
        for topic in ("checkout-events", "subscription-events")
        for partition in range(partitions)
    ]
