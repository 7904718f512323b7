"""One log through the core, batch by batch, and everything that comes out of it as bytes.

The only part of the golden test that calls the core: when an interface changes, this file follows and the digests stay.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from stream.core.config import CoreConfig
from stream.core.labels import Registry
from stream.core.shard.shard import Shard
from stream.core.shard.write_set import ShardId, Stored
from stream.events.decode import Decoder, Rejected
from stream.events.outcome import dead_letter, outcome_event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.core.event import Event, Journey
    from stream.core.result import Step

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


@dataclass
class Kept:
    """What tables keep of one shard: absolute values, as bytes."""

    state: bytes | None = None
    summary: bytes | None = None
    recent: bytes | None = None
    panes: dict[bytes, bytes] = field(default_factory=dict)
    entities: dict[bytes, bytes] = field(default_factory=dict)
    customers: dict[bytes, bytes] = field(default_factory=dict)
    entity_expiry: dict[bytes, int] = field(default_factory=dict)
    customer_expiry: dict[bytes, int] = field(default_factory=dict)
    scores: dict[bytes, dict[bytes, int]] = field(default_factory=dict)

    def write(self, written: Any) -> None:
        self.state = written.state or self.state
        self.summary = written.summary or self.summary
        self.recent = written.recent
        for kept, changed in (
            (self.panes, written.panes),
            (self.entities, written.entities),
            (self.customers, written.customers),
            (self.entity_expiry, written.entity_expiry),
            (self.customer_expiry, written.customer_expiry),
            *((self.scores.setdefault(name, {}), scores) for name, scores in written.scores.items()),
        ):
            for key, value in changed.items():
                if value is None:
                    kept.pop(key, None)
                else:
                    kept[key] = value


class Golden:
    """One shard of a topic. `digest` covers every write set, outcome and dead letter so far."""

    def __init__(self, topic: str, stored: Kept | None = None, config: CoreConfig | None = None) -> None:
        self.topic, self.stored = topic, stored or Kept()
        self.config = config or CoreConfig(customer_key=b"golden")
        self.registry = Registry()
        self.counts: dict[str, int] = {}
        self._decoder = Decoder(TOPICS, 600_000_000)
        self._hash = hashlib.sha256()
        self._shard = Shard(
            ShardId(topic, 0), TOPICS[topic], self.config, self.registry,
            Stored(self.stored.state, self.stored.panes, self.stored.recent), CAPACITY,
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
        steps = iter(self._apply(events))
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
        self._remove()
        written = self._drain()
        self._add({name: _ordered(getattr(written, name)) for name in sorted(written.__struct_fields__)})
        self.stored.write(written)

    def _apply(self, events: list[Event]) -> list[Step]:
        shard, stored = self._shard, self.stored
        shard.provide({key: stored.entities.get(key) for key in shard.missing(events)})
        shard.provide_customers({key: stored.customers.get(key) for key in shard.missing_customers(events)})
        while reached := shard.reached(events):
            shard.provide({key: stored.entities.get(key) for key in reached})
        steps = []
        for event in events:
            self.registry.admit(shard.undecided(event))
            steps.append(shard.step(event))
        return steps

    def _remove(self) -> None:
        before = self._shard.expiry()
        self._shard.forget(
            *(
                sorted(key for key, at in index.items() if at < limit)
                for index, limit in zip((self.stored.entity_expiry, self.stored.customer_expiry), before, strict=True)
            )
        )

    def _drain(self) -> Any:
        return self._shard.take()

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1

    def _add(self, value: Any) -> None:
        data = msgspec.msgpack.encode(value)
        self._hash.update(len(data).to_bytes(8, "big") + data)


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _ordered(value[key])) for key in sorted(value)]
    return value


def run(records: Sequence[Record], size: int, kept: dict[str, Kept] | None = None) -> dict[str, Any]:
    """Digest and counts of each topic when the log is cut into batches of `size`; shards start from `kept`, and leave there what they store."""
    answer = {}
    kept = {} if kept is None else kept
    for topic in TOPICS:
        own = [record for record in records if record.topic == topic]
        golden = Golden(topic, kept.setdefault(topic, Kept()))
        for begin in range(0, len(own), size):
            golden.batch(own[begin : begin + size])
        answer[topic] = {"digest": golden.digest, "records": len(own), "counts": dict(sorted(golden.counts.items()))}
    return answer
