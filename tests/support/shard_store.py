"""The stored parts of one shard in memory, and the conversation with the shard, written once for all tests."""

from dataclasses import dataclass, field

from stream.core.shard.write_set import Stored


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
        ):
            for key, value in changed.items():
                if value is None:
                    kept.pop(key, None)
                else:
                    kept[key] = value
        return written

    def expired(self, shard):
        """Keys of the entities and of the customers that may be removed, in order."""
        return tuple(
            sorted(key for key, at in index.items() if at < before)
            for index, before in zip((self.entity_expiry, self.customer_expiry), shard.expired_before(), strict=True)
        )
