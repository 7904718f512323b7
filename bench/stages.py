"""Where a worker's time goes, stage by stage: the real worker in this process, on a real Kafka and a real Redis, working off a backlog.

Processor time of its main thread by sampling (`bench.sampler`), in µs per event, and of its other threads as the kernel has it: they fetch. What is awaited
also by the clock, in ms per call.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Final

import uvloop

from bench import processor
from bench.broker import fill
from bench.contender import LIMIT, WARM, BenchError
from bench.dataset import load
from bench.sampler import Claim, Sampler
from bench.servers import kafka, redis
from bench.worker import settings_for
from stream.app import Worker, tune_garbage_collector
from stream.kafka.producer import Publisher
from stream.tables.redis import RedisTables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.results import Results
    from stream.settings import Settings

PARTITIONS: Final = 4
ITSELF: Final = "measuring"
_LOOK: Final = 0.02
_CLAIMS: Final = (
    Claim("outcomes: encode", "stream/events/outcome.py"),
    Claim("decode", "stream/events/"),
    Claim("records: decode", "stream/core/shard/cache.py", frozenset({"get", "peek"})),
    Claim("records: encode", "stream/core/shard/cache.py", frozenset({"put", "drain"})),
    Claim("records: keep", "stream/core/shard/cache.py"),
    Claim("preload", "stream/core/shard/preload.py"),
    Claim("preload", "stream/core/labels.py"),
    Claim("step: windows and totals", "stream/core/counting/"),
    Claim("step: verdict, facts", "stream/core/judging/"),
    Claim("step: verdict, facts", "stream/core/entities/checkout.py"),
    Claim("step: verdict, facts", "stream/core/entities/subscription.py"),
    Claim("step: verdict, facts", "stream/core/entities/assessment.py"),
    Claim("step: customers", "stream/core/entities/customer.py"),
    Claim("step: customers", "stream/core/shard/customer_index.py"),
    Claim("drain", "stream/core/shard/shard.py", frozenset({"drain"})),
    Claim("drain", "stream/core/shard/state.py"),
    Claim("step: rest", "stream/core/"),
    Claim("pack", "stream/tables/packing.py"),
    Claim("pack", "stream/tables/redis.py", frozenset({"_writes"})),
    Claim("Redis client", "stream/tables/"),
    Claim("Redis client", "/redis/"),
    Claim("publish", "stream/kafka/producer.py"),
    Claim("publish", "/aiokafka/"),
    Claim("count", "stream/observe/counters.py"),
    Claim("count", "stream/observe/sales.py"),
    Claim("count", "stream/worker/pipeline.py", frozenset({"_count"})),
    Claim("count", "/prometheus_client/"),
    Claim("fetch: hand over", "stream/consumer/batch_consumer.py"),
    Claim("fetch: hand over", "stream/worker/shard_set.py"),
    Claim("fetch: hand over", "/faust/"),
    Claim("fetch: hand over", "/mode/"),
    Claim(ITSELF, "bench/"),
)


class _Waits:
    """By the clock: how long awaited calls take."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)

    def watch(self, owner: type, name: str) -> None:
        """Measure a method from now on."""
        method: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def measured(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return await method(*args, **kwargs)
            finally:
                self.seconds[name].append(time.perf_counter() - began)

        setattr(owner, name, measured)


def run(results: Results, *, records: int = 120_000, batch: int = 2000, functions: int = 25) -> None:
    """Print and note the profile."""
    events = load(records)
    with kafka() as broker, redis() as server:
        settings = settings_for(
            broker.bootstrap_servers, server.url, checkout_topic="bench-checkouts", batch_records=batch
        )
        topics = {"checkout": settings.checkout_topic, "subscription": settings.subscription_topic}
        asyncio.run(fill(settings.kafka_bootstrap_servers, topics, events, PARTITIONS))
        sampler, waits = Sampler(_CLAIMS), _Waits()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            measured, wall, spent = runner.run(_work(settings, sampler, waits, records, (server.pid, broker.pid)))
    others = dict(zip(("consumer's thread", "Redis", "broker"), spent, strict=True))
    fetching = round(others.pop("consumer's thread") / measured, 2)
    own = (sampler.seconds * 1e6 - sampler.microseconds(sampler.stages[ITSELF])) / measured
    total = own + fetching
    print(
        f"\n{measured} events, batches of {batch}, {PARTITIONS} partitions a topic; load of the machine {processor.load():.1f}"
    )
    print(f"worker {total:.1f} µs of processor time an event, {wall * 1e6 / measured:.1f} µs by the clock")
    print("  ".join(f"{name} {spent / measured:.1f} µs" for name, spent in others.items()))
    stages = {"fetch: consumer's thread": fetching}
    for stage, samples in sampler.stages.items():
        if stage != ITSELF:
            stages[stage] = round(sampler.microseconds(samples) / measured, 2)
    stages = dict(sorted(stages.items(), key=lambda stage: stage[1], reverse=True))
    for stage, each in stages.items():
        print(f"  {stage:28} {each:6.2f} µs  {each / total:6.1%}")
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
            print(f"  {sampler.microseconds(samples) / measured:6.2f}  {name}")
    results.note(
        "stages",
        {
            "events": measured,
            "batch": batch,
            "worker_us": round(total, 2),
            "others_us": {name: round(spent / measured, 2) for name, spent in others.items()},
            "stages_us": stages,
            "calls_ms": calls,
        },
    )


async def _work(
    settings: Settings, sampler: Sampler, waits: _Waits, records: int, pids: tuple[int, ...]
) -> tuple[int, float, list[float]]:
    """Run a worker over all records; a worker is measured at work, not at its start.

    Returns:
        Events measured, seconds by the clock, microseconds of processor time: of the other threads, then of `pids`.
    """
    for name in ("claim", "load", "expired", "commit"):
        waits.watch(RedisTables, name)
    waits.watch(Publisher, "publish")
    worker = Worker(settings)
    await worker.start()
    try:
        tune_garbage_collector()
        warm = await _until(worker, int(records * WARM))
        waits.seconds.clear()
        before = _spent(pids)
        began = time.perf_counter()
        with sampler.running():
            end = await _until(worker, records)
        wall = time.perf_counter() - began
        return end - warm, wall, [after - earlier for after, earlier in zip(_spent(pids), before, strict=True)]
    finally:
        await worker.stop()


async def _until(worker: Worker, records: int) -> int:
    """Wait until so many are committed; returns how many are."""
    deadline = time.monotonic() + LIMIT
    while (committed := _committed(worker)) < records:
        if time.monotonic() > deadline:
            raise BenchError(f"{committed} of {records} committed: {worker.status.readiness()}")
        await asyncio.sleep(_LOOK)
    return committed


def _committed(worker: Worker) -> int:
    shards = worker.status.shards
    return 0 if shards is None else sum(shards.offsets().values())


def _spent(pids: tuple[int, ...]) -> list[float]:
    others = sum(spent for thread, spent in processor.spent_by_thread(os.getpid()).items() if thread != os.getpid())
    return [others, *map(processor.spent, pids)]
