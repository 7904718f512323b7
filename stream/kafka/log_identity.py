"""Where a shard's state came from: enough to notice that the log behind a topic's name is another one.

Rules: stored with every commit. The cluster's id is compared at every claim, the topic's at every claim and before a batch is applied, the last applied
record whenever the log is sought. What cannot be told (a log that was never read, a record that is gone, a broker without topic ids) is no difference.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

from stream.kafka.cursor import ShardHaltedError

if TYPE_CHECKING:
    from collections.abc import Sequence


class LogIdentity(msgspec.Struct, frozen=True, array_like=True):
    """Identity of a shard's log."""

    cluster: str
    """Kafka's cluster id."""
    fingerprint: int | None = None
    """Of the last applied record; None before the first."""
    topic: bytes | None = None
    """Kafka's id of the topic; None where it was not told."""

    def after(self, record: Any) -> LogIdentity:
        """The source once `record` (a `ConsumerRecord`) was applied."""
        return LogIdentity(self.cluster, fingerprint(record), self.topic)

    def of(self, topic: bytes | None) -> LogIdentity:
        """The source in the topic that has this id now.

        Raises:
            Halted: the state was made from another topic of the same name.
        """
        if topic is None or topic == self.topic:
            return self
        if self.topic is not None:
            raise ShardHaltedError(
                f"the topic was deleted and made anew: the state was made from the one with the id {_shown(self.topic)}, this is {_shown(topic)}. "
                "Nothing was skipped; see docs/how-to/operations.md, 'A halted shard'"
            )
        return LogIdentity(self.cluster, self.fingerprint, topic)

    def encode(self) -> bytes:
        """As bytes, for `Commit.source`."""
        return _ENCODER.encode(self)


def _shown(topic: bytes) -> str:
    return urlsafe_b64encode(topic).decode().rstrip("=")  # as Kafka's own tools show it


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(LogIdentity)


def fingerprint(record: Any) -> int:
    """A checksum of a record's key, value and time stamp."""
    return crc32(record.value or b"", crc32(record.key or b"", crc32(b"%d" % record.timestamp)))


def resume(cluster: str, stored: bytes | None) -> LogIdentity:
    """The source to go on from, in the cluster with this id.

    Raises:
        Halted: the state was made from another cluster's log.
    """
    if stored is None:
        return LogIdentity(cluster)
    source = _DECODER.decode(stored)
    if source.cluster != cluster:
        raise ShardHaltedError(
            f"the state was made from Kafka cluster {source.cluster!r}, this is {cluster!r}: its offsets mean other records. "
            "Use another UPSELL_APP_ID for this cluster; see docs/how-to/operations.md, 'A halted shard'"
        )
    return source


def recognise(source: LogIdentity, offset: int, records: Sequence[Any]) -> None:
    """Compare the log's record at `offset`, the last one applied, if it is the first of `records`.

    Raises:
        Halted: it is not the record that was applied.
    """
    if records[0].offset == offset and source.fingerprint not in (None, fingerprint(records[0])):
        raise ShardHaltedError(
            f"the record at offset {offset} is not the one that was applied: the topic was made anew or its log was replaced. "
            "Nothing was skipped; see docs/how-to/operations.md, 'A halted shard'"
        )
