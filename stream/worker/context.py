"""What all shards of a worker share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream.worker.attention import AttentionLog
from stream.worker.retry import WaitLog

if TYPE_CHECKING:
    from stream.core.config import CoreConfig
    from stream.core.labels import LabelRegistry
    from stream.events.decode import Decoder
    from stream.kafka.producer import Publisher
    from stream.kafka.topic_ids import TopicIds
    from stream.observe.counters import Counters
    from stream.tables.interface import Tables
    from stream.worker.admission import Admission
    from stream.worker.clock import Clock


@dataclass(frozen=True)
class WorkerContext:
    """Settings, clients and registries; made once, by `stream.app`."""

    app_id: str
    cluster: str
    """Kafka's cluster id."""
    core: CoreConfig
    labels: LabelRegistry
    tables: Tables
    clock: Clock
    decoder: Decoder
    publisher: Publisher
    outcome_topic: str
    dead_letter_topic: str
    counters: Counters
    fencing_backoff: float
    """Seconds that a worker whose shard was claimed by another waits before it claims again: two heartbeats."""
    attention: AttentionLog = field(default_factory=AttentionLog)
    waits: WaitLog = field(default_factory=WaitLog)
    admission: Admission | None = None
    """None where every shard may be claimed (simulations)."""
    topics: TopicIds | None = None
    """Kafka's topic ids; None where nothing can be asked for them (simulations)."""
