"""Latency from handing a record to the producer until the shard's offset in Redis has passed it.

`run` measures it at steady rates, `catch_up` after an outage: a backlog waits, the shop goes on selling, and the worker starts. The offsets are read
every 2 ms, less often while the worker is far behind. If a worker cannot keep up, its latency grows with the length of the run.
"""

import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice, product
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import msgspec
from redis import Redis
from support.workers import environment

from bench import processor
from bench.broker import fill
from bench.contender import LIMIT, ROOT, BenchError, process
from bench.dataset import RATE, Record, flow, load
from bench.results import Results
from bench.servers import kafka, redis
from bench.worker import COMMAND, Offsets, settings_for

PARTITIONS: Final = 4
OUTAGE_RATE: Final = 3000
_SHOP: Final = ROOT / "bench" / "contenders" / "shop.py"
_POLL: Final = 0.002
"""Seconds between two reads of the offsets."""
_SLOW_POLL: Final = 0.1
"""The same while the worker is far behind."""
_WARM_UP: Final = 4
"""Length of the warm-up in runs. Until the JVM has compiled the broker's code, the compiler takes two thirds of one of two processors."""
_BACKLOG: Final = 60_000
"""Events that a worker applies before the shop opens, so that it is warm as well."""
_SETTLE: Final = 2.0
"""Seconds at the start of a run that are not measured."""
_KEEPING_UP: Final = 10.0
"""A worker keeps up with the shop if it is at most so many seconds behind."""
_STOCK: Final = 1 / 3
"""Events that the shop generates before it opens, as a share of the backlog. Enough until a worker that is four times as fast has caught up."""
_WATCHED: Final = 15.0
"""Seconds that a worker must keep up before the run ends."""
_REPORT: Final = 30.0
"""Seconds between two progress messages."""

Sent = tuple[int, int, float]
"""Partition, offset, monotonic time."""
Seen = tuple[float, list[int]]
"""Monotonic time, and the stored offsets at that time."""


def run(
    results: Results, *, rates: Sequence[int] = (5000, 10_000, 15_000), seconds: float = 10.0, runs: int = 3
) -> None:
    """Print and store the latency at some rates, which take turns."""
    figures: dict[str, list[dict[str, float]]] = {str(rate): [] for rate in rates}
    for count in (*(int(rate * seconds) for rate in rates), int(rates[0] * seconds * _WARM_UP)):
        load(count, checkouts_only=True)  # generates and caches them before the measurement
    with kafka() as broker, redis() as server:
        at = partial(_watch, broker.bootstrap_servers, server.url, backlog=_BACKLOG)
        at(rate=rates[0], seconds=seconds * _WARM_UP)
        for number, rate in product(range(runs), rates):
            sent, seen, _ = at(rate=rate, seconds=seconds)
            settled = sent[0][2] + _SETTLE
            spread = _spread(_latencies([one for one in sent if one[2] >= settled], seen))
            spread["really_per_second"] = round(len(sent) / (sent[-1][2] - sent[0][2]))
            figures[str(rate)].append(spread)
            print(
                f"  {number + 1}/{runs} {rate:6} events/s: {spread}; load of the machine {processor.load():.1f}",
                flush=True,
            )
    results.note("latency", figures)


def catch_up(results: Results, *, backlog: int = 60_000) -> None:
    """Print and store how fast a worker applies a backlog while more events arrive."""
    with kafka() as broker, redis() as server:
        sent, seen, started = _watch(broker.bootstrap_servers, server.url, backlog=backlog, rate=OUTAGE_RATE)
    produced = sorted(moment for _, _, moment in sent)
    first = next(moment for moment, offsets in seen if sum(offsets))
    caught = None
    behind = 0
    for moment, offsets in seen:
        while behind < len(produced) and produced[behind] <= moment:
            behind += 1
        if backlog + behind - sum(offsets) < OUTAGE_RATE / 10:  # a tenth of a second
            caught = moment
            drained = sum(offsets)
            break
    figures: dict[str, Any] = {"backlog": backlog, "rate": OUTAGE_RATE, "caught_up": caught is not None}
    if caught is not None:
        per_second = drained / (caught - first)
        figures |= {
            "events_per_second": round(per_second),
            "times_real_time": round(per_second / OUTAGE_RATE, 1),
            "seconds": round(caught - started, 1),
        }
        after = [one for one in sent if one[2] > caught + 1.0]
        if after:
            figures["latency_after"] = _spread(_latencies(after, seen))
    print(f"  {figures}", flush=True)
    results.note("catch_up", figures)


def _watch(
    servers: str, redis_url: str, *, backlog: int, rate: int, seconds: float = 0.0
) -> tuple[list[Sent], list[Seen], float]:
    """The records sent, the offsets seen, and the time when the worker was started.

    With `seconds`, the worker applies the backlog before the shop opens for that time. Without, it is an outage: the shop sells from the start, until the
    worker has caught up and kept up for a while.
    """
    settings = settings_for(servers, redis_url, checkout_topic=f"bench-live-{secrets.token_hex(4)}")
    topics = {"checkout": settings.checkout_topic}
    opening = datetime.now(UTC) - timedelta(seconds=backlog / RATE)
    with Redis.from_url(redis_url) as client, ExitStack() as stack, tempfile.TemporaryDirectory() as directory:
        offsets = Offsets(client, settings, settings.checkout_topic, PARTITIONS)
        file = Path(directory) / "sent"
        arguments = (servers, settings.checkout_topic, PARTITIONS, rate, seconds, int(backlog * _STOCK), file)
        shop = (sys.executable, _SHOP, *map(str, arguments))
        if not seconds:
            selling, log = stack.enter_context(process(shop))
        asyncio.run(fill(servers, topics, _reported(islice(flow(1, opening), backlog)), PARTITIONS))
        if seconds:
            started = time.monotonic()
            stack.enter_context(process(COMMAND, environment(settings)))
            _until(lambda: offsets.total() >= backlog)
            selling, log = stack.enter_context(process(shop))
            opened = time.monotonic()
        else:
            _until(file.with_suffix(".made").exists)
            file.with_suffix(".open").touch()
            opened = started = time.monotonic()
            stack.enter_context(process(COMMAND, environment(settings)))
        seen: list[Seen] = []
        sent: list[Sent] | None = None
        kept_up_since = reported = opened
        closing = False
        deadline = opened + LIMIT + backlog / rate
        while sent is None or sum(seen[-1][1]) < len(sent) + backlog:
            moment = time.monotonic()
            seen.append((moment, offsets.each()))
            committed = sum(seen[-1][1])
            if moment > deadline or selling.poll() not in (None, 0):
                raise BenchError(f"{committed} committed; the shop:\n{log.read_text(errors='replace')[-2000:]}")
            if sent is None and selling.poll() == 0:
                sent = msgspec.msgpack.decode(file.read_bytes(), type=list[Sent])
            far = backlog + rate * (moment - opened) - committed > rate * _KEEPING_UP
            if far:
                kept_up_since = moment
            if not (seconds or closing) and moment - kept_up_since > _WATCHED:
                closing = True
                selling.terminate()
            if moment - reported > _REPORT:
                reported = moment
                print(f"  {moment - started:.0f} s: {committed:,} committed", flush=True)
            time.sleep(_SLOW_POLL if far else _POLL)
        return sorted(sent, key=lambda one: one[2]), seen, started


def _reported(records: Iterable[Record]) -> Iterator[Record]:
    for number, record in enumerate(records, 1):
        yield record
        if number % 500_000 == 0:
            print(f"  {number:,} events produced", flush=True)


def _until(condition: Any) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"a condition did not hold within {LIMIT:.0f} s")
        time.sleep(_POLL)


def _latencies(sent: Sequence[Sent], seen: Sequence[Seen]) -> list[float]:
    """Seconds until each record's commit was seen."""
    found: list[float] = []
    for partition in range(PARTITIONS):
        own = sorted((offset, moment) for of, offset, moment in sent if of == partition)
        at = 0
        for offset, moment in own:
            while seen[at][1][partition] <= offset:
                at += 1
            found.append(seen[at][0] - moment)
    return found


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    cuts = quantiles(seconds, n=100)
    return {"p50_ms": round(1000 * median(seconds), 1), "p99_ms": round(1000 * cuts[98], 1)}
