"""What a seed stands for: how many workers, which events, which faults and when. Plain data, so that it can be made smaller.

Rules: a scenario is a function of its seed. Times are seconds since the beginning. Every fault has an end, and all have ended at `Scenario.quiet`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
from faust.types import TP
from simulation.kafka import Log, Record

from stream.cli.forget import erasure
from stream.settings import Settings
from stream.simulate.record import Emitted
from stream.simulate.shop import Shop, ShopSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT, SUBSCRIPTION = "checkout-events", "subscription-events"
PARTITIONS = 2
START = datetime(2026, 1, 5, 10, tzinfo=UTC)
LENGTH = 18.0
"""Seconds in which faults begin."""
HASTE = 43_200.0
"""Seconds of the shop's time, and of Redis', in one of a scenario in which days pass."""
SETTINGS = Settings(
    _env_file=None, app_id="simulated", redis_timeout=1.5, windows=("1m", "1h"), cache_mb=1, time_zone="Asia/Kathmandu"
)
HASTY_SETTINGS = SETTINGS.model_copy(
    update={"windows": ("6h", "2d"), "lateness_hours": 12, "checkout_retention_days": 0.5, "subscription_retention_days": 1}
)  # fmt: skip


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
    erasures: int = 0
    """Times that a customer asks to be forgotten."""
    late: int = 0
    """Events that come days after others of their checkout or subscription, which may be forgotten by then."""
    haste: float = 1.0
    """Seconds of the shop's time, and of Redis', in one of the world's: 1, or `HASTE`, in which entities and customers expire."""

    @property
    def settings(self) -> Settings:
        """The workers'."""
        return SETTINGS if self.haste == 1.0 else HASTY_SETTINGS

    @property
    def quiet(self) -> float:
        """When all faults end."""
        lasting = [fault for fault in (*self.faults, self.halting) if fault is not None]
        return max([LENGTH, *(fault.at + (0.0 if fault.kind in REWINDS else fault.seconds) for fault in lasting)]) + 1.0


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
    # Most seeds have few kinds of faults, so combinations of the same kinds are more frequent.
    known = dice.choices(names, weights, k=dice.choice((2, 3, 4, 20)))
    faults = tuple(sorted(_fault(dice, dice.choice(known), workers) for _ in range(dice.randint(1, 9))))
    halting = None
    if seed % 10 == 9:
        kind = HALTING[seed // 10 % len(HALTING)]
        halting = Fault(LENGTH + 12.0, kind, dice.randrange(2 * PARTITIONS), 15.0, round(dice.random(), 3))
    events, backlog = dice.randint(30, 80), dice.random() < 0.2
    erasures = dice.randint(1, 6) if dice.random() < 0.5 else 0
    # A shard that is halted forgets nothing any more: what must be gone from the others may be there.
    haste = HASTE if halting is None and dice.random() < 0.25 else 1.0
    # Where Redis' clock is wrong, what is forgotten is a matter of when an event is applied.
    right = all(fault.kind != "redis clock wrong" for fault in faults)
    late = dice.randint(1, 20) if haste != 1.0 and right else 0
    return Scenario(seed, workers, events, backlog, faults, halting, erasures, late, haste)


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
    """A small shop's day, or nine: every type of event, repeats, disorder, poison, offsets with gaps, customers who ask to be forgotten."""
    haste = scenario.haste
    shop = Shop(
        ShopSettings(
            seed=scenario.seed, rate=8.0 / haste, customers=12, pace=60.0 / haste, month_seconds=10.0 * haste, duplicates=0.06,
            disorder_seconds=3.0 if haste == 1.0 else haste, poison=0.04, currencies=("EUR", "USD"),
        ),
        START,
    )  # fmt: skip
    dice = Random(f"traffic {scenario.seed}")
    gaps = dice.random() < 0.3
    logs = {TP(topic, number): Log() for topic in (CHECKOUT, SUBSCRIPTION) for number in range(PARTITIONS)}
    made = Traffic([], logs, set())
    emitted = list(shop.take(scenario.events))
    sent = [
        (each.arrival, TP(CHECKOUT if each.topic == "checkout" else SUBSCRIPTION, crc32(each.key) % PARTITIONS), each)
        for each in emitted
    ]
    sent.extend(_erasures(scenario, emitted))
    sent.extend(_late(scenario, emitted))
    for arrival, partition, each in sorted(sent, key=lambda one: one[0]):
        log = logs[partition]
        record = Record(
            partition.topic,
            log.end + (dice.randrange(3) if gaps else 0),
            each.key,
            each.value,
            round(arrival.timestamp() * 1000),
        )
        log.append(record)
        at = (arrival - START).total_seconds() / haste
        made.appends.append((0.0 if scenario.backlog else min(at, LENGTH), partition, record))
        if each.poison is not None:
            made.poison.add((partition, record.offset))
    return made


def _erasures(scenario: Scenario, emitted: list[Emitted]) -> Iterator[tuple[datetime, TP, Emitted]]:
    """What `upsell-stream forget` sends, to every partition of both topics: before, between and after what else the customer does; also twice."""
    dice = Random(f"erasures {scenario.seed}")
    names = [name for each in emitted if each.poison is None and (name := _customer(each.value))]
    end = max(each.arrival for each in emitted)
    for number in range(scenario.erasures if names else 0):
        customer = dice.choice(names)
        time = START + (end - START) * min(1.0, dice.uniform(0.0, 1.5))
        value = erasure(customer, "simulated", f"erasure {number}", time)
        for _ in range(dice.choice((1, 1, 2))):
            for topic in (CHECKOUT, SUBSCRIPTION):
                for partition in range(PARTITIONS):
                    # A repeat that comes later than an entity is remembered would be another erasure.
                    arrival = time + timedelta(seconds=scenario.haste * dice.uniform(0.001, 1.0))
                    yield arrival, TP(topic, partition), Emitted("checkout", customer.encode(), value, time, arrival)


def _late(scenario: Scenario, emitted: list[Emitted]) -> Iterator[tuple[datetime, TP, Emitted]]:
    """Further events of the time of others, that come days later. Identities of their own: a repeat of what is forgotten would tell two things under one id."""
    dice = Random(f"late {scenario.seed}")
    sound = [each for each in emitted if each.poison is None]
    for number in range(scenario.late):
        each = dice.choice(sound)
        event = msgspec.json.decode(each.value)
        value = msgspec.json.encode(event | {"id": f"late {number}"})
        topic = CHECKOUT if each.topic == "checkout" else SUBSCRIPTION
        arrival = each.arrival + timedelta(days=dice.uniform(0.5, 5.0))
        late = Emitted(each.topic, each.key, value, each.time, arrival)
        yield arrival, TP(topic, crc32(each.key) % PARTITIONS), late


def _customer(value: bytes) -> str | None:
    data = msgspec.json.decode(value)["data"]
    name: str | None = data.get("customer_id") or data.get("anonymous_id")
    return name
