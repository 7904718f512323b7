"""A shop in its own process, which produces events at a steady rate. `shop.py SERVERS TOPIC PARTITIONS RATE SECONDS STOCK FILE`.

With 0 SECONDS it generates STOCK events, creates FILE.made, waits for FILE.open, and sends; after the stock it generates further events on demand, until
SIGTERM. At the end it writes to FILE, as MessagePack, the partition and offset of each record and the time it was handed to the producer (monotonic seconds).
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

SEED = 2
"""Differs from the backlog's."""
PAUSE = 0.005
"""Seconds between two groups of events."""


async def run(
    servers: str, topic: str, partitions: int, rate: float, count: int, records: Iterator[Record]
) -> list[tuple[int, int, float]]:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    timeline: list[tuple[int, int, float]] = []
    handed = 0
    async with producer(servers) as sender:
        began = time.monotonic()
        while not stopped.is_set():
            due = int((time.monotonic() - began) * rate) - handed
            for _, key, value in islice(records, due):
                moment = time.monotonic()
                future = await sender.send(topic, value, key=key, partition=crc32(key) % partitions)
                future.add_done_callback(partial(_note, timeline, moment))
                handed += 1
            if handed == count > 0:
                break
            await asyncio.sleep(PAUSE)
    if len(timeline) < handed:
        raise RuntimeError(f"{handed} records sent, {len(timeline)} acknowledged")
    return timeline


def _note(timeline: list[tuple[int, int, float]], moment: float, future: asyncio.Future[Any]) -> None:
    answer = future.result()
    timeline.append((answer.partition, answer.offset, moment))


def stocked(stock: int, file: str) -> Iterator[Record]:
    """Generate `stock` events, wait until the shop opens, and return them, followed by further ones, with times from the opening on."""
    made = datetime.now(UTC)
    events = flow(SEED, made)
    known = list(islice(events, stock))
    gc.freeze()
    Path(f"{file}.made").touch()
    while not Path(f"{file}.open").exists():
        time.sleep(PAUSE)
    return moved(chain(known, events), datetime.now(UTC) - made)


if __name__ == "__main__":
    servers, topic, partitions, rate, seconds, stock, file = sys.argv[1:]
    count = int(float(rate) * float(seconds))
    records = iter(load(count, checkouts_only=True)) if count else stocked(int(stock), file)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        timeline = runner.run(run(servers, topic, int(partitions), float(rate), count, records))
    Path(file).write_bytes(msgspec.msgpack.encode(timeline))
