"""What a seed stands for: how many workers, which events, which faults and when. Plain data, so that it can be made smaller.

Rules: a scenario is a function of its seed. Times are seconds since the beginning. Every fault has an end, and all have ended at `Scenario.quiet`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from zlib import crc32

from faust.types import TP
from simulation.kafka import Log, Record

from stream.simulate.shop import Shop, ShopSettings

CHECKOUT, SUBSCRIPTION = "checkout-events", "subscription-events"
PARTITIONS = 2
START = datetime(2026, 1, 5, 10, tzinfo=UTC)
LENGTH = 36.0
"""Seconds in which faults begin."""


@dataclass(frozen=True, order=True)
class Fault:
    """Something that goes wrong."""

    at: float
    kind: str
    target: int = 0
    """A worker, or a partition, by number."""
    seconds: float = 0.0
    """How long; of `redis loses its tail`, how much."""
    amount: float = 0.0
    """How badly, as the kind has it."""

    def __str__(self) -> str:
        return f"{self.at:8.3f} {self.kind} (target {self.target}, {self.seconds:.3f} s, amount {self.amount:.3f})"


@dataclass(frozen=True)
class Scenario:
    """One run."""

    seed: int
    workers: int
    events: int
    backlog: bool
    """All records are there when the workers begin."""
    faults: tuple[Fault, ...]
    halting: Fault | None = None
    """A fault after which shards must stand still until somebody has looked."""

    @property
    def quiet(self) -> float:
        """When all is well again."""
        lasting = [fault for fault in (*self.faults, self.halting) if fault is not None]
        return max([LENGTH, *(fault.at + (0.0 if fault.kind in REWINDS else fault.seconds) for fault in lasting)]) + 1.0

    def with_faults(self, faults: tuple[Fault, ...]) -> Scenario:
        return replace(self, faults=faults)


KINDS = {
    "worker killed": 3,
    "worker stopped": 2,
    "worker frozen": 3,
    "worker cut from kafka": 2,
    "worker cut from redis": 1,
    "worker added": 1,
    "group rebalanced": 2,
    "redis down": 1,
    "redis frozen": 2,
    "redis refuses": 2,
    "redis loses answers": 2,
    "redis slow": 2,
    "redis loses its tail": 3,
    "redis loses everything": 1,
    "redis clock wrong": 2,
    "kafka away": 1,
    "kafka loses messages or answers": 2,
    "fetches fail": 1,
    "batches lost": 1,
    "log trimmed": 1,
}
"""And how likely each is."""
REWINDS = ("redis loses its tail", "redis loses everything")
HALTING = (
    "log replaced by a longer one",
    "log replaced by a shorter one",
    "unread records deleted",
    "another cluster",
    "state of a newer version",
)
REFUSALS = (
    b"OOM command not allowed when used memory > 'maxmemory'.",
    b"BUSY Redis is busy running a script.",
    b"LOADING Redis is loading the dataset in memory",
    b"MISCONF Redis is configured to save RDB snapshots",
    b"READONLY You can't write against a read only replica.",
    b"NOREPLICAS Not enough good replicas to write.",
)


def scenario(seed: int) -> Scenario:
    """What the seed stands for."""
    dice = Random(f"scenario {seed}")
    workers = dice.choice((1, 2, 2, 3))
    names, weights = list(KINDS), list(KINDS.values())
    # Most seeds know few kinds of faults: their combinations are met more often so.
    known = dice.choices(names, weights, k=dice.choice((2, 3, 4, 20)))
    faults = tuple(sorted(_fault(dice, dice.choice(known), workers) for _ in range(dice.randint(1, 9))))
    halting = None
    if seed % 10 == 9:
        kind = HALTING[seed // 10 % len(HALTING)]
        halting = Fault(LENGTH + 12.0, kind, dice.randrange(2 * PARTITIONS), 15.0, round(dice.random(), 3))
    return Scenario(seed, workers, dice.randint(40, 110), dice.random() < 0.2, faults, halting)


def _fault(dice: Random, kind: str, workers: int) -> Fault:
    at, target = round(dice.uniform(0.0, LENGTH), 3), dice.randrange(workers)
    seconds, amount = round(dice.uniform(0.2, 6.0), 3), round(dice.random(), 3)
    match kind:
        case "worker frozen" | "worker cut from kafka":
            seconds = round(dice.uniform(0.5, 12.0), 3)
        case "redis loses its tail":
            seconds = round(dice.choice((0.01, 1.0, 12.0)) * dice.random(), 3)
        case "redis clock wrong":
            amount = round(dice.uniform(-40.0, 40.0), 3)
        case "log trimmed":
            target = dice.randrange(2 * PARTITIONS)
    return Fault(at, kind, target, seconds, amount)


@dataclass
class Traffic:
    """The records of a scenario: when each is appended, and which are poison."""

    appends: list[tuple[float, TP, Record]]
    logs: dict[TP, Log]
    """As they will be in the end."""
    poison: set[tuple[TP, int]]


def traffic(scenario: Scenario) -> Traffic:
    """A small shop's day: every type of event, repeats, disorder, poison, offsets with gaps."""
    shop = Shop(
        ShopSettings(
            seed=scenario.seed, rate=6.0, customers=12, pace=40.0, month_seconds=20.0, duplicates=0.06, disorder_seconds=6.0,
            poison=0.04, currencies=("EUR", "USD"),
        ),
        START,
    )  # fmt: skip
    dice = Random(f"traffic {scenario.seed}")
    gaps = dice.random() < 0.3
    logs = {TP(topic, number): Log() for topic in (CHECKOUT, SUBSCRIPTION) for number in range(PARTITIONS)}
    made = Traffic([], logs, set())
    for emitted in shop.take(scenario.events):
        partition = TP(CHECKOUT if emitted.topic == "checkout" else SUBSCRIPTION, crc32(emitted.key) % PARTITIONS)
        log = logs[partition]
        at = (emitted.arrival - START).total_seconds()
        record = Record(
            partition.topic,
            log.end + (dice.randrange(3) if gaps else 0),
            emitted.key,
            emitted.value,
            round(emitted.arrival.timestamp() * 1000),
        )
        log.append(record)
        made.appends.append((0.0 if scenario.backlog else min(at, LENGTH), partition, record))
        if emitted.poison is not None:
            made.poison.add((partition, record.offset))
    return made
