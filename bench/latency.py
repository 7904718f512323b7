"""How soon a sale shows: from handing a record to the producer until the shard's offset in Redis has passed it.

`run` measures it at steady rates, `catch_up` after an outage: a backlog waits while the shop goes on selling, and the worker starts. The offsets are
looked at every 2 ms, less often while the worker is far behind. A worker that cannot keep up shows a latency that grows with the length of the run.
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
_LOOK: Final = 0.002
_GLANCE: Final = 0.1
"""The same, while the worker is far behind."""
_WARM_UP: Final = 4
"""Length of the warm-up, in runs: a young broker has its code compiled, which takes two thirds of one processor of two."""
_BACKLOG: Final = 60_000
"""Events that a worker works off before the shop opens, so that it is not young either."""
_SETTLE: Final = 2.0
"""Seconds at the beginning of a run that are not counted."""
_NEAR: Final = 10.0
"""Seconds behind the shop within which a worker keeps up with it."""
_STOCK: Final = 1 / 3
"""Of the backlog: what the shop makes before it opens. It lasts until a worker has caught up that is four times as fast as the shop."""
_CALM: Final = 15.0
"""Seconds that it is watched keeping up."""
_TELL: Final = 30.0
"""Seconds between two words on how far it is."""

Sent = tuple[int, int, float]
"""Partition, offset, monotonic moment."""
Seen = tuple[float, list[int]]
"""Monotonic moment, and the offsets that were stored then."""


def run(
    results: Results, *, rates: Sequence[int] = (5000, 10_000, 15_000), seconds: float = 10.0, runs: int = 3
) -> None:
    """Print and note the latency at some rates, which take turns."""
    figures: dict[str, list[dict[str, float]]] = {str(rate): [] for rate in rates}
    for count in (*(int(rate * seconds) for rate in rates), int(rates[0] * seconds * _WARM_UP)):
        load(count, checkouts_only=True)  # made before anything runs
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
    """Print and note how fast a backlog is worked off while more comes in."""
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
    """What was sent, what was seen, and when the worker was started.

    With `seconds` the worker works the backlog off before the shop opens for so long. Without, there was an outage: the shop sells all along, until the
    worker has caught up and has kept up for a while.
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
        asyncio.run(fill(servers, topics, _told(islice(flow(1, opening), backlog)), PARTITIONS))
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
        kept_up_since = told = opened
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
            far = backlog + rate * (moment - opened) - committed > rate * _NEAR
            if far:
                kept_up_since = moment
            if not (seconds or closing) and moment - kept_up_since > _CALM:
                closing = True
                selling.terminate()
            if moment - told > _TELL:
                told = moment
                print(f"  {moment - started:.0f} s: {committed:,} committed", flush=True)
            time.sleep(_GLANCE if far else _LOOK)
        return sorted(sent, key=lambda one: one[2]), seen, started


def _told(records: Iterable[Record]) -> Iterator[Record]:
    for number, record in enumerate(records, 1):
        yield record
        if number % 500_000 == 0:
            print(f"  {number:,} events produced", flush=True)


def _until(condition: Any) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError("waited in vain")
        time.sleep(_LOOK)


def _latencies(sent: Sequence[Sent], seen: Sequence[Seen]) -> list[float]:
    """Seconds until each record was seen to be committed."""
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
