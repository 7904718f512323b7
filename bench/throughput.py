"""Throughput and processor time per event of our worker, of the alternatives, and of the floors, with the same events in the same topics.

Contenders take turns, so that other work of the machine affects all of them. A slow contender gets fewer events (the first ones). A quarter of the events
is the warm-up. Kafka Streams is not warm with 120,000 events, so there are more.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from statistics import median
from typing import Any, Final, NamedTuple

from bench import peers, processor, worker
from bench.broker import fill
from bench.contender import ROOT, BenchError, Load, Run, measure_peer
from bench.dataset import load, planted
from bench.results import Results
from bench.servers import kafka, redis

PARTITIONS: Final = 4
_FLOOR: Final = (sys.executable, ROOT / "bench" / "contenders" / "floor.py")


class Contender(NamedTuple):
    """A program to measure."""

    name: str
    share: float
    """Share of the events that it gets."""
    measure: Callable[[Load], Run]
    judges: bool = True
    """Whether its counts are compared with the correct ones."""


def run(results: Results, *, records: int = 480_000, runs: int = 3, only: Sequence[str] = ()) -> None:
    """Print and store the comparison."""
    events = load(records, checkouts_only=True)
    with kafka() as broker, redis() as server:
        pids = (broker.pid, server.pid)
        everyone = _contenders(broker.bootstrap_servers, server.url, pids)
        taking_part = [one for one in everyone if not only or any(one.name.startswith(name) for name in only)]
        loads: dict[float, tuple[Load, dict[str, int]]] = {}
        for share in {one.share for one in taking_part}:
            count = int(records * share)
            this = Load(f"bench-{count}", count, PARTITIONS)
            print(f"producing {count} events …", flush=True)
            asyncio.run(fill(broker.bootstrap_servers, {"checkout": this.topic}, events[:count], PARTITIONS))
            figures = planted(events[:count])
            loads[share] = this, {"transactions": figures["transactions"], **figures["kind_transactions"]}
        measured: dict[str, list[Run]] = defaultdict(list)
        wrong: set[str] = set()
        for number in range(runs):
            for one in taking_part:
                this, expected = loads[one.share]
                try:
                    outcome = one.measure(this)
                except BenchError as error:
                    print(f"  {one.name}: failed: {error}", flush=True)
                    continue
                measured[one.name].append(outcome)
                if one.judges and outcome.result != expected:
                    wrong.add(one.name)
                    print(f"  {one.name}: counted {outcome.result}, not {expected}", flush=True)
                print(
                    f"  {number + 1}/{runs} {one.name:44} {outcome.events_per_second:9,.0f} events/s, µs an event: contender {outcome.worker_us:6.1f}, "
                    f"Redis {outcome.redis_us:5.1f}, broker {outcome.broker_us:5.1f} {_threads(outcome)}",
                    flush=True,
                )
    results.note("throughput", _summary(records, measured, {one.name: one.share for one in taking_part}, wrong))


def _contenders(servers: str, redis_url: str, pids: tuple[int, int]) -> list[Contender]:
    broker = pids[0]
    ours = partial(worker.measure, bootstrap_servers=servers, redis_url=redis_url, pids=pids)
    floors = {"fetch": "aiokafka getmany", "msgspec": "getmany, msgspec structs", "decode": "getmany, our decoder"}
    return [
        Contender("upsell-stream", 1.0, ours),
        Contender("upsell-stream, two workers", 1.0, partial(ours, workers=2)),
        *(
            Contender(
                name,
                peer.share,
                partial(measure_peer, peer.command(servers), broker=broker, environment=peer.environment),
            )
            for name, peer in peers.available().items()
        ),
        *(
            Contender(
                f"floor: {name}", 1.0, partial(measure_peer, (*_FLOOR, how, servers), broker=broker), judges=False
            )
            for how, name in floors.items()
        ),
    ]


def _threads(outcome: Run) -> str:
    return "".join(f"; {name} {spent:.1f}" for name, spent in outcome.threads_us.items())


def _summary(records: int, measured: dict[str, list[Run]], shares: dict[str, float], wrong: set[str]) -> dict[str, Any]:
    return {
        "records": records,
        "partitions": PARTITIONS,
        "load": round(processor.load(), 1),
        "contenders": {
            name: {
                "records": int(records * shares[name]),
                "events_per_second": round(median(run.events_per_second for run in runs)),
                "runs": [{**asdict(run), "events_per_second": round(run.events_per_second)} for run in runs],
                **{
                    part: round(median(getattr(run, part) for run in runs), 1)
                    for part in ("worker_us", "redis_us", "broker_us")
                },
                "right": name not in wrong,
            }
            for name, runs in measured.items()
        },
    }
