"""What a shard hands to the tables: absolute values, as bytes, to be written all or not at all.

Rules: nothing here is an increment, so writing the same changes twice is writing them once. `None` deletes. Times are microseconds since the epoch.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec


class ShardId(NamedTuple):
    """One partition of one topic: the unit of ownership, of commits and of scale."""

    topic: str
    partition: int


class Stored(msgspec.Struct, frozen=True):
    """A shard as the tables hold it, apart from its entities and customers, which are read through."""

    state: bytes | None
    """The last `Changes.state`; None for a new shard."""
    panes: Mapping[bytes, bytes]
    """Every stored pane, keyed as in `Changes.panes`."""
    recent: bytes | None = None
    """Like `state`."""


class Changes(msgspec.Struct):
    """The write set of one commit."""

    state: bytes | None
    """The shard's own record. None where it is as it was."""
    summary: bytes | None
    """The shard's rolling figures, as far as they are settled (`core.summary`), for readers. None where they are as they were."""
    recent: bytes
    """The rest of both: what was booked since."""
    panes: dict[bytes, bytes | None]
    entities: dict[bytes, bytes | None]
    customers: dict[bytes, bytes | None]
    entity_expiry: dict[bytes, int | None]
    """When an entity may be forgotten; None takes it off the index."""
    customer_expiry: dict[bytes, int | None]
    scores: dict[bytes, dict[bytes, int | None]]
    """Sorted set (by name) -> customer -> time of their newest transaction of that kind; None withdraws."""
    counted: list[bytes]
    """Names of sorted sets whose counts are to be made anew and stored beside the summary."""
    bounds: list[tuple[int, int]]
    """(after, until] of each window, in the order of the windows: a count is the members with after < score <= until."""
    trim: int | None
    """Members of the sets named in `counted` with a score at or below this are removed before counting; None trims nothing."""
