"""What a claim gives, and how it is noticed that it is lost or that its state cannot be used."""

import copy
import json
from datetime import UTC, datetime, timedelta

import pytest
from support import traffic
from support.one_shard import SENT, SHARD, Record, ShardWorker, Tables, assert_right, log_of

from stream.core.counting.cells import SALES
from stream.core.counting.summary import decode_summary
from stream.kafka.log_identity import LogIdentity
from stream.tables.interface import EXPIRY_PARTS, IncompatibleStateError, TablesUnavailableError
from stream.worker import shard_task
from stream.worker.shard_task import CLAIMED


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_commit_without_an_answer_is_sent_again_as_the_same_batch(moment):
    worker = ShardWorker(log_of(SENT))

    async def lose(_):
        raise TablesUnavailableError("connection", "cut")

    getattr(worker.tables, moment).extend([lose, lose])
    async with worker.running():
        await worker.read_all()
        await assert_right(worker)
    sent = [commit.batch for commit in worker.tables.commits]
    assert sent[0] == sent[1] == sent[2] != sent[3]
    assert worker.counters.named("commit_failure") == [("connection",), ("connection",)]


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


async def test_nothing_is_published_from_records_that_are_older_than_the_memory():
    sent = list(a_plan_that_grows(4))
    first = ShardWorker(log_of(sent), journey="subscription")
    first.chunk = 1
    async with first.running():
        await first.read(1)
        old = copy.deepcopy(first.tables.memory)
        await first.read(2)
    second = ShardWorker(log_of(sent), first.tables, journey="subscription")
    second.end = 2
    async with second.running():
        await second.until(lambda: second.task.offset == 2 and not second.is_applying)
        second.tables.memory = old
        second.end = len(sent)
        await second.read_all()
        await assert_right(second, sent)
    published = [m.value for worker in (first, second) for m in worker.publisher.acknowledged]
    assert len({json.loads(value)["id"] for value in published}) == len(set(published))


async def test_nothing_is_published_from_records_that_are_newer_than_the_memory():
    worker = ShardWorker(log_of(SENT))
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
    assert len(worker.counters.named("fenced")) == 1
    assert loads[1] == loads[2], "nothing of what was loaded meanwhile was published"


def with_channel(sent, channel):
    event = json.loads(sent.value)
    event["data"]["channel"] = channel
    return sent._replace(value=json.dumps(event).encode())


async def test_labels_that_the_tables_lost_are_still_those_of_records_in_memory():
    started, completed, other, _ = traffic.checkouts(2)
    worker = ShardWorker(log_of([with_channel(started, "web"), with_channel(other, "app"), completed]))
    worker.chunk = 1
    async with worker.running():
        await worker.read(1)
        worker.tables.memory.labels.clear()
        await worker.read_all()
    (shard,) = await worker.tables.summaries()
    assert {key[1] for key, _ in decode_summary(shard.summary, shard.recent).total if key[0] == SALES} == {"web", "app"}
    assert sorted(worker.tables.memory.labels["channel"]) == ["app", "web"]


async def test_another_cluster_halts_the_shard():
    tables = Tables()
    first = ShardWorker(log_of(SENT), tables)
    async with first.running():
        await first.read_all()
    tables.memory.shards[SHARD].source = LogIdentity("elsewhere", 1).encode()
    async with ShardWorker(log_of(SENT), tables).running() as second:
        await second.until(lambda: second.task.halted is not None)
        assert "'elsewhere'" in str(second.task.halted)


async def test_state_of_a_newer_version_halts_the_shard():
    worker = ShardWorker(log_of(SENT))

    async def refuse(*_):
        raise IncompatibleStateError("written by a newer version")

    worker.tables.claim = refuse
    async with worker.running():
        await worker.until(lambda: str(worker.task.halted) == "written by a newer version")


@pytest.mark.parametrize(
    "damage", [{"state": b"\x91\x63"}, {"state": b"?"}, {"source": b"?"}], ids=["newer layout", "state", "source"]
)
async def test_state_that_cannot_be_read_halts_the_shard(damage):
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.read_all()
    for name, value in damage.items():
        setattr(worker.tables.memory.shards[SHARD], name, value)
    async with ShardWorker(log_of(SENT), worker.tables).running() as second:
        await second.until(lambda: second.task.halted is not None)
        assert "the stored state cannot be read" in str(second.task.halted)


async def test_a_topic_that_was_created_again_halts_the_shard_before_any_of_its_records_is_applied():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.read(20)
        worker.topics.known = {SHARD.topic: b"B" * 16}
        worker.end = len(SENT)
        await worker.until(lambda: worker.task.halted is not None)
        assert "created again" in str(worker.task.halted)
        assert worker.topics.asked[-1] == 20
    assert traffic.found(await worker.tables.summaries()) == traffic.expected(SENT[:20])
    second = ShardWorker(log_of(SENT), worker.tables)
    second.topics.known = {SHARD.topic: b"B" * 16}
    async with second.running():
        await second.until(lambda: second.task.halted is not None)


@pytest.mark.parametrize("known", [{}, {SHARD.topic: b"A" * 16}])
async def test_a_topic_without_a_known_id_is_no_difference(known):
    first = ShardWorker(log_of(SENT))
    first.topics.known = {} if known else {SHARD.topic: b"A" * 16}
    async with first.running():
        await first.read(20)
    second = ShardWorker(log_of(SENT), first.tables)
    second.topics.known = known
    async with second.running():
        await second.read_all()
        await assert_right(second)


async def test_while_kafka_does_not_return_the_topic_id_nothing_is_applied():
    worker = ShardWorker(log_of(SENT))
    worker.topics.refuse = 2
    async with worker.running():
        await worker.read_all()
        await assert_right(worker)
    assert worker.topics.refuse == 0


async def test_it_waits_for_tables_that_are_unavailable_and_says_so():
    worker = ShardWorker(log_of(SENT))
    claim, away = worker.tables.claim, True

    async def claim_later(*arguments):
        if away:
            raise TablesUnavailableError("loading", "wait")
        return await claim(*arguments)

    worker.tables.claim = claim_later
    async with worker.running():
        await worker.until(lambda: worker.task.waiting.reason == "Redis is loading its data (wait)")
        assert worker.task.state not in CLAIMED
        away = False
        await worker.read_all()
        assert worker.task.waiting.reason is None


@pytest.fixture
def no_idle(monkeypatch):
    """Idle shards look at the clock at once: these tests wait for many ticks."""
    monkeypatch.setattr(shard_task, "IDLE", 0.01)


@pytest.mark.usefixtures("no_idle")
async def test_what_has_expired_is_removed():
    worker = ShardWorker(log_of(SENT))
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


@pytest.mark.usefixtures("no_idle")
async def test_expired_records_are_searched_for_part_by_part_until_there_are_none_and_again_when_a_day_has_passed():
    worker = ShardWorker(log_of(SENT))
    asked = []
    expired = worker.tables.expired

    async def ask(shard, part, *before_and_limit):
        asked.append(part)
        return await expired(shard, part, *before_and_limit)

    worker.tables.expired = ask
    async with worker.running():
        await worker.read_all()
        await worker.tick(EXPIRY_PARTS)
        assert sorted(asked[-EXPIRY_PARTS:]) == list(range(EXPIRY_PARTS))
        asked.clear()
        await worker.tick(3)
        assert asked == []
        for day in (31, 32):
            # Its time moves the watermark to the next day; the first time it lets all checkouts expire.
            moment = datetime(2026, 1, 5, 10, tzinfo=UTC) + timedelta(days=day)
            later = (
                SENT[0]
                .value.replace(b"2026-01-05", moment.date().isoformat().encode())
                .replace(b"c0", b"c%d" % (900 + day))
            )
            worker.tables.clock = int(moment.timestamp() * 1_000_000)
            worker.log.append(Record(len(worker.log), later, timestamp=worker.tables.clock // 1000))
            asked.clear()
            await worker.read_all()
            await worker.tick(3 * EXPIRY_PARTS)
            assert EXPIRY_PARTS <= len(asked) < 3 * EXPIRY_PARTS
            stored = worker.tables.memory.shards[SHARD]
            assert len(stored.entities) == len(stored.entity_expiry)


@pytest.mark.usefixtures("no_idle")
async def test_a_record_that_is_written_when_it_has_expired_is_searched_for_again():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.read_all()
        await worker.tick(EXPIRY_PARTS)
        session = worker.task._session
        assert await session.expired(0) == ((), ())
        stored = worker.tables.memory.shards[SHARD]
        session.shard._entities.records.expiry[b"c0"] = 0
        await worker.tick(EXPIRY_PARTS + 1)
        assert b"c0" not in stored.entities
        assert b"c0" not in stored.entity_expiry
        assert len(stored.entities) == 39


@pytest.mark.usefixtures("no_idle")
async def test_an_event_a_year_ahead_of_the_clock_removes_nothing():
    worker = ShardWorker(log_of(SENT))
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
