"""The tables as the worker uses them, in Redis or in memory.

Rules: a commit is one atomic step for one shard. It checks owner and offset before it writes anything, and writes absolute values. Every method may raise
`TablesUnavailableError` (repeat the same call later; it may have been executed) or `IncompatibleStateError` (do not repeat; the message says what to do).
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
    """This process cannot use the tables: stored by a newer version, damaged, not permitted, or reached with unsupported options. Says what to do."""


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


class Claim(msgspec.Struct, frozen=True):
    """Ownership of a shard, and the shard as it was stored at that moment."""

    nonce: bytes
    epoch: int
    offset: int | None
    """The next offset to read; None if no records were ever committed."""
    stored: Stored
    source: bytes | None
    """`Commit.source` of the last commit."""


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


class Owner(msgspec.Struct, frozen=True):
    """Who has claimed a shard, and its offset."""

    nonce: bytes | None
    epoch: int
    offset: int | None


LOADED = 16_000_000
"""Bytes of records in the answer to one load, about; further records are left out. A typical batch needs a tenth."""


EXPIRY_PARTS = 8
"""Parts in which the index of expiries is searched, one at a time."""


class Loaded(msgspec.Struct, frozen=True):
    """Records in the order of the request. If they are many bytes, only the first ones: at least one, and customers only after all entities."""

    entities: list[bytes | None]
    customers: list[bytes | None]
    owner: Owner
    """At the moment of reading: shows whether the records match the state that the caller has."""


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


class Tables(Protocol):
    """Claims, loads and commits shards, and reads across shards. Applications (`UPSELL_APP_ID`) do not see each other's data."""

    async def now(self) -> int:
        """The tables' clock, microseconds since the epoch. All workers use this clock."""

    async def claim(self, shard: ShardId, nonce: bytes) -> Claim:
        """Claim a shard; its previous owner is refused from now on. A repeated claim with the same nonce changes nothing."""

    async def load(self, shard: ShardId, entities: Sequence[bytes], customers: Sequence[bytes]) -> Loaded:
        """Read records by key, and the shard's owner, at one moment. Request again what is left out."""

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

    async def close(self) -> None:
        """Close connections."""
