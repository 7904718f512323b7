"""The rules of one shard's task, on tables in memory and a log that is a list."""

import asyncio
import copy
import json
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiokafka.errors import KafkaConnectionError
from support import traffic

from stream.core.config import CoreConfig
from stream.core.counting.cells import SALES
from stream.core.counting.summary import decode_summary
from stream.core.labels import LabelRegistry
from stream.core.shard.write_set import ShardId
from stream.events.decode import Decoder
from stream.events.outcome import outcome_event
from stream.kafka.cursor import CREDITS, Cursor
from stream.kafka.log_identity import LogIdentity
from stream.kafka.producer import Message, UnacknowledgedError
from stream.tables import memory
from stream.tables.interface import IncompatibleStateError, TablesUnavailableError
from stream.tables.memory import Memory, MemoryTables
from stream.worker import shard_task as module
from stream.worker.clock import Clock
from stream.worker.shard_task import Bench, Runner

SHARD = ShardId(traffic.CHECKOUT, 0)
SENT = list(traffic.checkouts(40))
LIMIT = 30.0
"""Seconds for a condition that holds at once where all is well."""


@dataclass
class Record:
    offset: int
    value: bytes
    key: bytes | None = b"k"
    topic: str = SHARD.topic
    headers: tuple = ()
    timestamp: int = 1_767_607_200_000
    timestamp_type: int = 0


def log_of(sent) -> list[Record]:
    return [Record(offset, record.value, record.key) for offset, record in enumerate(sent)]


class Tables(MemoryTables):
    """Does what a test says before or after a commit."""

    def __init__(self) -> None:
        self.clock = 1_767_700_000_000_000
        super().__init__(lambda: self.clock)
        self.commits = []
        self.before: list[Callable] = []
        self.after: list[Callable] = []

    async def commit(self, commit):
        self.commits.append(commit)
        if self.before:
            await self.before.pop(0)(commit)
        result = await super().commit(commit)
        if self.after:
            await self.after.pop(0)(commit)
        return result


@dataclass
class Publisher:
    acknowledged: list[Message] = field(default_factory=list)
    refuse: int = 0
    """How many publications lose their second half."""

    async def publish(self, messages) -> None:
        if self.refuse:
            self.refuse -= 1
            half = len(messages) // 2
            self.acknowledged += messages[:half]
            raise UnacknowledgedError(messages[half:], "away")
        self.acknowledged += messages


class Topics:
    """Kafka's answers about topic ids; the first `refuse` of them are errors."""

    def __init__(self) -> None:
        self.known = {SHARD.topic: b"A" * 16}
        self.refuse = 0
        self.asked: list[int] = []

    async def ids(self, offset):
        self.asked.append(offset)
        if self.refuse:
            self.refuse -= 1
            raise KafkaConnectionError
        return self.known


class Instruments:
    def __init__(self) -> None:
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))

    def named(self, name):
        return [call[1:] for call in self.calls if call[0] == name]


class Worker:
    """One runner, and a transport that reads a list."""

    def __init__(self, log: list[Record], tables: Tables | None = None, journey: str = "checkout") -> None:
        self.log = log
        self.journey = journey
        self.tables = tables or Tables()
        self.publisher = Publisher()
        self.topics = Topics()
        self.instruments = Instruments()
        self.patience = 0.0
        self.chunk = 7
        self.beginning = 0
        self.end = len(log)
        """Records from here on are not there yet."""
        self.cursors: list[Cursor] = []
        self.runner: Runner | None = None

    @asynccontextmanager
    async def running(self):
        clock = Clock(self.tables)
        await clock.refresh()
        clock.now = lambda: self.tables.clock
        bench = Bench(
            app_id="test", cluster="cluster", core=CoreConfig(), labels=LabelRegistry(), tables=self.tables, clock=clock,
            decoder=Decoder({SHARD.topic: self.journey}, 600_000_000), publisher=self.publisher,
            outcome_topic="outcomes", dead_letter_topic="dead", instruments=self.instruments, patience=self.patience, topics=self.topics,
        )  # fmt: skip
        changed = asyncio.Event()
        self.runner = Runner(SHARD, self.journey, bench, changed, 1000)
        task = asyncio.create_task(self.runner.run())
        try:
            yield self
        finally:
            ended = task.done()
            task.cancel()
            await asyncio.wait([task])
            assert not ended, task.exception()

    def fetch(self) -> bool:
        """Deliver one batch, as the transport would; False where there is nothing to deliver or no room."""
        cursor = self.runner.cursor
        if cursor is None:
            return False
        if cursor.read is None:
            cursor.seek(cursor.start(self.beginning))
            self.cursors.append(cursor)
        records = [record for record in self.log[: self.end] if record.offset >= cursor.read][: self.chunk]
        if cursor.outstanding >= CREDITS or not records:
            return False
        self.runner.deliver(cursor.take(SHARD, records))
        return True

    async def until(self, condition: Callable[[], bool], *, fetching: bool = True) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition():
                if not (fetching and self.fetch()):
                    await asyncio.sleep(0.001)

    async def read_all(self) -> None:
        await self.read(len(self.log))

    async def read(self, end: int) -> None:
        """Let the log grow to so many records, and wait until they are applied."""
        self.end = end
        await self.until(lambda: self.runner.status.offset == self.log[end - 1].offset + 1 and not self.runner.busy)


async def assert_right(worker: Worker, sent=SENT) -> None:
    assert traffic.found(await worker.tables.summaries()) == traffic.expected(sent)


async def test_a_batch_that_needs_too_much_at_once_is_applied_in_parts(monkeypatch):
    monkeypatch.setattr(memory, "READ", 1)
    started, completed = SENT[::2], SENT[1::2]
    second = [completed[0], *traffic.junk(2), *completed[1:20], traffic.erasure(3), *completed[20:], *traffic.junk(1)]
    told = []
    for enough in (10_000_000, 1000):
        worker = Worker(log_of([*started, *second]))
        worker.tables.loaded = enough
        worker.chunk = len(second)
        async with worker.running():
            await worker.read(len(started))
        before = len(worker.tables.commits)
        async with worker.running():  # with nothing in memory
            await worker.read_all()
            await assert_right(worker, [*started, *second])
        told.append((worker.publisher.acknowledged, len(worker.tables.commits) - before > 5))
    assert told == [(told[0][0], False), (told[0][0], True)]


async def test_it_applies_what_is_read_and_counts_it():
    checkout, subscription = next(traffic.checkouts(1)), next(traffic.subscriptions(1))
    wrong = [
        checkout._replace(value=checkout.value.replace(b"EUR", b"eur")),
        subscription._replace(topic=checkout.topic),
    ]
    sent = [*SENT, *traffic.junk(3), *wrong]
    async with Worker(log_of(sent)).running() as worker:
        await worker.read_all()
        await assert_right(worker)
    counted = worker.instruments.named("event")
    assert sum(count for _, _, result, count in counted if result != "rejected") == len(SENT)
    assert {(kind, count) for _, kind, result, count in counted if result == "rejected"} == {
        (None, 3),
        ("commerce.checkout.started.v1", 1),
        ("commerce.subscription.created.v1", 1),
    }
    assert len([m for m in worker.publisher.acknowledged if m.topic == "dead"]) == 5
    outcomes = [m for m in worker.publisher.acknowledged if m.topic == "outcomes"]
    assert {m.key for m in outcomes} <= {s.key for s in SENT}
    judged = worker.instruments.named("judged")
    assert {(topic, partition) for topic, partition, _ in judged} == {SHARD}
    assert [outcome_event(version, "test") for *_, versions in judged for version in versions] == [
        m.value for m in outcomes
    ]


async def test_a_restart_goes_on_where_the_tables_are():
    first = Worker(log_of(SENT[:33]))
    async with first.running():
        await first.read_all()
    second = Worker(log_of(SENT), first.tables)
    async with second.running():
        await second.read_all()
        assert second.cursors[0].offset == 33
        await assert_right(second)


async def test_a_batch_of_an_older_position_is_ignored():
    async with Worker(log_of(SENT)).running() as worker:
        await worker.until(lambda: worker.runner.cursor is not None, fetching=False)
        worker.fetch()
        old = worker.cursors[0]
        await worker.until(lambda: worker.runner.status.offset == 7 and not worker.runner.busy, fetching=False)
        worker.runner.reread()
        late = old.take(SHARD, worker.log[7:14])
        worker.runner.deliver(late)
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.cursors) == 2


async def test_a_lost_batch_is_a_gap_and_is_read_again():
    async with Worker(log_of(SENT)).running() as worker:
        await worker.read(14)
        worker.runner.cursor.read += 5
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.cursors) == 2
    assert worker.cursors[1].offset == 14


async def test_the_very_first_batch_may_be_lost_too():
    async with Worker(log_of(SENT)).running() as worker:
        await worker.until(lambda: worker.runner.cursor is not None, fetching=False)
        worker.runner.cursor.seek(worker.runner.cursor.start(0))
        worker.runner.cursor.read = 7
        await worker.read_all()
        await assert_right(worker)


async def test_batches_that_are_lost_with_none_to_follow_are_read_again(monkeypatch):
    monkeypatch.setattr(module, "LOST_AFTER", 0.05)
    monkeypatch.setattr(module, "IDLE", 0.01)
    async with Worker(log_of(SENT)).running() as worker:
        await worker.read(14)
        for lost in (worker.log[14:21], worker.log[21:28]):
            worker.runner.cursor.take(SHARD, lost)
        assert worker.runner.cursor.outstanding == CREDITS
        await worker.read_all()
        await assert_right(worker)
    assert [cursor.offset for cursor in worker.cursors] == [None, 14]


async def test_a_defect_halts_the_shard_and_commits_nothing():
    worker = Worker(log_of(SENT))
    async with worker.running():
        await worker.read(7)
        worker.runner._shard.apply = None
        worker.end = len(SENT)
        await worker.until(lambda: worker.runner.status.halted is not None)
        assert "the records 7 to 13 cannot be applied" in worker.runner.status.halted
    assert traffic.found(await worker.tables.summaries()) == traffic.expected(SENT[:7])


async def test_offsets_that_a_log_never_had_are_no_gap():
    log = [Record(3 * record.offset, record.value, record.key) for record in log_of(SENT)]
    async with Worker(log).running() as worker:
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.cursors) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_commit_without_an_answer_is_sent_again_as_the_same_batch(moment):
    worker = Worker(log_of(SENT))

    async def lose(_):
        raise TablesUnavailableError("connection", "cut")

    getattr(worker.tables, moment).extend([lose, lose])
    async with worker.running():
        await worker.read_all()
        await assert_right(worker)
    sent = [commit.batch for commit in worker.tables.commits]
    assert sent[0] == sent[1] == sent[2] != sent[3]
    assert worker.instruments.named("commit_failure") == [("connection",), ("connection",)]


async def test_no_commit_before_its_messages_are_acknowledged():
    worker = Worker(log_of(SENT))
    seen = []

    async def look(commit):
        seen.append((commit.end, len(worker.publisher.acknowledged)))

    worker.tables.before.extend([look, look])
    worker.publisher.refuse = 2
    worker.chunk = len(SENT)
    async with worker.running():
        await worker.read_all()
    assert seen == [(None, 0), (len(SENT), len(worker.publisher.acknowledged))]
    assert len({m.value for m in worker.publisher.acknowledged}) == len(worker.publisher.acknowledged) > 10


@pytest.mark.parametrize("everything", [True, False])
async def test_tables_that_went_back_in_time_are_followed(everything):
    worker = Worker(log_of(SENT))
    old = Memory()
    async with worker.running():
        if not everything:
            await worker.read(14)
            old = copy.deepcopy(worker.tables.memory)
        await worker.read(35)
        worker.tables.memory = old
        worker.end = len(SENT)
        await worker.until(lambda: len(worker.cursors) == 2)
        await worker.read_all()
        await assert_right(worker)
    assert worker.cursors[1].offset == (None if everything else 14)
    assert not worker.instruments.named("fenced")


def a_plan_that_grows(versions):
    """A subscription for one seat, two seats and so on."""
    (created, changed) = traffic.subscriptions(1)
    yield created
    for seats in range(2, versions + 1):
        event = json.loads(changed.value)
        event["id"] += f"-{seats}"
        event["time"] = event["time"].replace("10:00", f"10:{seats:02}")
        event["data"]["items"][0]["quantity"] = seats
        yield changed._replace(value=json.dumps(event).encode())


async def test_nothing_is_told_from_records_that_are_older_than_the_memory():
    sent = list(a_plan_that_grows(4))
    first = Worker(log_of(sent), journey="subscription")
    first.chunk = 1
    async with first.running():
        await first.read(1)
        old = copy.deepcopy(first.tables.memory)
        await first.read(2)
    second = Worker(log_of(sent), first.tables, journey="subscription")
    second.end = 2
    async with second.running():
        await second.until(lambda: second.runner.status.offset == 2 and not second.runner.busy)
        second.tables.memory = old
        second.end = len(sent)
        await second.read_all()
        await assert_right(second, sent)
    told = [m.value for worker in (first, second) for m in worker.publisher.acknowledged]
    assert len({json.loads(value)["id"] for value in told}) == len(set(told))


async def test_nothing_is_told_from_records_that_are_newer_than_the_memory():
    worker = Worker(log_of(SENT))
    loads = []
    load = worker.tables.load

    async def load_when_taken(*arguments):
        if len(loads) == 1:
            await worker.tables.claim(SHARD, b"other")
        loads.append(len(worker.publisher.acknowledged))
        return await load(*arguments)

    worker.tables.load = load_when_taken
    async with worker.running():
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.instruments.named("fenced")) == 1
    assert loads[1] == loads[2], "nothing of what was loaded meanwhile was told"


async def test_a_tick_notices_that_the_tables_went_back():
    worker = Worker(log_of(SENT))
    async with worker.running():
        await worker.read_all()
        worker.tables.memory = Memory()
        worker.tables.clock += 5_000_000
        await worker.until(lambda: len(worker.cursors) == 2)
        await worker.read_all()
        await assert_right(worker)


def with_channel(sent, channel):
    event = json.loads(sent.value)
    event["data"]["channel"] = channel
    return sent._replace(value=json.dumps(event).encode())


async def test_labels_that_the_tables_lost_are_still_those_of_records_in_memory():
    started, completed, other, _ = traffic.checkouts(2)
    worker = Worker(log_of([with_channel(started, "web"), with_channel(other, "app"), completed]))
    worker.chunk = 1
    async with worker.running():
        await worker.read(1)
        worker.tables.memory.labels.clear()
        await worker.read_all()
    (shard,) = await worker.tables.summaries()
    assert {key[1] for key, _ in decode_summary(shard.summary, shard.recent).total if key[0] == SALES} == {"web", "app"}
    assert sorted(worker.tables.memory.labels["channel"]) == ["app", "web"]


async def test_another_owner_is_respected_until_it_is_our_turn():
    worker = Worker(log_of(SENT))

    async def steal(_):
        await worker.tables.claim(SHARD, b"other")

    async with worker.running():
        await worker.read(7)
        worker.tables.before.append(steal)
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.instruments.named("fenced")) == 1


async def test_a_shard_that_was_just_given_out_again_is_taken_back_at_once():
    worker = Worker(log_of(SENT))
    worker.patience = 2 * LIMIT
    async with worker.running():
        await worker.read(7)
        worker.runner.suspend()
        await worker.tables.claim(SHARD, b"other")
        worker.runner.resume()
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.instruments.named("fenced")) == 1


async def test_who_lost_a_shard_does_not_claim_it_while_kafka_cannot_tell_whose_it_is():
    worker = Worker(log_of(SENT))
    async with worker.running():
        await worker.read(7)
        worker.runner.status.unanswered = True
        await worker.tables.claim(SHARD, b"other")
        worker.end = len(SENT)
        await worker.until(lambda: bool(worker.instruments.named("fenced")))
        for _ in range(100):
            await asyncio.sleep(0)
        assert (await worker.tables.owners([SHARD]))[0].nonce == b"other"
        worker.runner.status.unanswered = False
        await worker.read_all()
        await assert_right(worker)


async def test_idle_windows_move_on():
    worker = Worker(log_of(SENT))
    async with worker.running():
        await worker.until(lambda: worker.runner.status.claimed, fetching=False)
        await worker.until(lambda: bool(worker.tables.commits), fetching=False)
        first = worker.tables.commits[-1]
        assert (first.start, first.end) == (None, None)
        await worker.read_all()
        number = len(worker.tables.commits)
        worker.tables.clock += 5_000_000
        await worker.until(lambda: len(worker.tables.commits) > number, fetching=False)
        last = worker.tables.commits[-1]
        assert last.start == last.end == len(SENT)
        assert last.now == worker.tables.clock
        await assert_right(worker)


async def test_suspended_it_finishes_one_batch_and_takes_no_other():
    worker = Worker(log_of(SENT))
    gate = asyncio.Event()
    reached = asyncio.Event()

    async def hold(_):
        reached.set()
        await gate.wait()

    async with worker.running():
        await worker.until(lambda: bool(worker.tables.commits) and not worker.runner.busy, fetching=False)
        worker.tables.before.append(hold)
        await worker.until(reached.is_set)
        worker.fetch()
        worker.runner.suspend()
        assert worker.runner.cursor is None
        gate.set()
        await worker.until(lambda: not worker.runner.busy)
        assert worker.runner.status.offset == 7
        worker.runner.resume()
        await worker.read_all()
        await assert_right(worker)


async def test_a_log_that_was_replaced_halts_the_shard():
    first = Worker(log_of(SENT[:20]))
    async with first.running():
        await first.read_all()
    replaced = log_of(SENT)
    replaced[19] = Record(19, SENT[0].value)
    second = Worker(replaced, first.tables)
    async with second.running():
        await second.until(lambda: second.runner.status.halted is not None)
        assert "not the one that was applied" in second.runner.status.halted
        assert second.runner.cursor is None
        assert ("halted", *SHARD, True) in second.instruments.calls
    assert traffic.found(await second.tables.summaries()) == traffic.expected(SENT[:20])


async def test_a_log_that_was_replaced_under_a_living_worker_halts_the_shard_when_it_is_sought_again():
    worker = Worker(log_of(SENT))
    async with worker.running():
        await worker.read(20)
        worker.log[19] = Record(19, SENT[0].value)
        worker.runner.suspend()
        worker.runner.resume()
        worker.end = len(SENT)
        await worker.until(lambda: worker.runner.status.halted is not None)
        assert "not the one that was applied" in worker.runner.status.halted
    assert traffic.found(await worker.tables.summaries()) == traffic.expected(SENT[:20])


async def test_a_topic_made_anew_halts_the_shard_before_any_of_its_records_is_applied():
    worker = Worker(log_of(SENT))
    async with worker.running():
        await worker.read(20)
        worker.topics.known = {SHARD.topic: b"B" * 16}
        worker.end = len(SENT)
        await worker.until(lambda: worker.runner.status.halted is not None)
        assert "made anew" in worker.runner.status.halted
        assert worker.topics.asked[-1] == 20
    assert traffic.found(await worker.tables.summaries()) == traffic.expected(SENT[:20])
    second = Worker(log_of(SENT), worker.tables)
    second.topics.known = {SHARD.topic: b"B" * 16}
    async with second.running():
        await second.until(lambda: second.runner.status.halted is not None)


@pytest.mark.parametrize("known", [{}, {SHARD.topic: b"A" * 16}])
async def test_a_topic_without_a_known_id_is_no_difference(known):
    first = Worker(log_of(SENT))
    first.topics.known = {} if known else {SHARD.topic: b"A" * 16}
    async with first.running():
        await first.read(20)
    second = Worker(log_of(SENT), first.tables)
    second.topics.known = known
    async with second.running():
        await second.read_all()
        await assert_right(second)


async def test_while_kafka_does_not_tell_the_topic_s_id_nothing_is_applied():
    worker = Worker(log_of(SENT))
    worker.topics.refuse = 2
    async with worker.running():
        await worker.read_all()
        await assert_right(worker)
    assert worker.topics.refuse == 0


async def test_the_last_applied_record_may_be_gone():
    first = Worker(log_of(SENT[:20]))
    async with first.running():
        await first.read_all()
    second = Worker(log_of(SENT)[20:], first.tables)
    second.beginning = 20
    async with second.running():
        await second.read_all()
        await assert_right(second)


async def test_another_cluster_halts_the_shard():
    tables = Tables()
    first = Worker(log_of(SENT), tables)
    async with first.running():
        await first.read_all()
    tables.memory.shards[SHARD].source = LogIdentity("elsewhere", 1).encode()
    async with Worker(log_of(SENT), tables).running() as second:
        await second.until(lambda: second.runner.status.halted is not None)
        assert "'elsewhere'" in second.runner.status.halted


async def test_state_of_a_newer_version_halts_the_shard():
    worker = Worker(log_of(SENT))

    async def refuse(*_):
        raise IncompatibleStateError("written by a newer version")

    worker.tables.claim = refuse
    async with worker.running():
        await worker.until(lambda: worker.runner.status.halted == "written by a newer version")


@pytest.mark.parametrize(
    "damage", [{"state": b"\x91\x63"}, {"state": b"?"}, {"source": b"?"}], ids=["newer layout", "state", "source"]
)
async def test_state_that_cannot_be_read_halts_the_shard(damage):
    worker = Worker(log_of(SENT))
    async with worker.running():
        await worker.read_all()
    for name, value in damage.items():
        setattr(worker.tables.memory.shards[SHARD], name, value)
    async with Worker(log_of(SENT), worker.tables).running() as second:
        await second.until(lambda: second.runner.status.halted is not None)
        assert "the stored state cannot be read" in second.runner.status.halted


async def test_it_waits_for_tables_that_are_away_and_says_so():
    worker = Worker(log_of(SENT))
    claim, away = worker.tables.claim, True

    async def claim_later(*arguments):
        if away:
            raise TablesUnavailableError("loading", "wait")
        return await claim(*arguments)

    worker.tables.claim = claim_later
    async with worker.running():
        await worker.until(lambda: worker.runner.status.stalled == "loading: wait")
        assert not worker.runner.status.claimed
        away = False
        await worker.read_all()
        assert worker.runner.status.stalled is None


async def test_what_has_expired_is_forgotten():
    worker = Worker(log_of(SENT))
    async with worker.running():
        await worker.read_all()
        assert len(worker.tables.memory.shards[SHARD].entities) == 40
        later = SENT[0].value.replace(b"2026-01-05", b"2026-03-05").replace(b"c0", b"c99")
        worker.tables.clock = 1_772_706_000_000_000
        worker.log.append(Record(len(worker.log), later, timestamp=1_772_706_000_000))
        await worker.read_all()

        def forgotten():
            worker.tables.clock += 5_000_000
            return len(worker.tables.memory.shards[SHARD].entities) == 1

        await worker.until(forgotten)


async def test_an_event_a_year_ahead_of_the_clock_makes_nothing_be_forgotten():
    worker = Worker(log_of(SENT))
    async with worker.running():
        await worker.read_all()
        later = SENT[0].value.replace(b"2026-01-05", b"2027-01-05").replace(b"c0", b"c99")
        worker.log.append(Record(len(worker.log), later, timestamp=1_799_143_200_000))
        await worker.read_all()
        for _ in range(3):
            ticks = len(worker.tables.commits)
            worker.tables.clock += 5_000_000
            await worker.until(lambda ticks=ticks: len(worker.tables.commits) > ticks)
        assert len(worker.tables.memory.shards[SHARD].entities) == 41


async def test_offsets_behind_the_last_record_that_hold_none_are_passed_over_with_a_tick():
    worker = Worker(log_of(SENT))
    async with worker.running():
        await worker.read_all()
        end = len(SENT)
        worker.runner.status.empty = range(end, end + 2)

        def passed():
            worker.tables.clock += 5_000_000
            return worker.runner.status.offset == end + 2

        await worker.until(passed)
        assert worker.runner.cursor.read == end + 2
        worker.log += [Record(end + 2, sent.value, sent.key) for sent in traffic.checkouts(1, first=99)][:1]
        worker.end = len(worker.log)
        await worker.until(lambda: worker.runner.status.offset == end + 3)
    assert not worker.runner.status.halted


async def ticked(worker, times):
    """Let so many ticks be committed, and nothing be fetched."""
    for _ in range(times):
        before = len(worker.tables.commits)
        worker.tables.clock += 5_000_000
        await worker.until(lambda: len(worker.tables.commits) > before, fetching=False)  # noqa: B023 - awaited here


async def test_they_are_passed_over_also_where_the_offset_stands_behind_others_of_them():
    first = Worker(log_of(SENT))
    end = len(SENT)
    async with first.running():
        await first.read_all()
        first.runner.status.empty = range(end, end + 2)
        await ticked(first, 1)
    second = Worker(log_of(SENT), first.tables)
    async with second.running():
        await second.until(lambda: second.fetch() or second.cursors)
        assert second.runner.cursor.read == end + 1, "the record before the next one is sought, and is none"
        second.runner.status.empty = range(end + 1, end + 4)
        await ticked(second, 1)
        assert second.runner.status.offset == second.runner.cursor.read == end + 4


async def test_nothing_is_passed_over_before_the_log_was_recognised():
    first = Worker(log_of(SENT))
    first.topics.known = {}
    async with first.running():
        await first.read_all()
    other = log_of(traffic.checkouts(40, first=500))
    second = Worker(other, first.tables)
    second.topics.known = {}
    async with second.running():
        await second.until(lambda: second.runner.cursor is not None, fetching=False)
        cursor = second.runner.cursor
        cursor.seek(cursor.start(0))
        batch = cursor.take(SHARD, other[-1:])
        second.runner.status.empty = range(cursor.read, cursor.read + 3)
        await ticked(second, 1)
        assert second.runner.status.offset == len(SENT)
        second.runner.deliver(batch)
        await second.until(lambda: second.runner.status.halted, fetching=False)
    assert "is not the one that was applied" in second.runner.status.halted


def test_stuck_is_only_who_has_records_and_nothing_to_wait_for():
    runner = Runner(SHARD, "checkout", None, asyncio.Event(), 1)
    runner.progressed -= 100
    assert not runner.is_stuck(60)
    runner.status.claimed, runner.status.offset, runner.status.end = True, 5, 9
    runner.progressed -= 100
    assert runner.is_stuck(60)
    runner.status.stalled = "connection: cut"
    assert not runner.is_stuck(60)
    runner.status.stalled = None
    runner.progressed -= 100
    assert runner.is_stuck(60)
    runner.status.unanswered = True
    assert not runner.is_stuck(60)
    runner.status.unanswered, runner.status.unreadable = False, "cannot be read: a checksum is wrong"
    runner.progressed -= 100
    assert not runner.is_stuck(60)
