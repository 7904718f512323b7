"""Names of all keys in Redis.

Rules: names are made here and nowhere else. Every key of an application starts with the prefix and the application id. All keys of a shard
have the same hash tag, so that a Redis Cluster keeps them in one slot and one script may write them all.
"""

from typing import NamedTuple

from stream.core.shard.write_set import ShardId


class ShardKeys(NamedTuple):
    """The keys of one shard."""

    shard: bytes
    """Hash: layout, owner (nonce, epoch), offset, batch, source, state."""
    view: bytes
    """Hash for readers: layout, summary, recent, committed_at, counts."""
    panes: bytes
    """Hash: pane -> its cells."""
    entities: bytes
    """Hash: entity -> record."""
    customers: bytes
    """Hash: customer -> record."""
    entity_expiry: bytes
    """Sorted set: entity, by the time at which it expires."""
    customer_expiry: bytes
    """Sorted set: customer, by the time at which it expires."""
    sets: bytes
    """Prefix of the keys of the shard's other sorted sets."""

    def set(self, name: bytes) -> bytes:
        """Key of a sorted set: customer, by the time of their newest transaction of the kind in the name."""
        return self.sets + name


class Keys:
    """The keys of one application."""

    def __init__(self, prefix: str, app_id: str) -> None:
        """`prefix` and `app_id` as in the settings, which allow no braces."""
        self._root = f"{prefix}{app_id}:"
        self.shards = f"{self._root}shards".encode()
        """Set: the shards that were ever claimed (`member`)."""
        self.labels = f"{self._root}labels".encode()
        """List: registered labels, `name=value`, in the order of their registration."""

    def shard(self, shard: ShardId) -> ShardKeys:
        """The keys of a shard."""
        root = f"{self._root}{{{shard.topic}:{shard.partition}}}:"
        return ShardKeys(*(f"{root}{part}".encode() for part in (*ShardKeys._fields[:-1], "set:")))


def member(shard: ShardId) -> bytes:
    """A shard as a member of `Keys.shards`."""
    return f"{shard.topic}:{shard.partition}".encode()


def shard_of(member: bytes) -> ShardId:
    """The inverse of `member`. A topic's name has no colon."""
    topic, _, partition = member.decode().rpartition(":")
    return ShardId(topic, int(partition))
