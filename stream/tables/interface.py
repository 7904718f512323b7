"""The tables as the worker uses them, in Redis or in memory.

Rules: a commit is one atomic step for one shard. It checks owner and offset before it writes anything, and writes absolute values. Every method may raise
`TablesUnavailableError` (repeat the same call later; it may have been executed) or `IncompatibleStateError` (do not repeat; the message says what to do).
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Final, Literal, Protocol

import msgspec

from stream.core.shard.write_set import ShardId, Stored, StoredHistory, WriteSet

UnavailableReason = Literal[
    "connection", "timeout", "full", "persistence", "readonly", "busy", "loading", "cluster", "refused"
]
_WORDS: Mapping[UnavailableReason, str] = {
    "connection": "Redis cannot be reached",
    "timeout": "Redis does not answer",
    "full": "Redis is full",
    "persistence": "Redis accepts no writes, because it cannot save them or has too few replicas",
    "readonly": "Redis is read-only; it may be a replica",
    "busy": "Redis is busy with a script",
    "loading": "Redis is loading its data",
    "cluster": "the Redis Cluster is not available",
    "refused": "Redis refuses the request",
}


class TablesUnavailableError(Exception):
    """The tables cannot answer now. `reason` is a label of `upsell_commit_failures_total`."""

    retry_after = 0.0
    """Seconds until the call may be repeated, at least."""

    def __init__(self, reason: UnavailableReason, detail: str) -> None:
        super().__init__(f"{_WORDS[reason]} ({detail})")
        self.reason: UnavailableReason = reason


class TablesRefusedError(TablesUnavailableError):
    """The tables refuse the call until an operator has changed something there: rights, a password, commands. The message has their own words."""

    retry_after = 10.0

    def __init__(self, detail: str) -> None:
        """`detail`: what was refused, and what to do."""
        super().__init__("refused", detail)
        self.detail = detail


class IncompatibleStateError(Exception):
    """This process cannot use the tables: stored by a newer version, or reached with unsupported options. Says what to do."""


class CommitResult(Enum):
    """The answer to a commit."""

    APPLIED = "applied"
    """Written now."""
    REPEATED = "repeated"
    """This batch was written before, and the answer was lost."""
    REWOUND = "rewound"
    """Refused: the tables were rolled back (they lost their newest data, or all of it). Claim again at once, and read from the stored offset."""
    STOLEN = "stolen"
    """Refused: another worker has claimed the shard."""


class ShardHealth(msgspec.Struct, frozen=True, array_like=True):
    """What the owner of a shard reports with each commit, besides the figures. Nothing is decided by it."""

    oldest_unapplied: int = 0
    """Kafka's timestamp of the oldest record that is not applied, microseconds; 0 if all are applied."""
    recent: tuple[tuple[int, dict[str, int]], ...] = ()
    """Records of each of the last minutes: the minute's start, microseconds, and counts: `ACCEPTED`, `WITHOUT_KEY`, and dead letters by reason."""
    unread_since: int = 0
    """Since when the owner cannot read the log (Kafka does not answer, or the next records cannot be read), microseconds; 0: it can."""


ACCEPTED: Final = "accepted"
"""In `ShardHealth.recent`: records that were no dead letters."""
WITHOUT_KEY: Final = "without key"
"""In `ShardHealth.recent`: those of them that have no key."""


class Halt(msgspec.Struct, frozen=True, array_like=True):
    """Why a shard makes no progress until somebody has looked."""

    reason: str
    """One of `stream.kafka.cursor.HaltReason`."""
    text: str
    at: int
    """When it was halted, by the tables' clock; microseconds."""


class KnownTopic(msgspec.Struct, frozen=True, array_like=True):
    """An input topic as the application knows it."""

    journey: str
    partitions: int
    """Partitions that are read: as many as there were when the application first saw the topic, or as an operator accepted since."""
    at: int
    """When that number was stored, by the tables' clock; microseconds."""


class Claim(msgspec.Struct, frozen=True):
    """Ownership of a shard, and the shard as it was stored at that moment."""

    nonce: bytes
    epoch: int
    offset: int | None
    """The next offset to read; None if no records were ever committed."""
    stored: Stored
    source: bytes | None
    """`Commit.source` of the last commit."""
    health: ShardHealth = ShardHealth()
    """`Commit.health` of the last commit."""


class Commit(msgspec.Struct, frozen=True):
    """One batch of one shard. A tick is a commit whose start equals its end."""

    shard: ShardId
    nonce: bytes
    epoch: int
    batch: bytes
    """The batch id. A commit that is repeated has the same one."""
    start: int | None
    """The offset that must be stored now; None if no records were ever committed."""
    end: int | None
    """The offset to store; None (only in a tick before the first batch) stores none."""
    source: bytes
    """The log that the state was made from (`stream.kafka.log_identity`)."""
    now: int
    """The time, by the tables' clock, to which the windows were moved; microseconds."""
    changes: WriteSet
    health: ShardHealth = ShardHealth()


class Owner(msgspec.Struct, frozen=True):
    """Who has claimed a shard, and its offset."""

    nonce: bytes | None
    epoch: int
    offset: int | None


LOADED: Final = 16_000_000
"""Bytes of records in the answer to one load, about; further records are left out. A typical batch needs a tenth."""


EXPIRY_PARTS: Final = 8
"""Parts in which the index of expiries is searched, one at a time."""


class Loaded(msgspec.Struct, frozen=True):
    """Records in the order of the request. If they are many bytes, only the first ones: at least one, and customers only after all entities."""

    entities: list[bytes | None]
    customers: list[bytes | None]
    owner: Owner
    """At the moment of reading: shows whether the records match the state that the caller has."""


class TooLargeError(Exception):
    """An answer would be too large. Ask for less."""


class ShardSummary(msgspec.Struct, frozen=True):
    """One shard for readers, read at one moment."""

    shard: ShardId
    summary: bytes
    """The last `WriteSet.summary`."""
    recent: bytes
    """`WriteSet.recent` of the last commit."""
    committed_at: int
    """`Commit.now` of that commit, microseconds: as of when the figures are."""
    customers: Mapping[bytes, tuple[int, ...]]
    """Sorted set -> members in each window (`WriteSet.bounds` when the set was last counted), without sets that were empty then."""
    health: ShardHealth = ShardHealth()


class Application(msgspec.Struct, frozen=True):
    """The whole application for readers."""

    shards: list[ShardSummary]
    """Every shard that was ever committed, sorted by shard."""
    halts: Mapping[ShardId, Halt]
    """Halted shards; some may never have been committed."""
    topics: Mapping[str, KnownTopic]
    """Input topics by name."""


class ServerMemory(msgspec.Struct, frozen=True):
    """Memory of the tables' server, in bytes. Of several servers: the fullest."""

    used: int
    limit: int
    """0: no limit."""


class Tables(Protocol):
    """Claims, loads and commits shards, and reads across shards. Applications (`UPSELL_APP_ID`) do not see each other's data."""

    async def now(self) -> int:
        """The tables' clock, microseconds since the epoch. All workers use this clock."""

    async def claim(self, shard: ShardId, nonce: bytes) -> Claim:
        """Claim a shard; its previous owner is refused from now on. A repeated claim with the same nonce changes nothing."""

    async def load(self, shard: ShardId, entities: Sequence[bytes], customers: Sequence[bytes]) -> Loaded:
        """Read records by key, and the shard's owner, at one moment. Request again what is left out."""

    async def load_history(
        self, shard: ShardId, fields: Mapping[str, Sequence[bytes]]
    ) -> dict[str, list[bytes | None]]:
        """Read fields of records of the history (by name), in the order of the request. The commit that writes them checks whether they are current."""

    async def history(self, shards: Sequence[ShardId], names: Sequence[str], room: int) -> list[StoredHistory]:
        """Read records of the history of some shards, each shard at one moment.

        Raises:
            TooLargeError: they are more than `room` bytes.
        """

    async def expired(
        self, shard: ShardId, part: int, entities_before: int, customers_before: int, limit: int
    ) -> tuple[list[bytes], list[bytes]]:
        """Keys of entities and of customers that expire before the given times, at most `limit` of each.

        Each is in one of `EXPIRY_PARTS` parts of the index; only those in this part are found. There are more only if some were found.
        """

    async def commit(self, commit: Commit) -> CommitResult:
        """Write everything, or nothing.

        Names of sorted sets are UTF-8. Times, scores and epochs are below 2^53 and are stored exactly. Send the commits of one claim one after the other:
        the next one only after the answer to the one before.
        """

    async def owners(self, shards: Sequence[ShardId]) -> list[Owner]:
        """Owner and offset of each shard, in one round trip."""

    async def register_labels(
        self, labels: Iterable[tuple[str, str]], bounds: Mapping[str, int]
    ) -> dict[str, list[str]]:
        """Enter (label name, value) pairs in the application's registry, in this order, as long as the name has fewer values than its bound.

        Returns the whole registry (name -> values in the order of their registration). A value that is not in it did not fit.
        """

    async def summaries(self) -> list[ShardSummary]:
        """The newest summary of every shard that the application ever committed, sorted by shard."""

    async def application(self) -> Application:
        """Summaries, halts and topics, without those of retired topics."""

    async def halt(self, shard: ShardId, nonce: bytes | None, halt: Halt) -> bool:
        """Store why a shard is halted, if its owner still has this nonce (None: if it has no owner). Returns whether it was stored.

        The next claim of the shard removes it.
        """

    async def register_topic(self, topic: str, journey: str, partitions: int, *, replace: bool = False) -> KnownTopic:
        """Store an input topic's number of partitions, unless one is stored; with `replace` in any case. Returns what is stored then."""

    async def retire(self, topic: str) -> int:
        """Take a topic and its shards out of `application`, until the next claim of one. Returns the number of shards. Their state is kept."""

    async def server_memory(self) -> ServerMemory | None:
        """Used memory and its limit; None where the server does not say, or this user may not ask."""

    async def close(self) -> None:
        """Close connections."""
