"""Our own worker with all features enabled, as one or several processes."""

import secrets
import sys
import time
from contextlib import ExitStack
from typing import Any, Final

from redis import Redis
from support.workers import environment

from bench import processor
from bench.contender import LIMIT, BenchError, Load, Run, process
from stream.core.counting.figures import TOTAL, Figures, ShardFigures
from stream.core.counting.summary import decode_summary
from stream.core.shard.write_set import ShardId
from stream.settings import Settings
from stream.tables.keys import Keys

COMMAND: Final = (sys.executable, "-m", "stream", "worker")
_POLL: Final = 0.005


def settings_for(bootstrap_servers: str, redis_url: str, **more: Any) -> Settings:
    """Settings with an application id and topics of its own; everything else has the defaults."""
    name = f"bench-{secrets.token_hex(4)}"
    return Settings(
        **{
            "kafka_bootstrap_servers": bootstrap_servers,
            "redis_url": redis_url,
            "app_id": name,
            "subscription_topic": f"{name}-subscriptions",
            "outcome_topic": f"{name}-outcomes",
            "dead_letter_topic": f"{name}-dead-letters",
            "http_port": 0,
            "kafka_session_timeout": 10.0,
            **more,
        }
    )


class Offsets:
    """Committed offsets, read from Redis."""

    def __init__(self, client: Redis, settings: Settings, topic: str, partitions: int) -> None:
        names = Keys(settings.redis_prefix, settings.app_id)
        self._client = client
        self._keys = [names.shard(ShardId(topic, partition)) for partition in range(partitions)]

    def each(self) -> list[int]:
        """The offset of each partition."""
        pipeline = self._client.pipeline(transaction=False)
        for key in self._keys:
            pipeline.hget(key.shard, "offset")
        return [int(offset or 0) for offset in pipeline.execute()]

    def total(self) -> int:
        """The sum of all offsets."""
        return sum(self.each())

    def sold(self) -> dict[str, int]:
        """Transactions by kind, as readers of the figures see them."""
        views = [self._client.hmget(key.view, "summary", "recent") for key in self._keys]
        figures = Figures(ShardFigures(decode_summary(*view)) for view in views if None not in view)
        total = figures.select(TOTAL, "checkout").plain()
        return {"transactions": total["transactions"], **total["kind_transactions"]}


def measure(
    load: Load, bootstrap_servers: str, redis_url: str, pids: tuple[int, int], *, workers: int = 1, **more: Any
) -> Run:
    """Run workers over the load. `pids` are those of broker and Redis. All data in Redis is deleted first."""
    settings = settings_for(bootstrap_servers, redis_url, checkout_topic=load.topic, **more)
    with Redis.from_url(redis_url) as client, ExitStack() as stack:
        client.flushdb()
        offsets = Offsets(client, settings, load.topic, load.partitions)
        running = [stack.enter_context(process(COMMAND, environment(settings))) for _ in range(workers)]
        own = [worker.pid for worker, _ in running]

        def look() -> tuple[float, int, list[float], dict[int, float]]:
            threads: dict[int, float] = {}
            for pid in own:
                threads |= processor.spent_by_thread(pid)
            committed = offsets.total()
            spent = [sum(map(processor.spent, own)), *map(processor.spent, pids)]
            return time.monotonic(), committed, spent, threads

        def until(records: int) -> None:
            deadline = time.monotonic() + LIMIT
            while offsets.total() < records:
                for worker, log in running:
                    if worker.poll() is not None or time.monotonic() > deadline:
                        raise BenchError(f"worker {worker.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
                time.sleep(_POLL)

        until(load.warm)
        first = look()
        until(load.steady)
        last = look()
        until(load.records)
        number = last[1] - first[1]
        worker_us, broker_us, redis_us = ((b - a) / number for a, b in zip(first[2], last[2], strict=True))
        main = sum(last[3][pid] - first[3][pid] for pid in own) / number
        return Run(
            number / (last[0] - first[0]),
            worker_us,
            broker_us,
            redis_us,
            {"main": main, "consumer and others": worker_us - main},
            offsets.sold(),
        )
