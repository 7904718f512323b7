"""What a shard hands to the tables: absolute values as bytes, written all or not at all.

Rules: nothing here is an increment, so writing the same set twice is writing it once. `None` deletes. Times are microseconds since the epoch.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec


class ShardId(NamedTuple):
    """One partition of one topic: the unit of ownership, of commits and of scale."""

    topic: str
    partition: int


class Stored(msgspec.Struct, frozen=True):
    """A shard as the tables hold it, without its entities and customers, which are loaded when events need them."""

    state: bytes | None
    """The last `WriteSet.state`; None for a new shard."""
    panes: Mapping[bytes, bytes]
    """Every stored pane, by the keys of `WriteSet.panes`."""
    recent: bytes | None = None
    """The last `WriteSet.recent`; None for a new shard."""


class WriteSet(msgspec.Struct):
    """Everything that one commit writes."""

    state: bytes | None
    """The shard's own record (`core.shard.state`). None: unchanged."""
    summary: bytes | None
    """The settled part of the shard's rolling figures, for readers (`core.counting.summary`). None: unchanged."""
    recent: bytes
    """What was counted since state and summary were settled."""
    panes: dict[bytes, bytes | None]
    entities: dict[bytes, bytes | None]
    customers: dict[bytes, bytes | None]
    entity_expiry: dict[bytes, int | None]
    """When an entity may be removed; None takes it off the index."""
    customer_expiry: dict[bytes, int | None]
    """When a customer may be removed; None takes it off the index."""
    scores: dict[bytes, dict[bytes, int | None]]
    """Sorted set (by name) -> customer -> time of their newest transaction of that kind; None removes the customer from the set."""
    counted: list[bytes]
    """Names of the sorted sets whose members are counted again; the counts are stored beside the summary."""
    bounds: list[tuple[int, int]]
    """(after, until] of each window, in the order of the windows: a count is the members with after < score <= until."""
    trim: int | None
    """Before counting, members with a score at or below this are removed from the sets named in `counted`; None removes none."""
    history: dict[str, dict[bytes, bytes | None]] = {}
    """Record of the history (by name) -> its fields."""
    dropped: list[str] = []
    """Records of the history to delete."""


class StoredHistory(msgspec.Struct, frozen=True):
    """Records of the history of one shard, read at one moment."""

    shard: ShardId
    recent: bytes | None
    """`WriteSet.recent` of the last commit: what is not in the records yet."""
    state: bytes | None
    """`WriteSet.state` of the last commit that had one."""
    records: Mapping[str, Mapping[bytes, bytes]]
    """By name, without those that do not exist."""
