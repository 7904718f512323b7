"""The worker's consumer on a client that is a dict of lists, without Faust."""

import asyncio
from types import SimpleNamespace

from aiokafka.client import ConnectionGroup
from aiokafka.structs import TopicPartition
from faust.types import TP

from stream.consumer.batch_consumer import BatchConsumer
from stream.consumer.liveness import Liveness, LogEnd
from stream.core.shard.write_set import ShardId
from stream.kafka.cursor import Cursor

A, B = TP("checkout-events", 0), TP("checkout-events", 1)


def record(offset):
    return SimpleNamespace(offset=offset, value=b"", key=b"", timestamp=1_000, timestamp_type=0)


class Shards:
    """Stands in for the worker's `ShardSet`: has the cursors that a test makes, and remembers what the consumer notes."""

    def __init__(self) -> None:
        self.cursors = {}
        self.changed = asyncio.Event()
        self.halted = {}
        self.reasons = {}
        self.reread_shards = []
        self.ends = {}
        """Shard -> the end of its log; where it was sought, before it was read."""
        self.empty = {}
        self.unreadable = {}
        self.tasks = {}
        self.assigned = True
        self.unanswered = set()
        """Shards; None for the member's heartbeats."""
        self.refused = []
        self.answered_at = 0.0

    def cursor(self, shard):
        return self.cursors.get(shard)

    def halt(self, shard, why):
        self.halted[shard] = str(why)
        self.reasons[shard] = why.reason
        self.cursors.pop(shard, None)

    def is_halted(self, shard):
        return shard in self.halted

    def reread(self, shards):
        for shard in shards:
            self.reread_shards.append(shard)
            self.cursors.pop(shard, None)

    def note_start(self, shard, offset):
        self.ends.setdefault(shard, offset)

    def note_read(self, shard, end, empty):
        self.ends[shard] = end
        self.empty[shard] = empty
        self.unreadable.pop(shard, None)

    def note_unreadable(self, shard, reason):
        self.unreadable[shard] = reason

    def note_unanswered(self, shard, unanswered):
        (self.unanswered.add if unanswered else self.unanswered.discard)(shard)

    def note_silence(self, unanswered):
        self.note_unanswered(None, unanswered)

    def note_refused(self, reason):
        self.refused.append(reason)


class Consumer(BatchConsumer):
    """`during` runs while it fetches."""

    flow_active = True
    should_stop = False

    def __init__(self, *partitions) -> None:
        self.app = SimpleNamespace(consumer_generation_id=1, shards=Shards(), batch_records=100, polled_records=1000)
        self.logs = {tp: [record(offset) for offset in range(10)] for tp in partitions}
        self.positions = {}
        self.beginnings = dict.fromkeys(partitions, 0)
        self.fetches = []
        self.passed_over = 0
        self.during = lambda: None
        self.coordination = SimpleNamespace(done=lambda: False)
        self.connection = SimpleNamespace(_last_action=0.0)
        self.answered = dict.fromkeys(partitions, 0)
        self.coordinator = SimpleNamespace(_coordination_task=self.coordination, coordinator_id=7)
        client = SimpleNamespace(
            _coordinator=self.coordinator,
            _client=SimpleNamespace(_conns={(7, ConnectionGroup.COORDINATION): self.connection}),
            last_poll_timestamp=lambda tp: self.answered[TP(*tp)],
        )
        self._thread = SimpleNamespace(_ensure_consumer=lambda: client)
        self._cursors, self._shown, self._fetched_at, self._unreadable_until = {}, {}, {}, {}
        self._isolated_until = 0.0
        self.liveness = Liveness(self.shards, self._client, self._has_no_room)
        self.liveness.log_end = lambda shard: LogEnd(len(self.logs[shard]), self.positions[shard] + self.passed_over)

    def _get_active_partitions(self):
        return set(self.logs)

    async def earliest_offsets(self, *partitions):
        return {tp: self.beginnings[tp] for tp in partitions}

    async def highwaters(self, *partitions):
        return {tp: len(self.logs[tp]) for tp in partitions}

    async def seek_wait(self, partitions):
        self.positions.update(partitions)

    async def _getmany(self, active_partitions, timeout):  # noqa: ASYNC109 - the client's signature
        self.fetches.append((active_partitions, timeout))
        fetched = {}
        for tp in active_partitions:
            records = [record for record in self.logs[tp] if record.offset >= self.positions[tp]][:4]
            if records:
                fetched[TopicPartition(*tp)] = records
                self.positions[tp] = records[-1].offset + 1
        self.during()
        return fetched

    async def _wait_for_change(self, seconds):
        await asyncio.sleep(0)

    def unanswered(self, now):
        """What is noted as unanswered at a time."""
        self.liveness.check(now)
        return self.shards.unanswered

    def want(self, tp, offset, *, verify=False):
        self.shards.tasks.setdefault(ShardId(*tp))
        cursor = self.shards.cursors[ShardId(*tp)] = Cursor(offset, verify=verify)
        return cursor

    async def read(self):
        return {TP(*batch.shard): batch async for _, message in self.getmany(timeout=1.0) for batch in message.value}
