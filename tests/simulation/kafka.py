"""Kafka as a few lists: logs, a consumer group, topics to write to, and their faults.

Rules: an appended record stays unless a fault deletes it. The group assigns every partition to one member at a time; a member that does not hear of a new
assignment continues with its old one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaConnectionError, RequestTimedOutError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from faust.types import TP
    from simulation.world import Loop, World

SESSION = 6.0
"""Seconds without a heartbeat after which a member is out."""
HEARTBEAT = 2.0


@dataclass
class Record:
    """As aiokafka has it."""

    topic: str
    offset: int
    key: bytes
    value: bytes
    timestamp: int
    timestamp_type: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Log:
    """One partition."""

    records: list[Record] = field(default_factory=list)
    """Those that are there, by offset; offsets may have gaps."""
    beginning: int = 0
    end: int = 0

    def append(self, record: Record) -> None:
        self.records.append(record)
        self.end = record.offset + 1

    def read(self, offset: int, most: int) -> list[Record]:
        first = next((place for place, record in enumerate(self.records) if record.offset >= offset), len(self.records))
        return self.records[first : first + most]


@dataclass
class _Member:
    heard: float
    joined: Callable[[int, list[TP]], None] | None = None
    """To be called with the next generation, if it has asked to join it."""


class Group:
    """The coordinator of the workers' group: eager, as Faust's is."""

    def __init__(self, world: World, partitions: Sequence[TP]) -> None:
        self.generation = 0
        self.committed: dict[TP, int] = {}
        """Offsets as the workers show them."""
        self._world = world
        self._partitions = partitions
        self._members: dict[int, _Member] = {}
        self._deadline: float | None = None
        """Until when a rebalance waits for members; None while there is none."""
        self._watch()

    def heartbeat(self, member: int, generation: int) -> bool:
        """Whether the member keeps its assignment."""
        known = self._members.get(member)
        if known is None:
            return False
        known.heard = self._world.now
        return self._deadline is None and generation == self.generation

    def join(self, member: int, joined: Callable[[int, list[TP]], None]) -> None:
        self._members[member] = _Member(self._world.now, joined)
        self.rebalance()
        self._complete()

    def leave(self, member: int) -> None:
        if self._members.pop(member, None) is not None:
            self.rebalance()
            self._complete()

    def rebalance(self) -> None:
        """Ask all members to join again."""
        if self._deadline is None:
            self._deadline = self._world.now + SESSION

    def _watch(self) -> None:
        now = self._world.now
        for number, member in list(self._members.items()):
            if member.joined is None and now - member.heard > SESSION:
                self._world.note(f"kafka: worker {number} is out of the group")
                self.leave(number)
        self._complete()
        self._world.after(0.5, self._watch)

    def _complete(self) -> None:
        if self._deadline is None or not self._members:
            return
        late = self._world.now >= self._deadline
        if late:
            self._members = {number: member for number, member in self._members.items() if member.joined is not None}
        if not self._members or any(member.joined is None for member in self._members.values()):
            return
        self._deadline = None
        self.generation += 1
        members = sorted(self._members)
        self._world.random.shuffle(members)
        shares: dict[int, list[TP]] = {member: [] for member in members}
        for place, partition in enumerate(self._partitions):
            shares[members[place % len(members)]].append(partition)
        self._world.note(
            f"kafka: generation {self.generation}: { {k: [f'{t[0]}/{p}' for t, p in v] for k, v in shares.items()} }"
        )
        for number, member in self._members.items():
            joined, member.joined, member.heard = member.joined, None, self._world.now
            assert joined is not None
            joined(self.generation, shares[number])


class Broker:
    """All of it."""

    def __init__(self, world: World, ends: dict[TP, int]) -> None:
        self.ends = ends
        """Where the logs will end."""
        self.logs = {partition: Log() for partition in ends}
        self.group = Group(world, sorted(ends))
        self.written: list[tuple[str, bytes | None, bytes, tuple[tuple[str, bytes], ...]]] = []
        """To the topics of outcomes and dead letters: topic, key, value, headers."""
        self.failing = 0.0
        """The share of messages whose way to the log or back fails."""
        self.away = False
        """It does not answer."""
        self._world = world
        self._appended: list[Callable[[], None]] = []

    def append(self, partition: TP, record: Record) -> None:
        self.logs[partition].append(record)
        self.notify()

    def on_append(self, act: Callable[[], None]) -> None:
        """Have something done at every record that is appended."""
        self._appended.append(act)

    def notify(self) -> None:
        for act in self._appended:
            act()

    def write(self, message: tuple[str, bytes | None, bytes, tuple[tuple[str, bytes], ...]]) -> None:
        self.written.append(message)


class Producer:
    """aiokafka's, as `stream.kafka.producer` uses it."""

    def __init__(self, broker: Broker, world: World, loop: Loop) -> None:
        self._broker, self._world, self._loop = broker, world, loop
        self._lost = False

    async def start(self) -> None:
        await asyncio.sleep(0.005)
        if self._broker.away:
            raise KafkaConnectionError

    async def stop(self) -> None:
        await asyncio.sleep(0.001)

    async def send(
        self, topic: str, value: bytes, key: bytes | None, headers: list[tuple[str, bytes]]
    ) -> asyncio.Future[None]:
        broker, world, dice = self._broker, self._world, self._world.random
        future: asyncio.Future[None] = self._loop.create_future()
        message = (topic, key, value, tuple(headers))
        there, back = dice.uniform(0.001, 0.005), dice.uniform(0.001, 0.005)
        error: Exception | None = None
        arrives = answers = True
        if broker.away or self._lost:
            arrives, error = False, KafkaConnectionError()
        elif broker.failing and dice.random() < broker.failing:
            match dice.randrange(4):
                case 0:
                    arrives, error = False, KafkaConnectionError()
                case 1:
                    error = RequestTimedOutError()
                case 2:
                    answers, arrives = False, dice.random() < 0.5
                case 3:
                    there += dice.uniform(0.2, 2.0)
            self._lost = error is not None and not arrives
        if arrives:
            world.after(there, lambda: broker.write(message))
        if answers:
            world.after(there + back, lambda: self._answer(future, error))
        return future

    def _answer(self, future: asyncio.Future[None], error: Exception | None) -> None:
        if self._loop.is_closed():
            return

        def answer() -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()

        self._loop.call_soon(answer)
