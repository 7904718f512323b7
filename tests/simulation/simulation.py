"""One seed from beginning to end: the scenario is carried out, then all that is stored and published is compared with the pure answer.

The pure answer is that of the same core, run over each partition in one piece, without Kafka, Redis, workers or time (`stream.core.offline`).
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec
from faust.types import TP
from simulation import kafka
from simulation.redis_server import Judge, Redis
from simulation.scenario import CHECKOUT, REFUSALS, REWINDS, SETTINGS, SUBSCRIPTION, Fault, Scenario, traffic
from simulation.worker import Worker
from simulation.world import World

from stream.consumer import batch_consumer
from stream.core.config import DAY, STEP
from stream.core.counting.figures import Figures, ShardFigures
from stream.core.counting.history import Table
from stream.core.counting.summary import decode_recent, decode_summary
from stream.core.entities.customer import Customer, member
from stream.core.event import ErasedEvent, OfferEvent
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline, _figures
from stream.core.shard import event_time
from stream.core.shard.past import decode_days, decode_past
from stream.core.shard.write_set import ShardId, StoredHistory
from stream.events.decode import Decoder, Rejected
from stream.events.outcome import outcome_event
from stream.kafka import producer as publish
from stream.tables.interface import EXPIRY_PARTS
from stream.tables.keys import Buckets, Keys, ShardKeys
from stream.tables.redis import _counts
from stream.worker import clock, pipeline, retry, session, shard_set, shard_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from simulation.kafka import Log

    from stream.core.counting.history import Step
    from stream.core.entities.tally import Tallies
    from stream.settings import Settings

KEYS = Keys(SETTINGS.redis_prefix, SETTINGS.app_id)
AHEAD = 100 * DAY
"""In place of the product's: in haste Redis' clock jumps by a day, and a backlog is days ahead of it."""
DRAIN = 60.0
"""Seconds after the last fault in which everything must be applied."""
_customer = msgspec.msgpack.Decoder(Customer).decode
_decoder = Decoder({CHECKOUT: "checkout", SUBSCRIPTION: "subscription"}, SETTINGS.future)


@dataclass
class Report:
    """What became of a seed."""

    scenario: Scenario
    problems: list[str]
    trace: list[str]
    faults: Counter[str]
    events: int = 0
    commits: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """What the workers counted, and how much was forgotten in the end."""
    seconds: float = 0.0
    """Of virtual time."""


class _Pure:
    """What the records of one partition below an offset lead to, with the windows at a moment.

    Nothing is removed while they are applied, and what is forgotten is not found all the same; what may be removed in the end is left out of what
    must be stored then. `forgotten`, where it is given, is what was forgotten in the end, and nothing came too late.
    """

    def __init__(
        self, settings: Settings, partition: TP, log: Log, as_of: int, before: int, forgotten: int | None
    ) -> None:
        self.outcomes: dict[int, list[bytes]] = {}
        """Offset of a record -> the outcomes that it leads to."""
        self.erased: set[str] = set()
        """Customers who asked to be forgotten, and did nothing since. A repeat is not another wish: it leaves alone who came back."""
        asked: set[tuple[str, str]] = set()
        core = settings.core()
        offline = Offline(core, LabelRegistry(), as_of, forget=forgotten is None)
        for record in log.records:
            if record.offset >= before or isinstance(event := _decoder.decode(record), Rejected):
                continue
            step = offline.apply(event)
            self.outcomes[record.offset] = [
                outcome_event(version, settings.app_id) for version in step.versions if version.publish
            ]
            if isinstance(event, OfferEvent):
                continue  # it names no customer
            if not isinstance(event, ErasedEvent):
                self.erased.discard(event.customer)
            elif (event.id, event.customer) not in asked:
                asked.add((event.id, event.customer))
                self.erased.add(event.customer)
        shard = offline._shards["checkout" if partition.topic == CHECKOUT else "subscription"]
        self.figures = _figures(shard)
        self.past = shard.past()
        self.days = shard.days()
        after = as_of - core.horizon
        self.sets = {
            name: kept
            for name, scores in shard.scores().items()
            if (kept := {who: score for who, score in scores.items() if score is not None and score > after})
        }
        changes = shard.drain()
        old = shard._time.watermark if forgotten is None else forgotten
        self.expired = old, min(old, as_of)
        """Entities and customers whose expiry lies before may be removed."""
        self.entity_expiry = {
            key: expiry for key, expiry in changes.entity_expiry.items() if expiry is not None and expiry >= old
        }
        self.entities = {
            key: data for key, data in changes.entities.items() if (changes.entity_expiry.get(key) or old) >= old
        }
        self._purchased_after = after
        self.customers = self.lasting(changes.customers)
        self.forgotten = Counter(
            {
                "entities forgotten": len(changes.entities) - len(self.entities),
                "customers forgotten": sum(data is not None for data in changes.customers.values())
                - len(self.customers),
            }
        )

    def lasting(self, customers: Mapping[bytes, bytes | None]) -> dict[bytes, Customer]:
        """Customers without what may be forgotten of them: how much of that is still there is a matter of when they were last touched."""
        entities, records = self.expired
        kept = {}
        for who, data in customers.items():
            if data is None:
                continue
            customer = _customer(data)
            customer.purchases = [each for each in customer.purchases if each.time > self._purchased_after]
            customer.entities = {
                name: day for name, day in customer.entities.items() if not day or day * DAY >= entities
            }
            customer.erasure = customer.erasure if customer.erasure * DAY >= records else 0
            if not customer.empty:
                kept[who] = customer
        return kept


class _Commits(Judge):
    """Remembers how much was published at each commit, and until where it went."""

    def __init__(self) -> None:
        self.applied: list[tuple[bytes, int, int, int]] = []
        """Shard, start, end, messages written by then."""
        self.heads: dict[bytes, int] = {}
        """Shard -> where its windows stood at most."""
        self.broker: kafka.Broker
        self.head: Callable[[bytes], int]
        """Where a shard's windows stand."""

    def on_commit(self, shard: bytes, start: int | None, end: int | None) -> None:
        self.heads[shard] = max(self.heads.get(shard, 0), self.head(shard))
        if end is not None:
            self.applied.append((shard, start or 0, end, len(self.broker.written)))


class Simulation:
    """The world of one scenario."""

    def __init__(self, scenario: Scenario, *, tracing: bool = False) -> None:
        self.scenario = scenario
        self.world = World(scenario.seed, tracing=tracing)
        self.traffic = traffic(scenario)
        self.keys = {partition: KEYS.shard(ShardId(*partition)) for partition in self.traffic.logs}
        self.partition_of = {keys.shard: partition for partition, keys in self.keys.items()}
        self.commits = _Commits()
        self.redis = Redis(self.world, self.commits, scenario.haste)
        self.broker = kafka.Broker(self.world, {partition: log.end for partition, log in self.traffic.logs.items()})
        self.commits.broker, self.commits.head = self.broker, self._head
        self.faults: Counter[str] = Counter()
        self.workers: dict[int, Worker] = {}
        self.everyone: list[Worker] = []
        self.cluster = "cluster"
        self.doomed: set[TP] = set()
        """Partitions that must be halted in the end."""
        self.forgotten: Counter[str] = Counter()
        self._next_worker = 0
        self._fetch_errors = self._losing = 0.0

    # Carrying out

    def run(self) -> Report:
        """All of it."""
        world, scenario = self.world, self.scenario
        with _patched(world):
            try:
                for at, partition, record in self.traffic.appends:
                    world.after(at, lambda partition=partition, record=record: self._append(partition, record))
                for place in range(scenario.workers):
                    world.after(world.random.uniform(0.0, 0.5), lambda place=place: self._start(place))
                for fault in (*scenario.faults, *((scenario.halting,) if scenario.halting else ())):
                    if fault.kind == "redis loses its tail":
                        self._remember(fault)
                    world.after(fault.at, lambda fault=fault: self._inject(fault))
                begin = world.now
                world.run(lambda: False, begin + scenario.quiet)
                self._end_faults()
                self._drain()
                if scenario.haste != 1.0:
                    # Each commit searches a part of what may have expired, and removes what it finds.
                    for _ in range(2 * EXPIRY_PARTS):
                        self._stand(max(view.summary.at for view in map(self._view, self.keys) if view is not None))
                        self._drain()
                if not world.problems:
                    self._compare()
            finally:
                self._dispose()
        return Report(
            scenario, world.problems, world.trace, self.faults, len(self.traffic.appends), self.redis.commits,
            self.forgotten
            + Counter(
                {name: sum(worker.counters.counts.get(name, 0) for worker in self.everyone) for name in ("fenced", "commit_failure", "commit", "halted")}
            ),
            world.now - begin,
        )  # fmt: skip

    def _drain(self) -> None:
        if self.world.problems or self.world.run(self._is_done, self.world.now + DRAIN):
            return
        if self.redis.stands_at is not None:
            # Who lost a shard, and got it back, meets that with its next tick, which there is none while time stands still.
            self.redis.stands_at += STEP
            if self.world.run(self._is_done, self.world.now + DRAIN):
                return
        self.world.problem(f"not everything was applied in time: {self._standing()}")

    def _append(self, partition: TP, record: kafka.Record) -> None:
        if partition not in self.doomed or self.broker.logs[partition].end <= record.offset:
            self.broker.append(partition, record)

    def _start(self, place: int) -> None:
        if place in self.workers:
            return
        self._next_worker += 1
        self.world.note(f"worker {self._next_worker} starts at place {place}")
        worker = Worker(self._next_worker, self.world, self.redis, self.broker, self.scenario.settings, self.cluster)
        worker.fetch_errors, worker.losing_batches = self._fetch_errors, self._losing
        self.workers[place] = worker
        self.everyone.append(worker)

    def _remember(self, fault: Fault) -> None:
        """Have what is stored at a moment put back later."""
        world, redis = self.world, self.redis
        kept: list[dict[bytes, Any]] = []
        world.after(max(0.0, fault.at - fault.seconds), lambda: kept.append(redis.store.copy()))

        def put_back() -> None:
            redis.store.keys = kept[0]
            if int(fault.at * 1000) % 2:
                self.faults["redis put back as layout 1"] += 1
                for keys in self.keys.values():
                    self._as_layout_1(keys)
            redis.cut()

        world.after(fault.at, put_back)

    def _as_layout_1(self, keys: ShardKeys) -> None:
        """Store a shard as a worker of layout 1 would have it: in whole tables, and owned by that worker."""
        stored = self.redis.store.keys
        if b"nonce" not in stored.get(keys.shard, {}):
            return
        stored[keys.shard] |= {b"layout": b"1", b"nonce": b"of layout 1"}
        for table in keys.tables:
            if whole := self._whole(table):
                stored[table.whole] = whole
            for number in range(table.size):
                stored.pop(table.key(number), None)

    def _inject(self, fault: Fault) -> None:
        self.faults[fault.kind] += 1
        self.world.note(f"FAULT {fault}")
        getattr(self, f"_{fault.kind.replace(' ', '_')}")(fault)

    def _for(self, seconds: float, end: Any) -> None:
        self.world.after(seconds, end)

    def _running(self, fault: Fault) -> Worker | None:
        places = sorted(self.workers)
        return self.workers[places[fault.target % len(places)]] if places else None

    def _remove(self, worker: Worker) -> int:
        place = next(place for place, other in self.workers.items() if other is worker)
        del self.workers[place]
        return place

    def _worker_killed(self, fault: Fault) -> None:
        if (worker := self._running(fault)) is not None:
            place = self._remove(worker)
            worker.kill()
            self._for(fault.seconds, lambda: self._start(place))

    def _worker_stopped(self, fault: Fault) -> None:
        if (worker := self._running(fault)) is not None:
            place = self._remove(worker)
            worker.stop()
            self._for(fault.seconds, lambda: self._start(place))

    def _worker_frozen(self, fault: Fault) -> None:
        if (worker := self._running(fault)) is not None:
            worker.freeze()
            self._for(fault.seconds, worker.thaw)

    def _worker_cut_from_kafka(self, fault: Fault) -> None:
        if (worker := self._running(fault)) is not None:
            worker.unreachable = True
            self._for(fault.seconds, lambda: setattr(worker, "unreachable", False))

    def _worker_cut_from_redis(self, fault: Fault) -> None:
        if (worker := self._running(fault)) is not None:
            worker.link.cut()
            self._for(fault.seconds, worker.link.restore)

    def _worker_added(self, fault: Fault) -> None:
        place = 100 + fault.target
        self._start(place)
        worker = self.workers[place]

        def remove() -> None:
            if self.workers.get(place) is worker:
                del self.workers[place]
                worker.stop()

        self._for(fault.seconds, remove)

    def _group_rebalanced(self, fault: Fault) -> None:
        for number in range(1 + int(3 * fault.amount)):
            self._for(number * fault.seconds / 4, self.broker.group.rebalance)

    def _redis_down(self, fault: Fault) -> None:
        self.redis.down = True
        self.redis.cut()
        self._for(fault.seconds, lambda: setattr(self.redis, "down", False))

    def _redis_frozen(self, fault: Fault) -> None:
        self.redis.frozen = True
        self._for(fault.seconds, self.redis.thaw)

    def _redis_refuses(self, fault: Fault) -> None:
        self.redis.error = REFUSALS[int(fault.amount * 1000) % len(REFUSALS)]
        self.redis.error_to_reads = self.redis.error.startswith((b"BUSY", b"LOADING"))
        self._for(fault.seconds, lambda: setattr(self.redis, "error", None))

    def _redis_loses_answers(self, fault: Fault) -> None:
        self.redis.losing = 0.2 + 0.5 * fault.amount
        self._for(fault.seconds, lambda: setattr(self.redis, "losing", 0.0))

    def _redis_slow(self, fault: Fault) -> None:
        self.redis.slow = 4 * fault.amount
        self._for(fault.seconds, lambda: setattr(self.redis, "slow", 0.0))

    def _redis_loses_its_tail(self, fault: Fault) -> None:
        """Done by `_remember`."""

    def _redis_loses_everything(self, fault: Fault) -> None:
        self.redis.store.keys = {}
        self.redis.cut()

    def _redis_clock_wrong(self, fault: Fault) -> None:
        self.redis.skew += fault.amount

    def _kafka_away(self, fault: Fault) -> None:
        self.broker.away = True
        for worker in self.everyone:
            worker.unreachable = True

        def end() -> None:
            self.broker.away = False
            for worker in self.everyone:
                worker.unreachable = False

        self._for(fault.seconds, end)

    def _kafka_loses_messages_or_answers(self, fault: Fault) -> None:
        self.broker.failing = 0.1 + 0.5 * fault.amount
        self._for(fault.seconds, lambda: setattr(self.broker, "failing", 0.0))

    def _fetches_fail(self, fault: Fault) -> None:
        self._spread("fetch_errors", "_fetch_errors", 0.1 + 0.6 * fault.amount, fault.seconds)

    def _batches_lost(self, fault: Fault) -> None:
        self._spread("losing_batches", "_losing", 0.1 + 0.4 * fault.amount, fault.seconds)

    def _spread(self, name: str, own: str, value: float, seconds: float) -> None:
        def put(value: float) -> None:
            setattr(self, own, value)
            for worker in self.everyone:
                setattr(worker, name, value)

        put(value)
        self._for(seconds, lambda: put(0.0))

    def _log_trimmed(self, fault: Fault) -> None:
        """Retention takes what was applied; what is stored, and could still be lost again, it leaves."""
        if any(other.kind in REWINDS for other in self.scenario.faults):
            return
        partition = sorted(self.broker.logs)[fault.target]
        stored = self._stored(partition)
        if stored is not None:
            self._trim(partition, stored - int(2 * fault.amount))

    def _trim(self, partition: TP, beginning: int) -> None:
        log = self.broker.logs[partition]
        log.beginning = max(log.beginning, min(beginning, log.end))
        log.records = [record for record in log.records if record.offset >= log.beginning]

    # What must halt

    def _log_replaced_by_a_longer_one(self, fault: Fault) -> None:
        self._replace(fault, longer=True)

    def _log_replaced_by_a_shorter_one(self, fault: Fault) -> None:
        self._replace(fault, longer=False)

    def _replace(self, fault: Fault, *, longer: bool) -> None:
        partition = self._target(fault)
        if partition is None:
            return
        log = self.broker.logs[partition]
        stored = self._stored(partition)
        assert stored is not None
        alive = longer and fault.amount > 0.5
        wanted = (stored if alive else stored + 5) if longer else stored - 2
        records = [
            kafka.Record(partition.topic, offset, b"new", b"another log", 1_767_607_300_000) for offset in range(wanted)
        ]
        log.beginning, log.records, log.end = 0, records, max(0, wanted)
        self.doomed.add(partition)
        if not alive:
            self._restart_all()
            return
        # Kafka's clients see that a topic goes, and comes again, as a rebalance.
        self.broker.group.rebalance()

        def grow() -> None:
            for _ in range(5):
                self.broker.append(
                    partition, kafka.Record(partition.topic, log.end, b"new", b"more", 1_767_607_300_000)
                )

        self._for(2 * kafka.SESSION, grow)

    def _unread_records_deleted(self, fault: Fault) -> None:
        partition = self._target(fault)
        if partition is None:
            return
        self._restart_all()
        log = self.broker.logs[partition]
        for _ in range(5):
            log.append(kafka.Record(partition.topic, log.end, b"k", b"unread", 1_767_607_300_000))
        log.beginning = log.end - 2
        log.records = [record for record in log.records if record.offset >= log.beginning]
        self.doomed.add(partition)

    def _another_cluster(self, fault: Fault) -> None:
        self.cluster = "another cluster"
        self.doomed.update(
            partition
            for partition, keys in self.keys.items()
            if self.redis.store.command(b"HGET", keys.shard, b"source")
        )
        self._restart_all()

    def _state_of_a_newer_version(self, fault: Fault) -> None:
        partition = self._target(fault)
        if partition is None:
            return
        self.redis.store.command(b"HSET", self.keys[partition].shard, b"layout", b"99")
        self.doomed.add(partition)
        self._restart_all()

    def _target(self, fault: Fault) -> TP | None:
        """A partition of which records were applied."""
        partitions = [partition for partition in sorted(self.keys) if (self._stored(partition) or 0) > 2]
        return partitions[fault.target % len(partitions)] if partitions else None

    def _restart_all(self) -> None:
        for worker in list(self.workers.values()):
            place = self._remove(worker)
            worker.kill()
            self._for(0.1, lambda place=place: self._start(place))

    # The end

    def _end_faults(self) -> None:
        self.world.note("all faults have ended")
        redis, broker = self.redis, self.broker
        redis.down, redis.error, redis.losing, redis.slow = False, None, 0.0, 0.0
        if redis.frozen:
            redis.thaw()
        broker.failing, broker.away = 0.0, False
        self._stand(redis.latest)
        self._fetch_errors = self._losing = 0.0
        for worker in self.everyone:
            if worker.alive:
                worker.thaw()
                worker.link.restore()
                worker.unreachable, worker.fetch_errors, worker.losing_batches = False, 0.0, 0.0

    def _stand(self, time: int) -> None:
        """Have Redis' clock stand still, a little later than a time."""
        self.redis.stands_at = (time // STEP + 2) * STEP

    def _stored(self, partition: TP) -> int | None:
        offset = self.redis.store.command(b"HGET", self.keys[partition].shard, b"offset")
        return None if offset is None else int(offset)

    def _view(self, partition: TP) -> ShardFigures | None:
        """As `RedisTables.summaries` and `stream.observe.view` read it."""
        fields = (b"summary", b"recent", b"counts")
        summary, recent, counts = self.redis.store.command(b"HMGET", self.keys[partition].view, *fields)
        if summary is None:
            return None
        customers = {name.encode(): members for name, members in _counts(counts).items()} if counts else {}
        return ShardFigures(decode_summary(summary, recent), customers)

    def _forgotten(self, partition: TP) -> int:
        recent = self.redis.store.command(b"HGET", self.keys[partition].view, b"recent")
        return decode_recent(recent).watermark

    def _head(self, shard: bytes) -> int:
        view = self._view(self.partition_of[shard])
        return 0 if view is None else view.summary.at

    def _is_done(self) -> bool:
        halted, stands_at = self._halted(), self.redis.stands_at or 0
        for partition, log in self.broker.logs.items():
            if partition in self.doomed:
                if partition not in halted:
                    return False
                continue
            if (self._stored(partition) or 0) != log.end:
                return False
            view = self._view(partition)
            # A worker that was frozen may have gone on from a clock that was put back meanwhile.
            if view is None or view.summary.at < stands_at:
                return False
        return True

    def _halted(self) -> dict[TP, str]:
        return {
            TP(*shard): task.halted
            for worker in self.workers.values()
            if hasattr(worker, "shards")
            for shard, task in worker.shards.tasks.items()
            if task.halted is not None
        }

    def _standing(self) -> str:
        owners = {
            str(
                task
            ): f"worker {worker.number}: {task.state.value}, waiting {task.waiting.reason}, halted {task.halted}"
            for worker in self.workers.values()
            if hasattr(worker, "shards")
            for task in worker.shards.tasks.values()
        }
        ends = {
            f"{topic}/{number}": (self._stored(TP(topic, number)), log.end)
            for (topic, number), log in self.broker.logs.items()
        }
        return f"{ends}; {owners}"

    def _compare(self) -> None:
        found, expected, pures = [], [], {}
        for partition, log in self.traffic.logs.items():
            stored = self._stored(partition)
            view = self._view(partition)
            if view is None:
                self.world.problem(f"{partition}: there is no summary")
                return
            before = 0 if stored is None else stored
            # Events far ahead of the clock remove nothing. With a clock that was wrong, only the stored watermark says what is removed.
            forgotten = self._forgotten(partition)
            known = forgotten if self.faults["redis clock wrong"] else None
            pure = pures[partition] = _Pure(self.scenario.settings, partition, log, view.summary.at, before, known)
            self._expect(f"{partition}: forgotten", forgotten, pure.expired[0])
            if view.summary.at < self.commits.heads[self.keys[partition].shard]:
                # Halted after Redis' clock ran ahead and was put back: what fell out of its windows meanwhile is missing, until that time comes.
                self._expect(f"{partition}: total", view.summary.total, pure.figures.summary.total)
                continue
            found.append(view)
            expected.append(pure.figures)
            keys, stored_keys = self.keys[partition], self.redis.store.keys
            self._compare_records(partition, pure)
            self._compare_history(partition, pure)
            self._expect(f"{partition}: watermark", view.summary.stream_time, pure.figures.summary.stream_time)
            # A set that is empty drops out; offline nothing does.
            kept = {name: counts for name, counts in pure.figures.customers.items() if keys.set(name) in stored_keys}
            self._expect(f"{partition}: customers", dict(view.customers), kept)
        self._expect("figures", Figures(found).plain(), Figures(expected).plain())
        self._compare_published(pures)
        halted = self._halted()
        self._expect("halted", set(halted), self.doomed)

    def _compare_records(self, partition: TP, pure: _Pure) -> None:
        keys, stored = self.keys[partition], self.redis.store.keys
        entities, customers, entity_expiry, customer_expiry = (self._whole(table) for table in keys.tables)
        self._expect(f"{partition}: entities", entities, pure.entities)
        self._expect(f"{partition}: expiry of entities", entity_expiry, pure.entity_expiry)
        self._expect(f"{partition}: customers", pure.lasting(customers), pure.customers)
        sets = {key.removeprefix(keys.sets): kept for key, kept in stored.items() if key.startswith(keys.sets)}
        self._expect(f"{partition}: sets of customers", sets, pure.sets)
        late = {who for who, time in customer_expiry.items() if time < pure.expired[1] or who not in customers}
        self.forgotten += pure.forgotten
        self._expect(f"{partition}: customers who should be forgotten", late, set())
        for name in sorted(pure.erased):
            raw, who = msgspec.msgpack.encode(name), member(name, b"")
            for record in (*entities.values(), *customers.values()):
                if raw in record:
                    self.world.problem(f"{partition}: {name} was erased, and a record names them: {record!r}")
            if any(who in known for known in (customers, customer_expiry, *sets.values())):
                self.world.problem(f"{partition}: {name} was erased, and is still known as {who.hex()}")

    def _compare_history(self, partition: TP, pure: _Pure) -> None:
        keys, stored = self.keys[partition], self.redis.store.keys
        records = {
            key.removeprefix(keys.records).decode(): fields
            for key, fields in stored.items()
            if key.startswith(keys.records)
        }
        state, recent = stored[keys.shard][b"state"], stored[keys.view][b"recent"]
        kept = StoredHistory(ShardId(*partition), recent, state, records)
        steps: tuple[Step, ...] = ("h", "d")
        for step in steps:
            past = decode_past(kept, step, self.scenario.settings.core().time_zone, 0)
            assert past is not None
            dropped = past.since
            found = {table: cells for table, cells in past.cells.items() if cells and table.step == step}
            # What was dropped while the clock was ahead stays dropped.
            expected = {
                table: cells
                for table, cells in pure.past.cells.items()
                if table.step == step and table.begin(self.scenario.settings.core().time_zone) >= dropped
            }
            self._expect(f"{partition}: history by {step}", found, expected)
        zone = self.scenario.settings.core().time_zone
        days = decode_days(kept, zone, 0)
        assert days is not None
        # What was dropped stays dropped, as above.
        counted = {
            record: tallies
            for record, tallies in pure.days.records.items()
            if Table("d", record[1]).begin(zone) >= days.since
        }
        self._expect(f"{partition}: offers and products by day", _plain(days.records), _plain(counted))

    def _whole(self, table: Buckets) -> dict[bytes, Any]:
        """A table from all of its buckets and what is left of layout 1; each field must be in one place, and in the right one."""
        whole: dict[bytes, Any] = dict(self.redis.store.keys.get(table.whole, {}))
        for number in range(table.size):
            bucket = self.redis.store.keys.get(table.key(number), {})
            if any(at != number for at in table.numbers(bucket)):
                self.world.problem(f"{table.key(number).decode()} has fields of other buckets")
            if both := whole.keys() & bucket.keys():
                self.world.problem(
                    f"{table.key(number).decode()} has fields that layout 1 has, too: {sorted(both)[:2]}"
                )
            whole |= bucket
        return whole

    def _compare_published(self, pures: dict[TP, _Pure]) -> None:
        bodies: defaultdict[str, set[bytes]] = defaultdict(set)
        first: dict[bytes, int] = {}
        dead = set()
        for number, (topic, _, value, headers) in enumerate(self.broker.written):
            if topic == SETTINGS.outcome_topic:
                bodies[msgspec.json.decode(value)["id"]].add(value)
                first.setdefault(value, number)
            else:
                named = dict(headers)
                place = named["upsell-source-topic"].decode(), int(named["upsell-source-partition"])
                dead.add((TP(*place), int(named["upsell-source-offset"]), value))
        for name, versions in bodies.items():
            if len(versions) > 1:
                self.world.problem(f"outcome {name} has {len(versions)} bodies: {sorted(versions)}")
        must = {body for pure in pures.values() for outcomes in pure.outcomes.values() for body in outcomes}
        self._expect("outcomes", set(first), must)
        planted = {
            (partition, record.offset, record.value)
            for partition, log in self.traffic.logs.items()
            for record in log.records
            if (partition, record.offset) in self.traffic.poison
        }
        self._expect("dead letters", dead, planted)
        for key, start, end, written in self.commits.applied:
            for offset, outcomes in pures[self.partition_of[key]].outcomes.items():
                if start <= offset < end and any(first.get(outcome, written) >= written for outcome in outcomes):
                    self.world.problem(
                        f"{key.decode()}: {end} was committed before the outcomes of {offset} were published"
                    )
                    return

    def _expect(self, what: str, found: Any, expected: Any) -> None:
        if found != expected:
            self.world.problem(f"{what}: {_difference(found, expected)}")

    def _dispose(self) -> None:
        self.redis.down = True
        self.world.tracing = False
        self.world.problem = lambda text: None  # type: ignore[method-assign]  # what is torn down now is not judged
        for worker in self.everyone:
            worker.link.cut()
            worker.loop.dispose()


def _plain(days: Mapping[tuple[str, int], Tallies]) -> dict[tuple[str, int], dict[Any, Any]]:
    """Tallies as values, without those of nothing."""
    plain = {
        record: {
            key: (tally.counts, {currency: own for currency, own in tally.amounts.items() if any(own)})
            for key, tally in tallies.items()
            if any(tally.counts) or any(map(any, tally.amounts.values()))
        }
        for record, tallies in days.items()
    }
    return {record: own for record, own in plain.items() if own}


def _difference(found: Any, expected: Any, path: str = "") -> str:
    """Where two plain values differ first."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({*found, *expected}, key=str):
            if found.get(key) != expected.get(key):
                return _difference(found.get(key), expected.get(key), f"{path}/{key}")
    if isinstance(found, set) and isinstance(expected, set):
        return f"too many {sorted(found - expected)[:2]}, missing {sorted(expected - found)[:2]}"
    return f"{path}: found {found!r}, expected {expected!r}"


class _Log(logging.Handler):
    """What the product logs, into the trace."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.INFO if world.tracing else logging.CRITICAL)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.note(f"log: {record.getMessage()}")


@contextmanager
def _patched(world: World) -> Iterator[None]:
    """The product in this world: its clock, its dice, and shorter patience, so that a seed is small."""
    time = SimpleNamespace(monotonic=lambda: world.now, monotonic_ns=lambda: int(world.now * 1e9))
    dice = SimpleNamespace(token_bytes=world.random.randbytes)
    log = logging.getLogger("stream")
    handler = _Log(world)
    before = log.level, log.propagate
    with ExitStack() as stack:
        for module in (shard_task, pipeline, retry, shard_set, clock, batch_consumer):
            stack.enter_context(mock.patch.object(module, "time", time))
        stack.enter_context(mock.patch.object(session, "secrets", dice))
        stack.enter_context(mock.patch.object(batch_consumer, "HELD_BACK_POLL", 0.1))
        stack.enter_context(mock.patch.object(batch_consumer, "UNREADABLE_BACKOFF", 0.5))
        stack.enter_context(mock.patch.object(batch_consumer, "ISOLATION_PERIOD", 3.0))
        stack.enter_context(mock.patch.object(shard_set, "_POLL", 0.05))
        stack.enter_context(mock.patch.object(publish, "TIMEOUT", 3.0))
        stack.enter_context(mock.patch.object(event_time, "AHEAD", AHEAD))
        log.addHandler(handler)
        log.propagate = False
        log.setLevel(logging.INFO if world.tracing else logging.CRITICAL)
        try:
            yield
        finally:
            log.removeHandler(handler)
            log.setLevel(before[0])
            log.propagate = before[1]


def simulate(scenario: Scenario, *, tracing: bool = False) -> Report:
    """Run a scenario."""
    return Simulation(scenario, tracing=tracing).run()
