"""Memory of a worker and of Redis with many open checkouts of two lines, and the memory in Redis per active customer.

Every checkout has its own customer. First all checkouts are started, then some are completed, which adds their customers to Redis.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from redis import Redis
from support.workers import environment

from bench import processor
from bench.broker import fill
from bench.contender import LIMIT, BenchError, process
from bench.dataset import Record
from bench.results import Results
from bench.servers import kafka, redis
from bench.worker import COMMAND, Offsets, settings_for

PARTITIONS = 4
ACTIVE = 20_000
"""Customers who complete an order."""
_CHUNK = 100_000


def run(results: Results, *, checkouts: int = 1_000_000) -> None:
    """Print and store the figures."""
    active = min(ACTIVE, checkouts // 4)
    with kafka() as broker, redis() as server, Redis.from_url(server.url) as client:
        settings = settings_for(broker.bootstrap_servers, server.url)
        topics = {"checkout": settings.checkout_topic}
        offsets = Offsets(client, settings, settings.checkout_topic, PARTITIONS)
        asyncio.run(fill(broker.bootstrap_servers, topics, [], PARTITIONS))
        before = client.info("memory")["used_memory"]
        with process(COMMAND, environment(settings)) as (worker, log):

            def until(total: int) -> None:
                committed, moved = 0, time.monotonic()
                while committed < total:
                    now = offsets.total()
                    if now > committed:
                        committed, moved = now, time.monotonic()
                    if time.monotonic() - moved > LIMIT:
                        raise BenchError(log.read_text(errors="replace")[-3000:])
                    time.sleep(0.05)

            for begin in range(0, checkouts, _CHUNK):
                end = min(checkouts, begin + _CHUNK)
                asyncio.run(fill(broker.bootstrap_servers, topics, list(_events("started", begin, end)), PARTITIONS))
                until(end)
                print(f"  {end} open, worker {processor.resident(worker.pid) / 1e6:.0f} MB", flush=True)
            resident = processor.resident(worker.pid)
            opened = client.info("memory")["used_memory"]
            asyncio.run(fill(broker.bootstrap_servers, topics, list(_events("completed", 0, active)), PARTITIONS))
            until(checkouts + active)
            ordered = client.info("memory")["used_memory"]
            of_customers = sum(
                client.memory_usage(name, samples=0) or 0
                for name in client.scan_iter(count=1000)
                if b"customer" in name or b"}:set:" in name
            )
    figures = {
        "checkouts": checkouts,
        "cache_mb": settings.cache_mb,
        "worker_mb": round(resident / 1e6),
        "redis_bytes_a_checkout": round((opened - before) / checkouts),
        "redis_bytes_a_customer": round(of_customers / active),
        "redis_bytes_an_order_all_in_all": round((ordered - opened) / active),
    }
    print(f"  {figures}", flush=True)
    results.note("memory", figures)


def _events(what: str, begin: int, end: int) -> Iterator[Record]:
    time_of_all = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    kind = "checkout.started" if what == "started" else "order.completed"
    for number in range(begin, end):
        data = {
            "checkout_id": f"checkout-{number:010}",
            "customer_id": f"customer-{number:010}",
            "channel": "web",
            "segment": "consumer",
            "currency": "EUR",
            "products": [
                {"sku": f"SKU-{number % 500:05}", "product_id": f"P-{number % 100:04}", "category": "shoes", "quantity": 1, "price": "59.90"},
                {"sku": f"SKU-{number % 700:05}-B", "product_id": f"Q-{number % 90:04}", "category": "socks", "quantity": 2, "price": "7.50"},
            ],
        }  # fmt: skip
        event = {
            "specversion": "1.0", "id": f"{what}-{number:010}", "source": "/shop/bench", "type": f"commerce.{kind}.v1",
            "time": time_of_all, "subject": f"checkout/checkout-{number:010}", "data": data,
        }  # fmt: skip
        yield Record("checkout", f"customer-{number:010}".encode(), json.dumps(event).encode())
