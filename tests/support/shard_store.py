"""The stored parts of one shard in memory, and the conversation with the shard, written once for all tests."""

from dataclasses import dataclass, field
from datetime import UTC

from stream.core.shard.past import decode_days, decode_past
from stream.core.shard.write_set import ShardId, Stored, StoredHistory


@dataclass
class ShardStore:
    """The stored parts of one shard."""

    state: bytes | None = None
    summary: bytes | None = None
    recent: bytes | None = None
    panes: dict[bytes, bytes] = field(default_factory=dict)
    entities: dict[bytes, bytes] = field(default_factory=dict)
    customers: dict[bytes, bytes] = field(default_factory=dict)
    entity_expiry: dict[bytes, int] = field(default_factory=dict)
    customer_expiry: dict[bytes, int] = field(default_factory=dict)
    scores: dict[bytes, dict[bytes, int]] = field(default_factory=dict)
    bounds: list[tuple[int, int]] = field(default_factory=list)
    history: dict[str, dict[bytes, bytes]] = field(default_factory=dict)

    @property
    def stored(self):
        """What a claim returns."""
        return Stored(self.state, self.panes, self.recent)

    def preload(self, shard, events, labels):
        """Load everything that the events need; new labels are registered in `labels`."""
        preload = shard.preload(events)
        while (request := preload.request) is not None:
            labels.register(request.labels)
            preload.receive(
                [self.entities.get(key) for key in request.entities],
                [self.customers.get(key) for key in request.customers],
                {name: [self.history.get(name, {}).get(key) for key in keys] for name, keys in request.history.items()},
            )
        return preload.events

    def apply(self, shard, events, labels):
        """Load what the events need, and apply them."""
        return shard.apply(self.preload(shard, events, labels))

    def commit(self, shard):
        """Write what changed, and return it."""
        written = shard.drain()
        self.state, self.summary = written.state or self.state, written.summary or self.summary
        self.recent, self.bounds = written.recent, written.bounds
        for kept, changed in (
            (self.panes, written.panes),
            (self.entities, written.entities),
            (self.customers, written.customers),
            (self.entity_expiry, written.entity_expiry),
            (self.customer_expiry, written.customer_expiry),
            *((self.scores.setdefault(name, {}), scores) for name, scores in written.scores.items()),
            *((self.history.setdefault(name, {}), fields) for name, fields in written.history.items()),
        ):
            for key, value in changed.items():
                if value is None:
                    kept.pop(key, None)
                else:
                    kept[key] = value
        for name in written.dropped:
            self.history.pop(name, None)
        return written

    def expired(self, shard):
        """Keys of the entities and of the customers that may be removed, in order."""
        return tuple(
            sorted(key for key, at in index.items() if at < before)
            for index, before in zip((self.entity_expiry, self.customer_expiry), shard.expired_before(), strict=True)
        )

    def past(self, step, zone=UTC, now=0):
        """The history by hours ("h") or days ("d"), as readers get it: number -> cells."""
        records = {name: dict(fields) for name, fields in self.history.items() if name.startswith(step)}
        stored = StoredHistory(ShardId("topic", 0), self.recent, self.state, records)
        past = decode_past(stored, step, zone, now)
        return past.since, {table.number: cells for table, cells in past.cells.items() if cells}

    def days(self, zone=UTC, now=0):
        """What is counted by day under keys from events, as readers get it: (sort, day) -> key -> tally."""
        stored = StoredHistory(ShardId("topic", 0), self.recent, self.state, self.history)
        return decode_days(stored, zone, now).records
