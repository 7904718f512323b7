"""Cost of growth: more customers, more partitions, and a worker's HTTP pages at their largest.

Throughput is compared with the first row of the same run. The pages are served by the product's own server, with the figures of 64 shards and as many
labels as the limits allow.
"""

import asyncio
import time
import urllib.request
from statistics import median
from typing import Any, Final

from support.summaries import FakeTables, full

from bench import worker
from bench.broker import fill
from bench.contender import Load
from bench.dataset import load
from bench.results import Results
from bench.servers import kafka, redis
from stream.events.catalogue import EVENT_TYPES
from stream.observe.counters import Counters
from stream.observe.http import HttpServer
from stream.observe.view import View
from stream.settings import Settings

SHAPES: Final = ((10_000, 4), (100_000, 4), (1_000_000, 4), (100_000, 64))
"""Customers, partitions."""
_SCRAPES: Final = 20
_SHARDS: Final = 64


def run(results: Results, *, records: int = 240_000, runs: int = 1) -> None:
    """Print and store the figures."""
    measured: dict[tuple[int, int], list[worker.Run]] = {shape: [] for shape in SHAPES}
    with kafka() as broker, redis() as server:
        servers = broker.bootstrap_servers
        loads = {}
        for customers, partitions in SHAPES:
            events = load(records, customers=customers, checkouts_only=True)
            this = Load(f"bench-{customers}-{partitions}", records, partitions)
            asyncio.run(fill(servers, {"checkout": this.topic}, events, partitions))
            loads[customers, partitions] = this
        for _ in range(runs):
            for shape, this in loads.items():
                outcome = worker.measure(this, servers, server.url, (broker.pid, server.pid))
                measured[shape].append(outcome)
                print(
                    f"  {shape[0]:9,} customers, {shape[1]:2} partitions: {outcome.events_per_second:8,.0f} events/s, "
                    f"worker {outcome.worker_us:.1f} µs, Redis {outcome.redis_us:.1f} µs",
                    flush=True,
                )
    pages = asyncio.run(_pages())
    print(f"  milliseconds, median and worst of {_SCRAPES}: {pages}", flush=True)
    rows = [
        {
            "customers": customers,
            "partitions": partitions,
            "events_per_second": round(median(one.events_per_second for one in outcomes)),
            "worker_us": round(median(one.worker_us for one in outcomes), 1),
            "redis_us": round(median(one.redis_us for one in outcomes), 1),
        }
        for (customers, partitions), outcomes in measured.items()
    ]
    results.note("growth", {"records": records, "rows": rows, "pages_ms": pages})


async def _pages() -> dict[str, Any]:
    """For each page, the median and worst milliseconds, and the size."""
    settings = Settings(http_port=0)
    counters = Counters()
    for kind in EVENT_TYPES:
        for result in ("applied", "duplicate", "stale", "late", "unmatched", "unchanged", "test"):
            counters.event("checkout-events", kind, result)
    tables: Any = FakeTables(full(settings.windows, _SHARDS // 2))
    view = View(tables, settings)
    await view.refresh()
    found: dict[str, Any] = {}
    async with HttpServer(settings, counters, view, lambda: (True, [])) as http:
        for path in ("/metrics", "/api/v1/rates"):
            taken = []
            size = 0
            for _ in range(_SCRAPES):
                began = time.perf_counter()
                size = await asyncio.to_thread(_read, http.url + path)
                taken.append(1000 * (time.perf_counter() - began))
            found[path] = {"median": round(median(taken), 1), "worst": round(max(taken), 1), "kilobytes": size // 1000}
    return found


def _read(url: str) -> int:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return len(answer.read())
