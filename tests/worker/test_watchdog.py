"""A process that no longer works ends."""

import asyncio
import subprocess
import sys
from types import SimpleNamespace

import pytest

from stream.core.shard.write_set import ShardId
from stream.tables.interface import TablesUnavailableError
from stream.worker import watchdog as module
from stream.worker.watchdog import StuckError, watch

PROGRAM = """
import asyncio, os, sys, time
from stream.worker.watchdog import Watchdog, end_within

async def main():
    watchdog = Watchdog(0.6)
    watchdog.start()
    await asyncio.sleep(1.0)
    {}
    print("alive", flush=True)

asyncio.run(main())
"""


def run(line):
    command = [sys.executable, "-c", PROGRAM.format(line)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_blocked_event_loop_ends_the_process():
    ended = run("time.sleep(45)")
    assert ended.returncode == 1
    assert "alive" not in ended.stdout
    assert "the event loop was blocked" in ended.stderr
    assert "in main" in ended.stderr  # where it was blocked


def test_a_blocked_event_loop_ends_the_process_also_if_standard_error_is_closed():
    assert run("sys.stderr = None; os.close(2); time.sleep(45)").returncode == 1


def test_an_event_loop_that_is_not_blocked_goes_on():
    ended = run("watchdog.stop()")
    assert (ended.returncode, ended.stdout) == (0, "alive\n")


def test_stopping_must_not_hang():
    ended = run("end_within(0.2); time.sleep(45)")
    assert ended.returncode == 1
    assert "did not stop within" in ended.stderr or "was blocked" in ended.stderr


def test_stopping_in_time_is_fine():
    ended = run("end_within(45).cancel(); watchdog.stop()")
    assert (ended.returncode, ended.stdout) == (0, "alive\n")


async def test_progress_is_watched_and_a_stuck_shard_ends_the_worker(monkeypatch):
    monkeypatch.setattr(module, "WATCH_EVERY", 0.0)
    shards = [ShardId("checkout-events", number) for number in range(3)]
    tasks = {
        shard: SimpleNamespace(lag=lag, oldest_unapplied=lambda: 1.5, is_stuck=lambda seconds: False)
        for shard, lag in zip(shards, (4, 0, None), strict=True)
    }
    lags, ages, ready, flushed = {}, {}, [], []

    async def refuse():
        raise TablesUnavailableError("connection", "cut")

    counters = SimpleNamespace(
        lag=lambda topic, partition, lag: lags.update({(topic, partition): lag}),
        oldest_unapplied=lambda topic, partition, seconds: ages.update({(topic, partition): seconds}),
        ready=ready.append,
    )
    attention = SimpleNamespace(flush=lambda: flushed.append(True))
    status = SimpleNamespace(readiness=lambda: (len(ready) > 0, []))
    watching = asyncio.create_task(
        watch(
            SimpleNamespace(tasks=tasks, register_topics=refuse),
            status,
            SimpleNamespace(refresh=refuse),
            counters,
            attention,
        )
    )
    async with asyncio.timeout(30):
        while len(ready) < 2:  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0)
    assert lags == {shards[0]: 4, shards[1]: 0}
    assert ages == {shards[0]: 1.5, shards[1]: 1.5}
    assert flushed
    assert ready[:2] == [False, True]
    tasks[shards[0]].is_stuck = lambda seconds: True
    with pytest.raises(StuckError, match="4 records are waiting"):
        await asyncio.wait_for(watching, 30)
