"""The floors: the cost of aiokafka alone, and of decoding. `floor.py HOW SERVERS TOPIC RECORDS WARM-UP`.

HOW is `fetch` (only getmany), `decode` (with the product's decoder) or `msgspec` (to structs with the fields that are used, without validation).
"""

import asyncio
import json
import sys
from typing import Any

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.events.decode import Decoder

PARTITIONS = 4


class Line(msgspec.Struct):
    sku: str | None = None
    product_id: str | None = None
    quantity: int = 0
    price: str = "0"
    category: str | None = None
    discount: str | None = None
    replaces: str | None = None


class Cart(msgspec.Struct):
    checkout_id: str
    currency: str
    customer_id: str | None = None
    channel: str | None = None
    segment: str | None = None
    products: list[Line] | None = None


class Envelope(msgspec.Struct):
    id: str
    type: str
    time: str
    data: Cart


async def run(how: str, servers: str, topic: str, records: int, warm: int) -> None:
    decoder = Decoder({topic: "checkout"}, 600_000_000)
    structs = msgspec.json.Decoder(Envelope)
    async with AIOKafkaConsumer(
        bootstrap_servers=servers, auto_offset_reset="earliest", enable_auto_commit=False
    ) as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
        seen = 0
        while seen < records:
            fetched: dict[Any, list[Any]] = await consumer.getmany(timeout_ms=500, max_records=1000)
            before = seen
            for batch in fetched.values():
                seen += len(batch)
                for record in batch:
                    if how == "decode":
                        decoder.decode(record)
                    elif how == "msgspec":
                        structs.decode(record.value)
                    else:
                        break
            if before < warm <= seen:
                print(json.dumps({"records": warm}), flush=True)
        print(json.dumps({"records": records}), flush=True)
        print(json.dumps({"result": {}}), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        how, servers, topic, records, warm = sys.argv[1:]
        runner.run(run(how, servers, topic, int(records), int(warm)))
