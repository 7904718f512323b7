"""Whether slow HTTP clients slow a worker down: its events/s with and without them, in turns, on real Kafka and Redis.

`python bench/slow_scrapes/slow_scrapes.py [--events N] [--runs N] [--clients N]`. A third of the clients sends nothing, a third sends a byte every 0.1 s,
and a third reads as slowly. A client that the server disconnects returns after a second. The clients run in a separate process on the same cores. All
events are in Kafka before the start; time is measured from the first commit to the last.
"""

# ruff: noqa: E402 - after the path to the tests' servers

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / "tests")]

from support import traffic
from support.kafka_server import KafkaServer
from support.redis_server import RedisServer
from support.slow_clients import slow_clients
from support.workers import Worker, group

from stream.core.shard.write_set import ShardId
from stream.embedded.server import HOST
from stream.settings import Settings
from stream.tables.redis import connect

PARTITIONS = 4


async def applied(settings: Settings, worker: Worker, events: int) -> float:
    """Events/s between the first and the last commit that is seen."""
    shards = [ShardId(settings.checkout_topic, number) for number in range(PARTITIONS)]
    tables = connect(settings)
    began, first = 0.0, 0
    try:
        while True:
            worker.check()
            done = sum(owner.offset or 0 for owner in await tables.owners(shards))
            if done and not first:
                began, first = time.monotonic(), done
            if done >= events:
                return (done - first) / (time.monotonic() - began)
            await asyncio.sleep(0.02)
    finally:
        await tables.close()


async def measure(kafka: KafkaServer, redis: RedisServer, prefix: str, events: int, clients: int) -> float:
    with (
        tempfile.TemporaryDirectory() as directory,
        group(kafka.bootstrap_servers, redis.url, prefix, Path(directory)) as workers,
    ):
        await workers.create_topics(PARTITIONS, 1)
        await workers.send(traffic.checkouts(events // 2))
        worker = workers.start()
        while "rates at" not in worker.said:  # noqa: ASYNC110 - a file gives no event when it grows
            await asyncio.sleep(0.005)
        crowd = None
        if clients:
            port = worker.url.rpartition(":")[2]
            crowd = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "--crowd", port, "--clients", str(clients)
            )
        try:
            return await applied(workers.settings, worker, events)
        finally:
            if crowd is not None:
                crowd.kill()
                await crowd.wait()
            await worker.stop()


async def crowd(port: int, clients: int) -> None:
    async with slow_clients(clients, HOST, port, again=True):
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--crowd", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.crowd:
        with suppress(KeyboardInterrupt):
            asyncio.run(crowd(options.crowd, options.clients))
        return
    ratios = []
    with KafkaServer() as kafka, RedisServer() as redis:
        for run in range(options.runs):
            alone, crowded = (
                asyncio.run(measure(kafka, redis, f"slow-{run}-{clients}-", options.events, clients))
                for clients in (0, options.clients)
            )
            ratios.append(crowded / alone)
            print(
                f"run {run + 1}: {alone:,.0f} events/s alone, {crowded:,.0f} with {options.clients} slow clients: {ratios[-1]:.2f}"
            )
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
