"""One batch of one shard: what is applied, published, committed and counted, and in which order."""

import json

from support import traffic
from support.one_shard import SENT, SHARD, Record, ShardWorker, assert_right, log_of

from stream.events.outcome import outcome_event
from stream.worker.shard_task import CLAIMED


async def test_it_applies_what_is_read_and_counts_it():
    checkout, subscription = next(traffic.checkouts(1)), next(traffic.subscriptions(1))
    wrong = [
        checkout._replace(value=checkout.value.replace(b"EUR", b"eur")),
        subscription._replace(topic=checkout.topic),
    ]
    sent = [*SENT, *traffic.junk(3), *wrong]
    async with ShardWorker(log_of(sent)).running() as worker:
        await worker.read_all()
        await assert_right(worker)
    counted = worker.counters.named("event")
    assert sum(count for _, _, result, count in counted if result != "rejected") == len(SENT)
    assert {(kind, count) for _, kind, result, count in counted if result == "rejected"} == {
        (None, 3),
        ("commerce.checkout.started.v1", 1),
        ("commerce.subscription.created.v1", 1),
    }
    assert len([m for m in worker.publisher.acknowledged if m.topic == "dead"]) == 5
    outcomes = [m for m in worker.publisher.acknowledged if m.topic == "outcomes"]
    assert {m.key for m in outcomes} <= {s.key for s in SENT}
    judged = worker.counters.named("judged")
    assert {(topic, partition) for topic, partition, _ in judged} == {SHARD}
    assert [outcome_event(version, "test") for *_, versions in judged for version in versions] == [
        m.value for m in outcomes
    ]


async def test_a_batch_that_needs_too_much_at_once_is_applied_in_parts():
    started, completed = SENT[::2], SENT[1::2]
    second = [completed[0], *traffic.junk(2), *completed[1:20], traffic.erasure(3), *completed[20:], *traffic.junk(1)]
    found = []
    for enough in (10_000_000, 1000):
        worker = ShardWorker(log_of([*started, *second]))
        worker.tables.loaded = enough
        worker.chunk = len(second)
        async with worker.running():
            await worker.read(len(started))
        before = len(worker.tables.commits)
        async with worker.running():  # with nothing in memory
            await worker.read_all()
            await assert_right(worker, [*started, *second])
        found.append((worker.publisher.acknowledged, len(worker.tables.commits) - before > 5))
    assert found == [(found[0][0], False), (found[0][0], True)]


async def test_a_fact_of_a_33rd_order_becomes_a_dead_letter():
    def order(number):
        sent = next(traffic.checkouts(1))
        event = json.loads(sent.value)
        event |= {"id": f"order-{number}", "type": "commerce.order.completed.v1"}
        event["data"]["order_id"] = f"o-{number}"
        return sent._replace(value=json.dumps(event).encode())

    async with ShardWorker(log_of([*map(order, range(33)), *SENT[2:4]])).running() as worker:
        await worker.read_all()
    (letter,) = [m for m in worker.publisher.acknowledged if m.topic == "dead"]
    assert letter.value == order(32).value
    assert dict(letter.headers)["upsell-reason"] == b"too_many_orders"
    assert dict(letter.headers)["upsell-path"] == b"data.order_id"
    assert worker.counters.named("dead_letter") == [("too_many_orders",)]
    results = [(result, count) for _, _, result, count in worker.counters.named("event")]
    assert sum(count for result, count in results if result == "rejected") == 1
    assert sum(count for result, count in results if result == "applied") == 34


async def test_no_commit_before_its_messages_are_acknowledged():
    worker = ShardWorker(log_of(SENT))
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


async def test_idle_windows_move_on():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.until(lambda: worker.task.state in CLAIMED, fetching=False)
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


async def test_offsets_behind_the_last_record_that_hold_none_are_passed_over_with_a_tick():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.read_all()
        end = len(SENT)
        worker.task.log_view.empty = range(end, end + 2)

        def passed():
            worker.tables.clock += 5_000_000
            return worker.task.offset == end + 2

        await worker.until(passed)
        assert worker.task.cursor.read == end + 2
        worker.log += [Record(end + 2, sent.value, sent.key) for sent in traffic.checkouts(1, first=99)][:1]
        worker.end = len(worker.log)
        await worker.until(lambda: worker.task.offset == end + 3)
    assert not worker.task.halted


async def test_they_are_passed_over_also_if_the_stored_offset_follows_others_of_them():
    first = ShardWorker(log_of(SENT))
    end = len(SENT)
    async with first.running():
        await first.read_all()
        first.task.log_view.empty = range(end, end + 2)
        await first.tick()
    second = ShardWorker(log_of(SENT), first.tables)
    async with second.running():
        await second.until(lambda: second.fetch() or second.cursors)
        assert second.task.cursor.read == end + 1, "the record before the next one is sought, and is none"
        second.task.log_view.empty = range(end + 1, end + 4)
        await second.tick()
        assert second.task.offset == second.task.cursor.read == end + 4


async def test_nothing_is_passed_over_before_the_log_was_recognised():
    first = ShardWorker(log_of(SENT))
    first.topics.known = {}
    async with first.running():
        await first.read_all()
    other = log_of(traffic.checkouts(40, first=500))
    second = ShardWorker(other, first.tables)
    second.topics.known = {}
    async with second.running():
        await second.until(lambda: second.task.cursor is not None, fetching=False)
        cursor = second.task.cursor
        cursor.seek(cursor.start(0))
        batch = cursor.record_fetch(SHARD, other[-1:])
        second.task.log_view.empty = range(cursor.read, cursor.read + 3)
        await second.tick()
        assert second.task.offset == len(SENT)
        second.task.deliver(batch)
        await second.until(lambda: second.task.halted, fetching=False)
    assert "is not the one that was applied" in str(second.task.halted)


async def test_what_cannot_be_read_is_reported_with_every_tick_until_it_can():
    worker = ShardWorker(log_of(SENT))
    async with worker.running():
        await worker.read_all()
        worker.task.log_view.unanswered = True
        await worker.tick(2)
        first, second = (commit.health.unread_since for commit in worker.tables.commits[-2:])
        assert first == second > 0
        worker.task.log_view.unanswered = False
        await worker.tick()
        assert worker.tables.commits[-1].health.unread_since == 0
