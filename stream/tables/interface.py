"""The tables as the worker sees them, whoever keeps them: memory (tests, classify) or Redis.

Rules: one commit is one atomic step for one shard. It checks owner and offset before it writes anything, and writes absolute values. Every method may raise
`TablesUnavailableError` (try the same call again later; it may have happened all the same) or `IncompatibleStateError` (never try again; the message
says what to do).
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Literal, Protocol

import msgspec

from stream.core.shard.write_set import ShardId, Stored, WriteSet

UnavailableReason = Literal["connection", "timeout", "full", "persistence", "readonly", "busy", "loading", "cluster"]


class TablesUnavailableError(Exception):
    """The tables cannot answer now. `reason` is a label of `upsell_commit_failures_total`."""

    def __init__(self, reason: UnavailableReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: UnavailableReason = reason


class IncompatibleStateError(Exception):
    """What is stored must not be used by this process (written by a newer version, another topic's, damaged)."""


class CommitResult(Enum):
    """What became of a commit."""

    APPLIED = "applied"
    """Written now."""
    REPEATED = "repeated"
    """This very batch was written before: its reply was lost."""
    REWOUND = "rewound"
    """The tables went back in time (lost their tail, or everything, or just the tick before this commit): claim again at once and seek to
    what is stored."""
    STOLEN = "stolen"
    """Another owner with a higher epoch has the shard: forget it."""


class Claim(msgspec.Struct, frozen=True):
    """Ownership of a shard, and the shard as stored at that moment."""

    nonce: bytes
    epoch: int
    offset: int | None
    """The next offset to read; None where nothing was ever committed."""
    stored: Stored
    source: bytes | None
    """What `Commit.source` was at the last commit (identity of cluster and topic, and the last applied record)."""


class Commit(msgspec.Struct, frozen=True):
    """One batch of one shard. A tick is a commit whose start equals its end."""

    shard: ShardId
    nonce: bytes
    epoch: int
    batch: bytes
    """Identity of the attempt: the same bytes when the same batch is sent again."""
    start: int | None
    """The offset that must be stored now; None where nothing was ever committed."""
    end: int | None
    """The offset to store; None (only on a tick before the first batch) stores none."""
    source: bytes
    now: int
    """The tables' clock that the changes were computed for, microseconds."""
    changes: WriteSet


class Owner(msgspec.Struct, frozen=True):
    """Who holds a shard, and how far it is."""

    nonce: bytes | None
    epoch: int
    offset: int | None


LOADED = 16_000_000
"""Bytes of records that one load answers; what is asked beyond is left out. A batch of usual records needs a tenth."""


class Loaded(msgspec.Struct, frozen=True):
    """Answers in the order asked; where they are many bytes, only the first: at least one, and customers once all entities are answered."""

    entities: list[bytes | None]
    customers: list[bytes | None]
    owner: Owner
    """At the moment of the answers: whether they are of the same time as what the asker knows."""


class ShardSummary(msgspec.Struct, frozen=True):
    """What readers get of one shard, in one piece."""

    shard: ShardId
    summary: bytes
    """The last `WriteSet.summary`."""
    recent: bytes
    """`WriteSet.recent` of the last commit or tick."""
    committed_at: int
    """`Commit.now` of that commit: the age of the figures, microseconds."""
    customers: Mapping[bytes, tuple[int, ...]]
    """Sorted set -> members in each window (each of `WriteSet.bounds` when the set was last counted); sets that were empty then are not in it."""


class Tables(Protocol):
    """Claim, load, commit, read across shards. All names of one application (`UPSELL_APP_ID`) are kept apart from others'."""

    async def now(self) -> int:
        """The tables' clock, microseconds since the epoch; the one clock that all workers share."""

    async def claim(self, shard: ShardId, nonce: bytes) -> Claim:
        """Take the shard from whoever holds it. With the nonce of the present owner nothing changes."""

    async def load(self, shard: ShardId, entities: Sequence[bytes], customers: Sequence[bytes]) -> Loaded:
        """Read records by key, and whose they are, at one moment. What is left out is to be asked for again."""

    async def expired(
        self, shard: ShardId, entities_before: int, customers_before: int, limit: int
    ) -> tuple[list[bytes], list[bytes]]:
        """Keys of entities and of customers whose expiry lies before the times given, oldest first, at most `limit` of each."""

    async def commit(self, commit: Commit) -> CommitResult:
        """All of it or nothing.

        Names of sorted sets are UTF-8. Times, scores and epochs lie below 2^53 and come back exactly. Commits of one claim follow each other: a new
        batch is sent only when the answer to the one before is known.
        """

    async def owners(self, shards: Sequence[ShardId]) -> list[Owner]:
        """Owner and offset of each, in one round trip."""

    async def admit(self, labels: Iterable[tuple[str, str]], bounds: Mapping[str, int]) -> dict[str, list[str]]:
        """Enter (label name, value) pairs in the application's registry, first come first served up to the name's bound.

        Returns the whole registry (name -> values in order of admission). A value that is not in it did not fit.
        """

    async def summaries(self) -> list[ShardSummary]:
        """The newest summary of every shard that the application ever committed, by shard."""

    async def close(self) -> None:
        """Let go of connections."""
