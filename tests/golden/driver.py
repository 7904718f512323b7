"""One log through the core, batch by batch, and everything that comes out of it as bytes.

The only part of the golden test that calls the core: when an interface changes, this file follows and the digests stay.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from support.shard_store import ShardStore

from stream.core.config import CoreConfig
from stream.core.labels import LabelRegistry
from stream.core.shard.shard import Shard
from stream.core.shard.write_set import ShardId
from stream.events.decode import Decoder, Rejected
from stream.events.outcome import dead_letter, outcome_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.core.event import Journey

TOPICS: dict[str, Journey] = {"checkout-events": "checkout", "subscription-events": "subscription"}
CAPACITY = 20_000
"""Bytes: small, so that records leave the memory and are loaded again."""


@dataclass
class Record:
    """What the decoder and a dead letter need of a consumed record."""

    topic: str
    offset: int
    value: bytes
    key: bytes | None = b"key"
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


class Golden:
    """One shard of a topic. `digest` covers every write set, outcome and dead letter so far."""

    def __init__(self, topic: str, stored: ShardStore | None = None, config: CoreConfig | None = None) -> None:
        self.topic, self.stored = topic, stored or ShardStore()
        self.config = config or CoreConfig(customer_key=b"golden")
        self.labels = LabelRegistry()
        self.counts: dict[str, int] = {}
        self._decoder = Decoder(TOPICS, 600_000_000)
        self._hash = hashlib.sha256()
        self._shard = Shard(
            ShardId(topic, 0), TOPICS[topic], self.config, self.labels, self.stored.stored, CAPACITY,
        )  # fmt: skip

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def batch(self, records: Sequence[Record]) -> None:
        """Apply and commit one batch."""
        decoded = [self._decoder.decode(record) for record in records]
        events = [event for event in decoded if not isinstance(event, Rejected)]
        newest = max((event.time for event in events), default=0)
        if newest:
            self._shard.advance(newest)
        steps = iter(self.stored.apply(self._shard, events, self.labels))
        for record, event in zip(records, decoded, strict=True):
            if isinstance(event, Rejected):
                self._count("dead_letters")
                self._add(dead_letter(record, event, 0, record.offset))
                continue
            step = next(steps)
            self._count(step.result)
            for version in step.versions:
                if version.publish:
                    self._count("outcomes")
                    self._add(outcome_event(version, "golden"))
        self._shard.remove(*self.stored.expired(self._shard))
        written = self.stored.commit(self._shard)
        self._add({name: _ordered(getattr(written, name)) for name in sorted(written.__struct_fields__)})

    def tick(self, now: int) -> None:
        """Move the windows without events, and commit."""
        self._shard.advance(now)
        self.stored.commit(self._shard)

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def _add(self, value: Any) -> None:
        data = msgspec.msgpack.encode(value)
        self._hash.update(len(data).to_bytes(8, "big") + data)


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _ordered(value[key])) for key in sorted(value)]
    return value


def run(records: Sequence[Record], size: int, kept: dict[str, ShardStore] | None = None) -> dict[str, Any]:
    """Digest and counts of each topic when the log is cut into batches of `size`; shards start from `kept`, and leave there what they store."""
    answer = {}
    kept = {} if kept is None else kept
    for topic in TOPICS:
        own = [record for record in records if record.topic == topic]
        golden = Golden(topic, kept.setdefault(topic, ShardStore()))
        for begin in range(0, len(own), size):
            golden.batch(own[begin : begin + size])
        answer[topic] = {"digest": golden.digest, "records": len(own), "counts": dict(sorted(golden.counts.items()))}
    return answer
