"""A shop in a process of its own: produces at a steady rate. `shop.py SERVERS TOPIC PARTITIONS RATE SECONDS FILE`.

FILE gets, for each record, its partition, its offset and the moment it was handed to the producer (monotonic seconds), as MessagePack.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import uvloop

from bench.broker import producer
from bench.dataset import load

CHUNK = 0.005
"""Seconds between two handfuls."""


async def run(servers: str, topic: str, partitions: int, rate: float, seconds: float) -> list[tuple[int, int, float]]:
    records = load(int(rate * seconds), checkouts_only=True)
    sent: list[tuple[float, asyncio.Future[Any]]] = []
    async with producer(servers) as sender:
        began = time.monotonic()
        while len(sent) < len(records):
            due = min(len(records), int((time.monotonic() - began) * rate))
            for _, key, value in records[len(sent) : due]:
                moment = time.monotonic()
                sent.append((moment, await sender.send(topic, value, key=key, partition=crc32(key) % partitions)))
            await asyncio.sleep(CHUNK)
        answers = await asyncio.gather(*[future for _, future in sent])
    return [(answer.partition, answer.offset, moment) for (moment, _), answer in zip(sent, answers, strict=True)]


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        servers, topic, partitions, rate, seconds, file = sys.argv[1:]
        timeline = runner.run(run(servers, topic, int(partitions), float(rate), float(seconds)))
    Path(file).write_bytes(msgspec.msgpack.encode(timeline))
