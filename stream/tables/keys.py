"""Names of all keys in Redis.

Rules: names are made here and nowhere else. Every key of an application starts with the prefix and the application id. All keys of a shard
have the same hash tag, so that a Redis Cluster keeps them in one slot and one script may write them all. What grows with the number of entities is in
buckets, because Redis migrates a key as a whole. The number of buckets is part of the layout: it never changes within one.
"""

from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

from stream.core.shard.write_set import ShardId

_HASH_BITS = 32
ENTITY_BITS, CUSTOMER_BITS, EXPIRY_BITS = 9, 8, 7
"""512, 256 and 128 buckets: with 10 million entities and as many customers no bucket takes more than half of 32 MB (docs/decisions/0012-buckets.md)."""


class Buckets(NamedTuple):
    """Hashes (or sorted sets) that together hold one table. A field is in the bucket that the first bits of its CRC-32 name."""

    whole: bytes
    """Key of the table in layout 1, which had it in one piece; with `:` and a bucket's number the key of that bucket."""
    bits: int

    @property
    def size(self) -> int:
        """Number of buckets."""
        return 1 << self.bits

    @property
    def shift(self) -> int:
        """The CRC-32 of a field, shifted right by this, is the field's bucket."""
        return _HASH_BITS - self.bits

    def numbers(self, fields: Iterable[bytes]) -> list[int]:
        """The bucket of each field."""
        shift = self.shift
        return [crc32(field) >> shift for field in fields]

    def key(self, number: int) -> bytes:
        """Key of a bucket."""
        return b"%b:%d" % (self.whole, number)


class ShardKeys(NamedTuple):
    """The keys of one shard."""

    shard: bytes
    """Hash: layout, owner (nonce, epoch), offset, batch, source, state."""
    view: bytes
    """Hash for readers: layout, summary, recent, committed_at, counts, health, halt."""
    panes: bytes
    """Hash: pane -> its cells."""
    entities: Buckets
    """Hashes: entity -> record."""
    customers: Buckets
    """Hashes: customer -> record."""
    entity_expiry: Buckets
    """Sorted sets: entity, by the time at which it expires."""
    customer_expiry: Buckets
    """Sorted sets: customer, by the time at which it expires."""
    records: bytes
    """Prefix of the keys of the history's records."""
    sets: bytes
    """Prefix of the keys of the shard's other sorted sets."""

    def history(self, name: str) -> bytes:
        """Key of a record of the history: a hash, cell -> its vector."""
        return self.records + name.encode()

    def set(self, name: bytes) -> bytes:
        """Key of a sorted set: customer, by the time of their newest transaction of the kind in the name."""
        return self.sets + name

    @property
    def tables(self) -> tuple[Buckets, ...]:
        """Every table that is in buckets."""
        return self.entities, self.customers, self.entity_expiry, self.customer_expiry


class Keys:
    """The keys of one application."""

    def __init__(self, prefix: str, app_id: str) -> None:
        """`prefix` and `app_id` as in the settings, which allow no braces."""
        self._root = f"{prefix}{app_id}:"
        self.shards = f"{self._root}shards".encode()
        """Set: the shards that were ever claimed (`member`)."""
        self.topics = f"{self._root}topics".encode()
        """Hash: input topic -> `stream.tables.interface.KnownTopic`."""
        self.labels = f"{self._root}labels".encode()
        """List: registered labels, `name=value`, in the order of their registration."""

    def shard(self, shard: ShardId) -> ShardKeys:
        """The keys of a shard."""
        root = f"{self._root}{{{shard.topic}:{shard.partition}}}:"

        def key(part: str) -> bytes:
            return f"{root}{part}".encode()

        return ShardKeys(
            shard=key("shard"),
            view=key("view"),
            panes=key("panes"),
            entities=Buckets(key("entities"), ENTITY_BITS),
            customers=Buckets(key("customers"), CUSTOMER_BITS),
            entity_expiry=Buckets(key("entity_expiry"), EXPIRY_BITS),
            customer_expiry=Buckets(key("customer_expiry"), EXPIRY_BITS),
            records=key("history:"),
            sets=key("set:"),
        )


def member(shard: ShardId) -> bytes:
    """A shard as a member of `Keys.shards`."""
    return f"{shard.topic}:{shard.partition}".encode()


def shard_of(member: bytes) -> ShardId:
    """The inverse of `member`. A topic's name has no colon."""
    topic, _, partition = member.decode().rpartition(":")
    return ShardId(topic, int(partition))
