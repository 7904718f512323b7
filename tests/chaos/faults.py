"""The faults. Each one is injected into a `Run` under load, and returns when it is repaired. The run then waits until all workers are ready.

A fault that stops the work first waits until a worker is not ready. A fault of Kafka waits until no worker is ready, because all workers are in its
group.
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
"""Seconds of writes that a killed Redis loses, as with `appendfsync everysec`."""
TRIALS = 100
"""Looks at workers that show figures which stand still: about five rounds at every place of three workers."""
SLOW_LOADING = ["--key-load-delay", "1000"]
"""Options for slow loading: microseconds of pause after each loaded command. Redis answers clients after every thousand of them."""


async def kill_worker(run):
    """SIGKILL. Other workers take over its shards, then a new worker starts."""
    worker = run.any_worker()
    others = [other for other in run.health.running() if other is not worker]
    began = time.monotonic()
    worker.kill()
    await run.until(lambda: sum(len(other.shards) for other in others) == run.shards)
    run.measure("takeover of a killed worker's shards", time.monotonic() - began)
    run.start_worker()


async def stop_worker(run):
    """SIGTERM, then a new worker starts."""
    worker = run.any_worker()
    began = time.monotonic()
    status = await worker.stop()
    run.measure("graceful stop under load", time.monotonic() - began)
    run.expect(status == 0, f"a worker exited with status {status} after SIGTERM")
    run.start_worker()


async def freeze_worker(run):
    """SIGSTOP until other workers have its shards, then SIGCONT. Its next write must be refused."""
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
    """Scale from three workers to one, and back to three."""
    first, second, *_ = run.health.running()
    statuses = await asyncio.gather(first.stop(), second.stop())
    run.expect(set(statuses) == {0}, f"workers exited with status {statuses} after SIGTERM")
    await run.health.until_ready(1)
    await run.until_shared(1)
    run.start_worker()
    run.start_worker()
    await run.until_shared(3)


async def blink_kafka(run):
    """All connections to Kafka are closed, and none is accepted for less than a session. The workers need not become unready."""
    run.kafka_proxy.refusing = True
    await run.kafka_proxy.cut()
    await asyncio.sleep(run.random.uniform(0, run.session))
    run.kafka_proxy.refusing = False


async def cut_kafka(run):
    """All connections to Kafka are closed, and none is accepted."""
    run.kafka_proxy.refusing = True
    await run.kafka_proxy.cut()
    await run.health.until_none_is_ready("Kafka")
    run.kafka_proxy.refusing = False


async def cut_redis(run):
    """All connections to Redis are closed, and none is accepted."""
    run.redis_proxy.refusing = True
    await run.redis_proxy.cut()
    await run.health.until_unready()
    run.redis_proxy.refusing = False


async def half_open_kafka(run):
    """Connections to Kafka stay open, but carry no data in either direction."""
    run.kafka_proxy.hold(both=True)
    await run.health.until_none_is_ready("Kafka")
    await run.kafka_proxy.cut()
    run.kafka_proxy.release()


async def half_open_redis(run):
    """Connections to Redis stay open, but carry no data in either direction."""
    run.redis_proxy.hold(both=True)
    await run.health.until_unready()
    await run.redis_proxy.cut()
    run.redis_proxy.release()


async def restart_redis(run):
    """Redis is stopped gracefully and restarted."""
    await stop(run.redis)
    await run.health.until_unready()
    await start(run.redis)


async def rewind_redis(run):
    """Redis is killed, and restarts without its last second of writes."""
    kept = run.redis.append_only_file.stat().st_size
    await asyncio.sleep(REWIND)
    run.redis.kill()
    file = run.redis.append_only_file
    run.note(f"{file.stat().st_size - kept:,} of {file.stat().st_size:,} bytes lost")
    os.truncate(file, kept)
    await start(run.redis)


async def lose_replies(run):
    """Redis executes a command, and its reply is lost: five times."""
    for _ in range(5):
        run.redis_proxy.hold()
        async with asyncio.timeout(LIMIT):
            await run.redis_proxy.held()
        await run.redis_proxy.cut()
        run.redis_proxy.release()
        await asyncio.sleep(0.3)


async def flush_redis(run):
    """FLUSHALL: the workers rebuild everything from the beginning of the log."""
    await run.client.flushall()


async def fill_redis(run):
    """Redis is out of memory, and then has memory again."""
    await run.client.config_set("maxmemory", "1mb")
    await run.health.until_unready()
    await run.client.config_set("maxmemory", "0")


async def busy_redis(run):
    """A script runs without end (BUSY), until it is killed."""
    script = asyncio.create_task(run.client.eval("while true do end", 0))
    await run.health.until_unready()
    with suppress(RedisError):
        await run.client.script_kill()
    await asyncio.wait([script])
    script.exception()


async def hang_redis(run):
    """Redis does nothing for three seconds."""
    await run.client.execute_command("DEBUG", "SLEEP", "3")


async def pause_redis(run):
    """Redis delays all writes (CLIENT PAUSE), as before a failover."""
    await run.client.client_pause(int(LIMIT * 1000), all=False)
    await run.health.until_unready("timeout")
    await run.client.client_unpause()


async def load_redis(run):
    """Redis is restarted, and loads its file slowly (LOADING)."""
    await stop(run.redis)
    run.redis.options += SLOW_LOADING
    loading = asyncio.create_task(start(run.redis))
    await run.health.until_unready("loading")
    await run.client.config_set("key-load-delay", 0)
    await loading
    del run.redis.options[-len(SLOW_LOADING) :]


async def kill_kafka(run):
    """The broker is killed and restarted."""
    run.kafka.kill()
    await run.health.until_none_is_ready("Kafka")
    await start(run.kafka)


async def freeze_kafka(run):
    """The broker is frozen (SIGSTOP) and continued (SIGCONT)."""
    run.kafka.pause()
    await run.health.until_none_is_ready("Kafka")
    run.kafka.resume()


async def refuse_redis(run):
    """Redis refuses the workers' writes (ACL), for so long that it would be a lie to show `live`. They can still read."""
    before = run.verdict.trials["worker"]
    await run.client.execute_command("ACL", "SETUSER", "default", "-eval")
    try:
        await run.health.until_unready()
        await run.until(lambda: run.verdict.trials["worker"] >= before + TRIALS)
    finally:
        await run.client.execute_command("ACL", "SETUSER", "default", "+eval")


async def stop_workers(run):
    """All workers are stopped, for so long that it would be a lie if `status` showed `live`; then they start again."""
    workers, before = run.health.running(), run.verdict.trials["status"]
    statuses = await asyncio.gather(*(worker.stop() for worker in workers))
    run.expect(set(statuses) == {0}, f"workers exited with status {statuses} after SIGTERM")
    await run.until(lambda: run.verdict.trials["status"] > before)
    for _ in workers:
        run.start_worker()


async def large_record(run):
    """A record of more than 1 MiB."""
    await run.sender.plant(run.any_topic(), next(run.large))


async def bomb(run):
    """A record that has a few kilobytes compressed and 48 MiB uncompressed."""
    await run.sender.plant(run.any_topic(), bytes(BOMB), compress=True)


ALL: tuple[Fault, ...] = (
    kill_worker, freeze_worker, lose_replies, rewind_redis, kill_kafka, flush_redis, fill_redis, bomb,
    stop_worker, cut_kafka, cut_redis, half_open_redis, restart_redis, busy_redis, scale, large_record,
    half_open_kafka, hang_redis, blink_kafka, freeze_kafka, pause_redis, load_redis, refuse_redis, stop_workers,
)  # fmt: skip
REWINDING: tuple[Fault, ...] = (rewind_redis, flush_redis)
"""Those after which totals are smaller until what Redis lost is applied again."""
SHORT: tuple[Fault, ...] = (
    kill_worker, lose_replies, rewind_redis, freeze_worker, cut_kafka, flush_redis, fill_redis, kill_kafka, bomb,
)  # fmt: skip
