"""Which log a shard's state was made from, so that another log behind the same topic name is noticed.

Rules: the identity is stored with every commit. The cluster's id is compared at every claim, the topic's id at every claim and before each batch, the last
applied record after every seek. What is not known (a log that was never read, a record that is no longer there, a broker without topic ids) counts as
equal.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from stream.kafka.cursor import NOTHING_SKIPPED, ShardHaltedError

if TYPE_CHECKING:
    from collections.abc import Sequence


class LogIdentity(msgspec.Struct, frozen=True, array_like=True):
    """Identity of a shard's log."""

    cluster: str
    """Kafka's cluster id."""
    fingerprint: int | None = None
    """Of the last applied record; None before the first one."""
    topic: bytes | None = None
    """Kafka's id of the topic; None if the broker has not returned it."""

    def after(self, record: Any) -> LogIdentity:
        """The identity after `record` (a `ConsumerRecord`) was applied."""
        return LogIdentity(self.cluster, fingerprint(record), self.topic)

    def of(self, topic: bytes | None) -> LogIdentity:
        """The identity in a topic with this id; None: not known.

        Raises:
            ShardHaltedError: the state was made from another topic of the same name.
        """
        if topic is None or topic == self.topic:
            return self
        if self.topic is not None:
            raise ShardHaltedError(
                f"the topic was deleted and created again: the state was made from the topic with the id {_shown(self.topic)}, now the id is "
                f"{_shown(topic)}. {NOTHING_SKIPPED}",
                reason="topic_recreated",
            )
        return LogIdentity(self.cluster, self.fingerprint, topic)

    def encode(self) -> bytes:
        """For `Commit.source`."""
        return _ENCODER.encode(self)


def _shown(topic: bytes) -> str:
    return urlsafe_b64encode(topic).decode().rstrip("=")  # the form in which Kafka's own tools show it


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(LogIdentity)


def fingerprint(record: Any) -> int:
    """A checksum of a record's key, value and timestamp."""
    return crc32(record.value or b"", crc32(record.key or b"", crc32(b"%d" % record.timestamp)))


def resume(cluster: str, stored: bytes | None) -> LogIdentity:
    """The stored identity, in the cluster with this id; a new one if None is stored.

    Raises:
        ShardHaltedError: the state was made from another cluster's log.
        ValueError: what is stored is no identity.
    """
    if stored is None:
        return LogIdentity(cluster)
    identity = _DECODER.decode(stored)
    if identity.cluster != cluster:
        raise ShardHaltedError(
            f"the state was made from Kafka cluster {identity.cluster!r}, this is {cluster!r}: its offsets mean other records. "
            f"Use another UPSELL_APP_ID for this cluster. {NOTHING_SKIPPED}",
            reason="other_cluster",
        )
    return identity


def recognise(identity: LogIdentity, offset: int, records: Sequence[Any]) -> None:
    """Compare the record at `offset`, the last one applied, if it is the first of `records`.

    Raises:
        ShardHaltedError: it is not the record that was applied.
    """
    if records[0].offset == offset and identity.fingerprint not in (None, fingerprint(records[0])):
        if identity.topic is None:
            raise ShardHaltedError(
                f"the record at offset {offset} is not the one that was applied: the topic was created again, or its log was truncated and "
                f"continued with other records. {NOTHING_SKIPPED}",
                reason="topic_recreated",
            )
        raise ShardHaltedError(
            f"the record at offset {offset} is not the one that was applied, although the topic is the same: the log was truncated (unclean "
            f"leader election, or a broker restored from a backup) and continued with other records. {NOTHING_SKIPPED}",
            reason="log_truncated",
        )
