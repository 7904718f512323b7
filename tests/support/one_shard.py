"""The task of one shard on tables in memory, with a log that is a list."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiokafka.errors import KafkaConnectionError
from support import traffic

from stream.core.config import CoreConfig
from stream.core.labels import LabelRegistry
from stream.core.shard.write_set import ShardId
from stream.events.decode import Decoder
from stream.kafka.cursor import CREDITS, Cursor
from stream.kafka.producer import Message, UnacknowledgedError
from stream.tables.memory import MemoryTables
from stream.worker.clock import Clock
from stream.worker.context import WorkerContext
from stream.worker.shard_task import ShardState, ShardTask

SHARD = ShardId(traffic.CHECKOUT, 0)
SENT = list(traffic.checkouts(40))
LIMIT = 30.0
"""Seconds for a condition that holds at once unless something is wrong."""


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


class Counters:
    """Remembers what is counted."""

    def __init__(self) -> None:
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))

    def named(self, name):
        return [call[1:] for call in self.calls if call[0] == name]


class ShardWorker:
    """One task, and a consumer that reads a list."""

    def __init__(self, log: list[Record], tables: Tables | None = None, journey: str = "checkout") -> None:
        self.log = log
        self.journey = journey
        self.tables = tables or Tables()
        self.publisher = Publisher()
        self.topics = Topics()
        self.counters = Counters()
        self.fencing_backoff = 0.0
        self.admission = None
        self.chunk = 7
        self.beginning = 0
        self.end = len(log)
        """Records from here on are not there yet."""
        self.cursors: list[Cursor] = []
        self.states: list[ShardState] = []
        """Every state that the task was in."""
        self.task: ShardTask | None = None

    @asynccontextmanager
    async def running(self):
        clock = Clock(self.tables)
        await clock.refresh()
        clock.now = lambda: self.tables.clock
        context = WorkerContext(
            app_id="test", cluster="cluster", core=CoreConfig(), labels=LabelRegistry(), tables=self.tables, clock=clock,
            decoder=Decoder({SHARD.topic: self.journey}, 600_000_000), publisher=self.publisher, outcome_topic="outcomes",
            dead_letter_topic="dead", counters=self.counters, fencing_backoff=self.fencing_backoff, topics=self.topics, admission=self.admission,
        )  # fmt: skip
        self.task = ShardTask(SHARD, self.journey, context, asyncio.Event(), 1000)
        enter = self.task._enter

        def entered(state):
            enter(state)
            self.states.append(state)

        self.task._enter = entered
        running = asyncio.create_task(self.task.run())
        try:
            yield self
        finally:
            ended = running.done()
            running.cancel()
            await asyncio.wait([running])
            assert not ended, running.exception()

    def fetch(self) -> bool:
        """Deliver one batch, as the consumer would; False if there is nothing to deliver, or no room."""
        cursor = self.task.cursor
        if cursor is None:
            return False
        if cursor.read is None:
            cursor.seek(cursor.start(self.beginning))
            self.cursors.append(cursor)
        records = [record for record in self.log[: self.end] if record.offset >= cursor.read][: self.chunk]
        if cursor.outstanding >= CREDITS or not records:
            return False
        self.task.deliver(cursor.record_fetch(SHARD, records))
        return True

    @property
    def is_applying(self) -> bool:
        return self.task.state is ShardState.APPLYING

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
        await self.until(lambda: self.task.offset == self.log[end - 1].offset + 1 and not self.is_applying)

    async def tick(self, times: int = 1) -> None:
        """Wait until so many ticks are committed, without fetching."""
        for _ in range(times):
            before = len(self.tables.commits)
            self.tables.clock += 5_000_000
            await self.until(lambda before=before: len(self.tables.commits) > before, fetching=False)


async def assert_right(worker: ShardWorker, sent=SENT) -> None:
    """The stored figures are those of these events."""
    assert traffic.found(await worker.tables.summaries()) == traffic.expected(sent)
