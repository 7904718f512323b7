"""The faults. Each one is done to a `Run` under load, and returns when what was broken is mended; the run then waits until all is well again.

A fault that keeps the workers from working waits until one of them says that it is not ready; one of Kafka, until all of them do, as all are its group.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from chaos.load import BOMB
from redis.exceptions import RedisError
from support.servers import start, stop
from support.workers import LIMIT

if TYPE_CHECKING:
    from chaos.run import Run

Fault = Callable[["Run"], Awaitable[None]]

REWIND = 1.0
"""Seconds that a Redis loses that is killed, as with `appendfsync everysec`."""
SLOW_LOADING = ["--key-load-delay", "1000"]
"""Options of a Redis that waits for so many microseconds after each command that it loads; it answers others after every thousand."""


async def kill_worker(run):
    """kill -9; its shards are taken over, then it is replaced."""
    worker = run.any_worker()
    others = [other for other in run.health.running() if other is not worker]
    began = time.monotonic()
    worker.kill()
    await run.until(lambda: sum(len(other.shards) for other in others) == run.shards)
    run.measure("takeover of a killed worker's shards", time.monotonic() - began)
    run.start_worker()


async def stop_worker(run):
    """SIGTERM, and a new one."""
    worker = run.any_worker()
    began = time.monotonic()
    status = await worker.stop()
    run.measure("graceful stop under load", time.monotonic() - began)
    run.expect(status == 0, f"a worker that was asked to stop ended with {status}")
    run.start_worker()


async def freeze_worker(run):
    """SIGSTOP until others have its shards, then SIGCONT: what it goes on to write is refused."""
    worker = run.any_worker()
    others = [other for other in run.health.running() if other is not worker]
    run.health.frozen.add(worker)
    worker.process.send_signal(signal.SIGSTOP)
    try:
        await run.until(lambda: sum(len(other.shards) for other in others) == run.shards)
    finally:
        worker.process.send_signal(signal.SIGCONT)
        run.health.frozen.discard(worker)
    await run.until_fenced(worker)


async def scale(run):
    """Three workers to one, and to three again."""
    first, second, *_ = run.health.running()
    statuses = await asyncio.gather(first.stop(), second.stop())
    run.expect(set(statuses) == {0}, f"workers that were asked to stop ended with {statuses}")
    await run.health.until_ready(1)
    await run.until_shared(1)
    run.start_worker()
    run.start_worker()
    await run.until_shared(3)


async def blink_kafka(run):
    """All connections to Kafka closed, and none accepted for a moment, which nobody need call away."""
    run.kafka_proxy.refusing = True
    await run.kafka_proxy.cut()
    await asyncio.sleep(run.dice.uniform(0, run.session))
    run.kafka_proxy.refusing = False


async def cut_kafka(run):
    """All connections to Kafka closed, and none accepted."""
    run.kafka_proxy.refusing = True
    await run.kafka_proxy.cut()
    await run.health.until_none_is_ready("Kafka")
    run.kafka_proxy.refusing = False


async def cut_redis(run):
    """All connections to Redis closed, and none accepted."""
    run.redis_proxy.refusing = True
    await run.redis_proxy.cut()
    await run.health.until_unready()
    run.redis_proxy.refusing = False


async def half_open_kafka(run):
    """Connections to Kafka that are open and silent, both ways."""
    run.kafka_proxy.hold(both=True)
    await run.health.until_none_is_ready("Kafka")
    await run.kafka_proxy.cut()
    run.kafka_proxy.release()


async def half_open_redis(run):
    """Connections to Redis that are open and silent, both ways."""
    run.redis_proxy.hold(both=True)
    await run.health.until_unready()
    await run.redis_proxy.cut()
    run.redis_proxy.release()


async def restart_redis(run):
    """Redis stopped in order and started again."""
    await stop(run.redis)
    await run.health.until_unready()
    await start(run.redis)


async def rewind_redis(run):
    """Redis killed, and back without its last second."""
    kept = run.redis.append_only_file.stat().st_size
    await asyncio.sleep(REWIND)
    run.redis.kill()
    file = run.redis.append_only_file
    run.note(f"{file.stat().st_size - kept:,} of {file.stat().st_size:,} bytes lost")
    os.truncate(file, kept)
    await start(run.redis)


async def lose_replies(run):
    """Redis does what it was asked, and the answer never comes: five times."""
    for _ in range(5):
        run.redis_proxy.hold()
        async with asyncio.timeout(LIMIT):
            await run.redis_proxy.held()
        await run.redis_proxy.cut()
        run.redis_proxy.release()
        await asyncio.sleep(0.3)


async def flush_redis(run):
    """FLUSHALL: everything is built again from the beginning of the log."""
    await run.client.flushall()


async def fill_redis(run):
    """No room in Redis, and then room again."""
    await run.client.config_set("maxmemory", "1mb")
    await run.health.until_unready()
    await run.client.config_set("maxmemory", "0")


async def busy_redis(run):
    """A script that does not end (BUSY), until it is killed."""
    script = asyncio.create_task(run.client.eval("while true do end", 0))
    await run.health.until_unready()
    with suppress(RedisError):
        await run.client.script_kill()
    await asyncio.wait([script])
    script.exception()


async def hang_redis(run):
    """A server that does nothing at all for three seconds."""
    await run.client.execute_command("DEBUG", "SLEEP", "3")


async def pause_redis(run):
    """A server that takes no writes for now (CLIENT PAUSE), as before a failover."""
    await run.client.client_pause(int(LIMIT * 1000), all=False)
    await run.health.until_unready("timeout")
    await run.client.client_unpause()


async def load_redis(run):
    """Redis restarted, and slow to load its file (LOADING)."""
    await stop(run.redis)
    run.redis.options += SLOW_LOADING
    loading = asyncio.create_task(start(run.redis))
    await run.health.until_unready("loading")
    await run.client.config_set("key-load-delay", 0)
    await loading
    del run.redis.options[-len(SLOW_LOADING) :]


async def kill_kafka(run):
    """The broker killed, and started again."""
    run.kafka.kill()
    await run.health.until_none_is_ready("Kafka")
    await start(run.kafka)


async def freeze_kafka(run):
    """SIGSTOP for the broker, and SIGCONT."""
    run.kafka.pause()
    await run.health.until_none_is_ready("Kafka")
    run.kafka.resume()


async def large_record(run):
    """A record over 1 MiB."""
    await run.sender.plant(run.any_topic(), next(run.large))


async def bomb(run):
    """A record that is a few kilobytes on the wire and fills memory."""
    await run.sender.plant(run.any_topic(), bytes(BOMB), packed=True)


ALL: tuple[Fault, ...] = (
    kill_worker, freeze_worker, lose_replies, rewind_redis, kill_kafka, flush_redis, fill_redis, bomb,
    stop_worker, cut_kafka, cut_redis, half_open_redis, restart_redis, busy_redis, scale, large_record,
    half_open_kafka, hang_redis, blink_kafka, freeze_kafka, pause_redis, load_redis,
)  # fmt: skip
SHORT: tuple[Fault, ...] = (
    kill_worker, lose_replies, rewind_redis, freeze_worker, cut_kafka, flush_redis, fill_redis, kill_kafka, bomb,
)  # fmt: skip
