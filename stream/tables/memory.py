"""The tables in memory: the test double.

Rules: it behaves as `stream.tables.redis` does; one test suite checks both. The data lasts as long as the process. To simulate a rollback of Redis, put back
a deep copy of `Memory`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from stream.core.shard.write_set import ShardId, Stored, StoredHistory
from stream.tables.interface import (
    EXPIRY_PARTS,
    LOADED,
    Application,
    Claim,
    Commit,
    CommitResult,
    Halt,
    KnownTopic,
    Loaded,
    Owner,
    ServerMemory,
    ShardHealth,
    ShardSummary,
    Tables,
    TooLargeError,
)
from stream.tables.keys import EXPIRY_BITS, Buckets

_INDEX = Buckets(b"", EXPIRY_BITS)

_V = TypeVar("_V", bytes, int)


@dataclass
class _Shard:
    nonce: bytes | None = None
    epoch: int = 0
    offset: int | None = None
    batch: bytes | None = None
    source: bytes | None = None
    state: bytes | None = None
    summary: bytes = b""
    recent: bytes | None = None
    committed_at: int = 0
    panes: dict[bytes, bytes] = field(default_factory=dict)
    entities: dict[bytes, bytes] = field(default_factory=dict)
    customers: dict[bytes, bytes] = field(default_factory=dict)
    entity_expiry: dict[bytes, int] = field(default_factory=dict)
    customer_expiry: dict[bytes, int] = field(default_factory=dict)
    sets: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    counts: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    history: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    health: ShardHealth = field(default_factory=ShardHealth)
    halt: Halt | None = None
    retired: bool = False

    def write(self, commit: Commit) -> None:
        changes = commit.changes
        _write(self.panes, changes.panes)
        _write(self.entities, changes.entities)
        _write(self.customers, changes.customers)
        _write(self.entity_expiry, changes.entity_expiry)
        _write(self.customer_expiry, changes.customer_expiry)
        for name, scores in changes.scores.items():
            _write(self.sets.setdefault(name, {}), scores)
        for record, fields in changes.history.items():
            _write(self.history.setdefault(record, {}), fields)
        for record in changes.dropped:
            self.history.pop(record, None)
        for name in changes.counted:
            self._count(name, changes.bounds, changes.trim)
        self.state = self.state if changes.state is None else changes.state
        self.summary = self.summary if changes.summary is None else changes.summary
        self.recent, self.health = changes.recent, commit.health
        self.source, self.committed_at, self.batch = commit.source, commit.now, commit.batch
        if commit.end is not None:
            self.offset = commit.end

    def _count(self, name: bytes, bounds: Sequence[tuple[int, int]], trim: int | None) -> None:
        times = self.sets.get(name, {})
        if trim is not None:
            times = self.sets[name] = {member: time for member, time in times.items() if time > trim}
        if times:
            self.counts[name] = tuple(sum(after < time <= until for time in times.values()) for after, until in bounds)
        else:
            self.counts.pop(name, None)


@dataclass
class Memory:
    """The stored data."""

    shards: dict[ShardId, _Shard] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
    topics: dict[str, KnownTopic] = field(default_factory=dict)


class MemoryTables(Tables):
    """The tables of one application. `memory` may be replaced between calls, and shared with other instances."""

    def __init__(self, clock: Callable[[], int], memory: Memory | None = None) -> None:
        """`clock` returns microseconds since the epoch."""
        self._clock = clock
        self.memory = Memory() if memory is None else memory
        self.loaded = LOADED
        self._last: dict[ShardId, tuple[bytes, bytes | None]] = {}
        """Nonce of each claim made here, and the newest batch that is known to be stored with it."""

    async def now(self) -> int:
        """The time of the given clock."""
        return self._clock()

    async def claim(self, shard: ShardId, nonce: bytes) -> Claim:
        """Claim a shard."""
        stored = self.memory.shards.setdefault(shard, _Shard())
        if stored.nonce != nonce:
            stored.nonce, stored.epoch = nonce, stored.epoch + 1
        stored.halt, stored.retired = None, False
        self._last[shard] = (nonce, stored.batch)
        kept = Stored(stored.state, dict(stored.panes), stored.recent)
        return Claim(nonce, stored.epoch, stored.offset, kept, stored.source, stored.health)

    async def load(self, shard: ShardId, entities: Sequence[bytes], customers: Sequence[bytes]) -> Loaded:
        """Read records by key and the owner, until the records are `loaded` bytes."""
        stored, room = self._shard(shard), self.loaded
        answered: list[bytes | None] = []
        for keys, records in ((entities, stored.entities), (customers, stored.customers)):
            for key in keys:
                if room > 0:
                    answered.append(value := records.get(key))
                    room -= len(value or b"")
        owner = Owner(stored.nonce, stored.epoch, stored.offset)
        return Loaded(answered[: len(entities)], answered[len(entities) :], owner)

    async def load_history(
        self, shard: ShardId, fields: Mapping[str, Sequence[bytes]]
    ) -> dict[str, list[bytes | None]]:
        """Read fields of records of the history."""
        records = self._shard(shard).history
        return {name: [records.get(name, {}).get(each) for each in own] for name, own in fields.items()}

    async def history(self, shards: Sequence[ShardId], names: Sequence[str], room: int) -> list[StoredHistory]:
        """Read records of the history."""
        found = []
        for shard in shards:
            stored = self._shard(shard)
            own = {name: dict(fields) for name in names if (fields := stored.history.get(name))}
            room -= sum(len(name) + len(value) for fields in own.values() for name, value in fields.items())
            if room < 0:
                raise TooLargeError
            found.append(StoredHistory(shard, stored.recent, stored.state, own))
        return found

    async def expired(
        self, shard: ShardId, part: int, entities_before: int, customers_before: int, limit: int
    ) -> tuple[list[bytes], list[bytes]]:
        """Keys that have expired, at most `limit` of each sort."""
        stored = self._shard(shard)
        return (
            _oldest(stored.entity_expiry, part, entities_before, limit),
            _oldest(stored.customer_expiry, part, customers_before, limit),
        )

    async def commit(self, commit: Commit) -> CommitResult:
        """Write, or refuse."""
        stored = self._shard(commit.shard)
        claimed, last = self._last.get(commit.shard, (None, None))
        known = claimed == commit.nonce
        committed = _verdict(stored, commit, last if known else stored.batch)
        if committed is CommitResult.APPLIED:
            stored.write(commit)
        if known and committed in (CommitResult.APPLIED, CommitResult.REPEATED):
            self._last[commit.shard] = (commit.nonce, commit.batch)
        return committed

    async def owners(self, shards: Sequence[ShardId]) -> list[Owner]:
        """Owner and offset of each shard."""
        stored = [self._shard(shard) for shard in shards]
        return [Owner(shard.nonce, shard.epoch, shard.offset) for shard in stored]

    async def register_labels(
        self, labels: Iterable[tuple[str, str]], bounds: Mapping[str, int]
    ) -> dict[str, list[str]]:
        """Register labels."""
        for name, value in labels:
            values = self.memory.labels.get(name, [])
            if value not in values and len(values) < bounds.get(name, 0):
                self.memory.labels[name] = [*values, value]
        return {name: list(values) for name, values in self.memory.labels.items()}

    async def summaries(self) -> list[ShardSummary]:
        """The newest summary of each shard that has one, sorted by shard."""
        return (await self.application()).shards

    async def application(self) -> Application:
        """Summaries, halts and topics."""
        shards = {shard: stored for shard, stored in sorted(self.memory.shards.items()) if not stored.retired}
        summaries = [
            ShardSummary(shard, stored.summary, stored.recent, stored.committed_at, dict(stored.counts), stored.health)
            for shard, stored in shards.items()
            if stored.recent is not None
        ]
        halts = {shard: stored.halt for shard, stored in shards.items() if stored.halt is not None}
        return Application(summaries, halts, dict(self.memory.topics))

    async def halt(self, shard: ShardId, nonce: bytes | None, halt: Halt) -> bool:
        """Store why a shard is halted."""
        stored = self.memory.shards.setdefault(shard, _Shard())
        stored.retired = False
        if stored.nonce != nonce:
            return False
        stored.halt = halt
        return True

    async def register_topic(self, topic: str, journey: str, partitions: int, *, replace: bool = False) -> KnownTopic:
        """Store an input topic's number of partitions."""
        if replace or topic not in self.memory.topics:
            self.memory.topics[topic] = KnownTopic(journey, partitions, self._clock())
        return self.memory.topics[topic]

    async def retire(self, topic: str) -> int:
        """Take a topic and its shards out of `application`."""
        self.memory.topics.pop(topic, None)
        shards = [stored for shard, stored in self.memory.shards.items() if shard.topic == topic and not stored.retired]
        for stored in shards:
            stored.retired = True
        return len(shards)

    async def server_memory(self) -> ServerMemory | None:
        """None: there is no server."""

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _shard(self, shard: ShardId) -> _Shard:
        return self.memory.shards.get(shard) or _Shard()


def _verdict(stored: _Shard, commit: Commit, preceding: bytes | None) -> CommitResult:
    """The checks of `commit.lua` before it writes; `preceding` is the batch that must be the last one stored."""
    if stored.batch == commit.batch:
        return CommitResult.REPEATED
    if stored.nonce is None or stored.epoch < commit.epoch:
        return CommitResult.REWOUND
    if stored.nonce != commit.nonce:
        return CommitResult.STOLEN
    if stored.epoch > commit.epoch or stored.offset != commit.start or stored.batch != preceding:
        return CommitResult.REWOUND
    return CommitResult.APPLIED


def _write(table: dict[bytes, _V], values: Mapping[bytes, _V | None]) -> None:
    """Set values; None deletes."""
    for key, value in values.items():
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value


def _oldest(index: Mapping[bytes, int], part: int, before: int, limit: int) -> list[bytes]:
    """The oldest keys of each bucket of a part, as `stream.tables.redis` finds them."""
    due: dict[int, list[tuple[int, bytes]]] = {number: [] for number in range(part, _INDEX.size, EXPIRY_PARTS)}
    for number, (key, time) in zip(_INDEX.numbers(index), index.items(), strict=True):
        if time < before and number in due:
            due[number].append((time, key))
    found = [key for bucket in due.values() for _, key in sorted(bucket)[: limit // len(due) + 1]]
    return found[:limit]
