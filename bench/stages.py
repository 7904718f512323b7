"""Where a worker's time goes, stage by stage: real runners on a log in memory, a real Redis and, where there is one, a real Kafka to publish to.

Processor time by sampling (`bench.sampler`), in µs per event; what is awaited also by the clock, in ms per batch. Reading from Kafka is not in it: `throughput`
shows the consumer's thread.
"""

import asyncio
import gc
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, Final, Literal
from zlib import crc32

import uvloop

from bench import processor
from bench.dataset import Record, load
from bench.results import Results
from bench.sampler import Claim, Sampler
from bench.servers import kafka, redis
from stream.batch import CREDITS
from stream.clock import Clock
from stream.core.changes import ShardId
from stream.events.decode import Decoder
from stream.observe.counters import Counters
from stream.publish import Message, Publisher
from stream.runner import Bench, Runner
from stream.settings import Settings
from stream.tables.redis import RedisTables, connect
from stream.topics import Topic, create_topics

PARTITIONS: Final = 4
ITSELF: Final = "measuring"
_CLAIMS: Final = (
    Claim("outcomes: encode", "stream/events/outcome.py"),
    Claim("decode", "stream/events/"),
    Claim("load: decode records", "stream/core/shard.py", frozenset({"provide", "provide_customers"})),
    Claim(
        "load: what is missing",
        "stream/core/shard.py",
        frozenset({"missing", "missing_customers", "reached", "undecided", "expiry", "forget"}),
    ),
    Claim("step: windows and totals", "stream/core/windows.py"),
    Claim("step: windows and totals", "stream/core/cells.py"),
    Claim("step: windows and totals", "stream/core/bookings.py"),
    Claim("step: verdict, facts", "stream/core/checkout.py"),
    Claim("step: verdict, facts", "stream/core/verdict.py"),
    Claim("step: verdict, facts", "stream/core/assessment.py"),
    Claim("step: verdict, facts", "stream/core/subscription.py"),
    Claim("step: customers", "stream/core/customers.py"),
    Claim("take: encode changes", "stream/core/shard.py", frozenset({"take", "_encode", "summary"})),
    Claim("step: rest", "stream/core/"),
    Claim("pack", "stream/tables/packing.py"),
    Claim("pack", "stream/tables/redis.py", frozenset({"_writes"})),
    Claim("Redis client", "stream/tables/"),
    Claim("Redis client", "/redis/"),
    Claim("publish", "stream/publish.py"),
    Claim("publish", "/aiokafka/"),
    Claim("count", "stream/observe/counters.py"),
    Claim("count", "stream/observe/sales.py"),
    Claim("count", "stream/runner.py", frozenset({"_count"})),
    Claim("count", "/prometheus_client/"),
    Claim(ITSELF, "bench/"),
)


@dataclass
class _Read:
    """A record as Kafka hands it out."""

    topic: str
    offset: int
    key: bytes
    value: bytes
    timestamp: int
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_type: int = 0


class _Nowhere:
    """Acknowledges everything at once."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Nothing."""


class _Waits:
    """By the clock: how long awaited calls take."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def watch(self, owner: object, name: str) -> None:
        """Measure a method of one object from now on."""
        method: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def measured(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return await method(*args, **kwargs)
            finally:
                self.seconds[name].append(time.perf_counter() - began)

        setattr(owner, name, measured)


def run(
    results: Results, *, records: int = 120_000, batch: int = 1000, with_kafka: bool = True, functions: int = 25
) -> None:
    """Print and note the profile."""
    events = load(records)
    with redis() as server:
        settings = Settings(redis_url=server.url, app_id="bench-stages", batch_records=batch)
        if with_kafka:
            with kafka() as broker:
                measured = _run(events, settings, broker.bootstrap_servers, (server.pid, broker.pid))
        else:
            measured = _run(events, settings, None, (server.pid,))
    sampler, waits, wall, others = measured
    number = len(events)
    total = (sampler.seconds * 1e6 - sampler.microseconds(sampler.stages[ITSELF])) / number
    print(
        f"\n{number} events, batches of {batch}, {PARTITIONS} partitions a topic; load of the machine {processor.load():.1f}"
    )
    print(f"worker {total:.1f} µs of processor time an event, {wall * 1e6 / number:.1f} µs by the clock")
    print("  ".join(f"{name} {spent / number:.1f} µs" for name, spent in others.items()))
    stages = {}
    for stage, samples in sampler.stages.most_common():
        if stage == ITSELF:
            continue
        stages[stage] = round(sampler.microseconds(samples) / number, 2)
        print(f"  {stage:28} {stages[stage]:6.2f} µs  {samples / sampler.stages.total():6.1%}")
    print("by the clock, a call (median, 99th):")
    calls = {}
    for name, seconds in waits.seconds.items():
        calls[name] = (
            [round(1000 * median(seconds), 2), round(1000 * quantiles(seconds, n=100)[-1], 2)]
            if len(seconds) > 1
            else []
        )
        print(f"  {name:28} {calls[name]} ms, {len(seconds)} calls")
    for title, counted in (("themselves", sampler.selves), ("with what they call", sampler.totals)):
        print(f"functions {title}, µs an event:")
        for name, samples in counted.most_common(functions):
            print(f"  {sampler.microseconds(samples) / number:6.2f}  {name}")
    results.note(
        "stages",
        {
            "events": number,
            "batch": batch,
            "worker_us": round(total, 2),
            "others_us": {name: round(spent / number, 2) for name, spent in others.items()},
            "stages_us": stages,
            "calls_ms": calls,
        },
    )


def _run(
    events: Sequence[Record], settings: Settings, bootstrap_servers: str | None, pids: tuple[int, ...]
) -> tuple[Sampler, _Waits, float, dict[str, float]]:
    sampler, waits = Sampler(_CLAIMS), _Waits()

    async def measure() -> tuple[float, dict[str, float]]:
        tables = connect(settings)
        publisher: Publisher | _Nowhere = _Nowhere()
        if bootstrap_servers is not None:
            topics = (settings.outcome_topic, settings.dead_letter_topic)
            await create_topics(bootstrap_servers, [Topic(name, PARTITIONS) for name in topics])
            publisher = Publisher(bootstrap_servers, settings.dead_letter_topic, "bench", {})
            await publisher.start()
        for name in ("claim", "load", "expired", "commit"):
            waits.watch(tables, name)
        waits.watch(publisher, "publish")
        try:
            runners, changed, tasks = await _runners(settings, tables, publisher)
            logs = _logs(events, settings)
            # A worker is measured at work, not at its start.
            await _feed(
                runners, {shard: log[: len(log) // 10] for shard, log in logs.items()}, changed, settings.batch_records
            )
            gc.collect()
            gc.freeze()
            gc.set_threshold(100_000, 20, 20)
            waits.seconds.clear()
            before = [processor.spent(pid) for pid in pids]
            began = time.perf_counter()
            with sampler.running():
                await _feed(runners, logs, changed, settings.batch_records)
            wall = time.perf_counter() - began
            spent = [processor.spent(pid) - earlier for pid, earlier in zip(pids, before, strict=True)]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            return wall, dict(zip(("Redis", "broker"), spent, strict=False))
        finally:
            await tables.close()
            if isinstance(publisher, Publisher):
                await publisher.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        wall, others = runner.run(measure())
    share = 0.9
    sampler.seconds /= share
    return sampler, waits, wall / share, {name: spent / share for name, spent in others.items()}


async def _runners(
    settings: Settings, tables: RedisTables, publisher: Publisher | _Nowhere
) -> tuple[dict[ShardId, Runner], asyncio.Event, list[asyncio.Task[None]]]:
    clock = Clock(tables)
    await clock.refresh()
    journeys: dict[str, Literal["checkout", "subscription"]] = {
        settings.checkout_topic: "checkout",
        settings.subscription_topic: "subscription",
    }
    bench = Bench(
        app_id=settings.app_id,
        cluster="bench",
        core=settings.core(),
        registry=settings.registry(),
        tables=tables,
        clock=clock,
        decoder=Decoder(journeys, settings.future),
        publisher=publisher,  # type: ignore[arg-type]  # a double
        outcome_topic=settings.outcome_topic,
        dead_letter_topic=settings.dead_letter_topic,
        instruments=Counters(),
        patience=1.0,
    )
    changed = asyncio.Event()
    runners = {
        ShardId(topic, partition): Runner(
            ShardId(topic, partition), journey, bench, changed, settings.cached_entities // (2 * PARTITIONS)
        )
        for topic, journey in journeys.items()
        for partition in range(PARTITIONS)
    }
    return runners, changed, [asyncio.create_task(runner.run()) for runner in runners.values()]


def _logs(events: Sequence[Record], settings: Settings) -> dict[ShardId, list[_Read]]:
    topics = {"checkout": settings.checkout_topic, "subscription": settings.subscription_topic}
    logs: dict[ShardId, list[_Read]] = defaultdict(list)
    now = round(time.time() * 1000)
    for topic, key, value in events:
        log = logs[ShardId(topics[topic], crc32(key) % PARTITIONS)]
        log.append(_Read(topics[topic], len(log), key, value, now))
    return logs


async def _feed(
    runners: dict[ShardId, Runner], logs: dict[ShardId, list[_Read]], changed: asyncio.Event, batch: int
) -> None:
    """Deliver, as the transport does, until everything is committed."""
    left = set(logs)
    while left:
        changed.clear()
        for shard in sorted(left):
            runner, log = runners[shard], logs[shard]
            assert runner.status.halted is None, runner.status.halted
            position = runner.position
            if position is None:
                continue
            if position.read is None:
                position.seek(position.start(0))
            assert position.read is not None
            while position.outstanding < CREDITS and position.read < len(log):
                runner.deliver(position.take(shard, log[position.read : position.read + batch]))
            if runner.status.offset == len(log):
                left.discard(shard)
        if left:
            await changed.wait()
