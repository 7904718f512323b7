"""A shop in a process of its own: produces at a steady rate. `shop.py SERVERS TOPIC PARTITIONS RATE SECONDS STOCK FILE`.

With 0 SECONDS it makes as many events as STOCK says, and FILE.made; it opens once there is FILE.open, goes on with events made on the way when those are
sold, and closes at SIGTERM. FILE gets, for each record, its partition, its offset and the moment it was handed to the producer (monotonic seconds), as
MessagePack.
"""

import asyncio
import gc
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import uvloop

from bench.broker import producer
from bench.dataset import Record, flow, load, moved

OTHERS = 2
"""Seed of the events made on the way; the backlog's is another."""
CHUNK = 0.005
"""Seconds between two handfuls."""


async def run(
    servers: str, topic: str, partitions: int, rate: float, count: int, records: Iterator[Record]
) -> list[tuple[int, int, float]]:
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
            if handed == count > 0:
                break
            await asyncio.sleep(CHUNK)
    if len(timeline) < handed:
        raise RuntimeError(f"{handed} records sent, {len(timeline)} acknowledged")
    return timeline


def _note(timeline: list[tuple[int, int, float]], moment: float, future: asyncio.Future[Any]) -> None:
    answer = future.result()
    timeline.append((answer.partition, answer.offset, moment))


def stocked(stock: int, file: str) -> Iterator[Record]:
    """Events that were made before the shop opens, with times as if they had not been, and then others. Returns when it opens."""
    made = datetime.now(UTC)
    events = flow(OTHERS, made)
    known = list(islice(events, stock))
    gc.freeze()
    Path(f"{file}.made").touch()
    while not Path(f"{file}.open").exists():
        time.sleep(CHUNK)
    return moved(chain(known, events), datetime.now(UTC) - made)


if __name__ == "__main__":
    servers, topic, partitions, rate, seconds, stock, file = sys.argv[1:]
    count = int(float(rate) * float(seconds))
    records = iter(load(count, checkouts_only=True)) if count else stocked(int(stock), file)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        timeline = runner.run(run(servers, topic, int(partitions), float(rate), count, records))
    Path(file).write_bytes(msgspec.msgpack.encode(timeline))
