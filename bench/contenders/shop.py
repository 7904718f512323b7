"""A shop in a process of its own: produces at a steady rate. `shop.py SERVERS TOPIC PARTITIONS RATE SECONDS FILE`.

With 0 SECONDS it makes its events as it goes, until SIGTERM. FILE gets, for each record, its partition, its offset and the moment it was handed to the
producer (monotonic seconds), as MessagePack.
"""

import asyncio
import signal
import sys
import time
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import uvloop

from bench.broker import producer
from bench.dataset import flow, load

OTHERS = 2
"""Seed of the events made on the way; the backlog's is another."""
CHUNK = 0.005
"""Seconds between two handfuls."""


async def run(servers: str, topic: str, partitions: int, rate: float, seconds: float) -> list[tuple[int, int, float]]:
    known = load(int(rate * seconds), checkouts_only=True) if seconds else []
    records = iter(known) if seconds else flow(OTHERS, datetime.now(UTC))
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    timeline: list[tuple[int, int, float]] = []
    handed = 0
    async with producer(servers) as sender:
        began = time.monotonic()
        while not told.is_set():
            due = int((time.monotonic() - began) * rate) - handed
            for _, key, value in islice(records, due):
                moment = time.monotonic()
                future = await sender.send(topic, value, key=key, partition=crc32(key) % partitions)
                future.add_done_callback(partial(_note, timeline, moment))
                handed += 1
            if seconds and handed == len(known):
                break
            await asyncio.sleep(CHUNK)
    if len(timeline) < handed:
        raise RuntimeError(f"{handed} records sent, {len(timeline)} acknowledged")
    return timeline


def _note(timeline: list[tuple[int, int, float]], moment: float, future: asyncio.Future[Any]) -> None:
    answer = future.result()
    timeline.append((answer.partition, answer.offset, moment))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        servers, topic, partitions, rate, seconds, file = sys.argv[1:]
        timeline = runner.run(run(servers, topic, int(partitions), float(rate), float(seconds)))
    Path(file).write_bytes(msgspec.msgpack.encode(timeline))
