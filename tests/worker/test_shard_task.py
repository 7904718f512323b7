"""The states of one shard's task, and which batches it applies."""

import asyncio
import copy
import re
from types import SimpleNamespace

import pytest
from support import traffic
from support.one_shard import LIMIT, SENT, SHARD, Record, ShardWorker, assert_right, log_of

from stream.kafka.cursor import CREDITS, ShardHaltedError
from stream.tables.memory import Memory
from stream.worker import shard_task as module
from stream.worker.retry import WaitLog
from stream.worker.shard_task import TRANSITIONS, ShardState, ShardTask


async def test_a_restart_continues_at_the_stored_offset():
    first = ShardWorker(log_of(SENT[:33]))
    async with first.running():
        await first.read_all()
    second = ShardWorker(log_of(SENT), first.tables)
    async with second.running():
        await second.read_all()
        assert second.cursors[0].offset == 33
        await assert_right(second)


async def test_a_batch_of_an_older_cursor_is_ignored():
    async with ShardWorker(log_of(SENT)).running() as worker:
        await worker.until(lambda: worker.task.cursor is not None, fetching=False)
        worker.fetch()
        old = worker.cursors[0]
        await worker.until(lambda: worker.task.offset == 7 and not worker.is_applying, fetching=False)
        worker.task.reread()
        late = old.record_fetch(SHARD, worker.log[7:14])
        worker.task.deliver(late)
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.cursors) == 2


async def test_a_lost_batch_is_a_gap_and_is_read_again():
    async with ShardWorker(log_of(SENT)).running() as worker:
        await worker.read(14)
        worker.task.cursor.read += 5
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.cursors) == 2
    assert worker.cursors[1].offset == 14


async def test_the_very_first_batch_may_be_lost_too():
    async with ShardWorker(log_of(SENT)).running() as worker:
        await worker.until(lambda: worker.task.cursor is not None, fetching=False)
        worker.task.cursor.seek(worker.task.cursor.start(0))
        worker.task.cursor.read = 7
        await worker.read_all()
        await assert_right(worker)


async def test_batches_that_are_lost_with_none_to_follow_are_read_again(monkeypatch):
    monkeypatch.setattr(module, "LOST_AFTER", 0.05)
    monkeypatch.setattr(module, "IDLE", 0.01)
    async with ShardWorker(log_of(SENT)).running() as worker:
        await worker.read(14)
        for lost in (worker.log[14:21], worker.log[21:28]):
            worker.task.cursor.record_fetch(SHARD, lost)
        assert worker.task.cursor.outstanding == CREDITS
        await worker.read_all()
        await assert_right(worker)
    assert [cursor.offset for cursor in worker.cursors] == [None, 14]


async def test_offsets_that_a_log_never_had_are_no_gap():
    log = [Record(3 * record.offset, record.value, record.key) for record in log_of(SENT)]
    async with ShardWorker(log).running() as worker:
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.cursors) == 1


async def test_a_defect_halts_the_shard_and_commits_nothing():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.read(7)
        worker.task._session.shard.apply = None
        worker.end = len(SENT)
        await worker.until(lambda: worker.task.halted is not None)
        assert "the records 7 to 13 cannot be applied" in str(worker.task.halted)
    assert traffic.found(await worker.tables.summaries()) == traffic.expected(SENT[:7])


@pytest.mark.parametrize("everything", [True, False])
async def test_after_a_rollback_of_the_tables_the_log_is_read_again(everything):
    worker = ShardWorker(log_of(SENT))
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
    assert not worker.counters.named("fenced")


async def test_a_tick_notices_a_rollback_of_the_tables():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.read_all()
        worker.tables.memory = Memory()
        worker.tables.clock += 5_000_000
        await worker.until(lambda: len(worker.cursors) == 2)
        await worker.read_all()
        await assert_right(worker)


async def test_a_commit_that_another_owner_refuses_is_made_after_a_new_claim():
    worker = ShardWorker(log_of(SENT))

    async def steal(_):
        await worker.tables.claim(SHARD, b"other")

    async with worker.running():
        await worker.read(7)
        worker.tables.before.append(steal)
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.counters.named("fenced")) == 1


async def test_a_shard_that_was_just_assigned_is_claimed_back_at_once():
    worker = ShardWorker(log_of(SENT))
    worker.fencing_backoff = 2 * LIMIT
    async with worker.running():
        await worker.read(7)
        worker.task.suspend()
        await worker.tables.claim(SHARD, b"other")
        worker.task.resume()
        await worker.read_all()
        await assert_right(worker)
    assert len(worker.counters.named("fenced")) == 1


async def test_a_lost_shard_is_not_claimed_back_while_kafka_does_not_answer():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.read(7)
        worker.task.log_view.unanswered = True
        await worker.tables.claim(SHARD, b"other")
        worker.end = len(SENT)
        await worker.until(lambda: bool(worker.counters.named("fenced")))
        for _ in range(100):
            await asyncio.sleep(0)
        assert (await worker.tables.owners([SHARD]))[0].nonce == b"other"
        worker.task.log_view.unanswered = False
        await worker.read_all()
        await assert_right(worker)


async def test_a_suspended_shard_finishes_one_batch_and_applies_no_other():
    worker = ShardWorker(log_of(SENT))
    gate = asyncio.Event()
    reached = asyncio.Event()

    async def hold(_):
        reached.set()
        await gate.wait()

    async with worker.running():
        await worker.until(lambda: bool(worker.tables.commits) and not worker.is_applying, fetching=False)
        worker.tables.before.append(hold)
        await worker.until(reached.is_set)
        worker.fetch()
        worker.task.suspend()
        assert worker.task.cursor is None
        gate.set()
        await worker.until(lambda: not worker.is_applying)
        assert worker.task.offset == 7
        worker.task.resume()
        await worker.read_all()
        await assert_right(worker)


async def test_a_log_that_was_replaced_halts_the_shard():
    first = ShardWorker(log_of(SENT[:20]))
    async with first.running():
        await first.read_all()
    replaced = log_of(SENT)
    replaced[19] = Record(19, SENT[0].value)
    second = ShardWorker(replaced, first.tables)
    async with second.running():
        await second.until(lambda: second.task.halted is not None)
        assert "not the one that was applied" in str(second.task.halted)
        assert second.task.cursor is None
        assert ("halted", *SHARD, True) in second.counters.calls
    assert traffic.found(await second.tables.summaries()) == traffic.expected(SENT[:20])


async def test_a_log_that_was_replaced_under_a_living_worker_halts_the_shard_when_it_is_sought_again():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.read(20)
        worker.log[19] = Record(19, SENT[0].value)
        worker.task.suspend()
        worker.task.resume()
        worker.end = len(SENT)
        await worker.until(lambda: worker.task.halted is not None)
        assert "not the one that was applied" in str(worker.task.halted)
    assert traffic.found(await worker.tables.summaries()) == traffic.expected(SENT[:20])


async def test_the_last_applied_record_may_be_gone():
    first = ShardWorker(log_of(SENT[:20]))
    async with first.running():
        await first.read_all()
    second = ShardWorker(log_of(SENT)[20:], first.tables)
    second.beginning = 20
    async with second.running():
        await second.read_all()
        await assert_right(second)


def test_a_shard_is_stuck_only_if_it_has_records_and_nothing_to_wait_for():
    task = ShardTask(SHARD, "checkout", SimpleNamespace(waits=WaitLog()), asyncio.Event(), 1)
    task._progressed_at -= 100
    assert not task.is_stuck(60)
    task._session = SimpleNamespace(offset=5)
    task.state, task.log_view.end = ShardState.READING, 9
    task._progressed_at -= 100
    assert task.is_stuck(60)
    task.waiting.begin("connection: cut")
    assert not task.is_stuck(60)
    task.waiting.end()
    task._progressed_at -= 100
    assert task.is_stuck(60)
    task.log_view.unanswered = True
    assert not task.is_stuck(60)
    task.log_view.unanswered, task.log_view.unreadable = False, "cannot be read: a checksum is wrong"
    task._progressed_at -= 100
    assert not task.is_stuck(60)
    task.log_view.unreadable = None
    task.suspend()
    task._progressed_at -= 100
    assert not task.is_stuck(60)


def test_the_table_of_states_is_that_of_the_docstring():
    rows = re.findall(r"^\| (\w+) +\| .*? +\| (.*?) +\|$", module.__doc__, re.MULTILINE)[1:]
    words = {state: set(re.findall(r"\w+", after)) - {"none", "rollback"} for state, after in rows}
    assert words == {state.value: {after.value for after in TRANSITIONS[state]} for state in ShardState}


async def test_a_shard_goes_from_claim_over_suspension_to_reading_again():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        assert worker.task.state is ShardState.UNCLAIMED
        await worker.read(7)
        assert worker.task.state is ShardState.READING
        worker.task.suspend()
        assert worker.task.state is ShardState.SUSPENDED
        worker.task.resume()
        await worker.read_all()
    assert worker.states[:2] == [ShardState.CLAIMING, ShardState.READING]
    assert ShardState.SUSPENDED in worker.states


async def test_a_fault_of_the_log_halts_also_a_suspended_shard():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.read(7)
        worker.task.suspend()
        worker.task.halt(ShardHaltedError("the log is gone"))
        await worker.until(lambda: worker.task.state is ShardState.HALTED)
        assert str(worker.task.halted) == "the log is gone"
        worker.task.resume()
        assert worker.task.state is ShardState.HALTED
        assert worker.task.cursor is None
