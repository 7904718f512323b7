"""One claim of one shard: what belongs to it, and everything that the shard asks of Redis while it holds.

Rules:

- Redis is the truth. A claim returns state and offset, and the shard continues from there. Kafka's committed offsets are not read.
- Loaded records must match the state in memory. `fetch` compares owner, epoch and offset: if another worker claimed the shard, or Redis was rolled
  back, it raises `ClaimLostError` before anything of the batch is published.
- A commit keeps its batch id when it is repeated, so Redis recognises a commit whose answer was lost.
- After `ClaimLostError` a session is useless: claim again.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from aiokafka.errors import KafkaError

from stream.core.config import DAY
from stream.core.shard.shard import Shard
from stream.core.shard.state import UnreadableStateError
from stream.kafka.cursor import ShardHaltedError
from stream.kafka.errors import in_words
from stream.kafka.log_identity import LogIdentity, resume
from stream.tables.interface import EXPIRY_PARTS, Commit, CommitResult, Owner, TablesUnavailableError
from stream.worker.health import HealthReport
from stream.worker.retry import Waiting, retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from stream.core.event import Event, Journey
    from stream.core.labels import Label
    from stream.core.shard.preload import Request
    from stream.core.shard.write_set import ShardId
    from stream.kafka.cursor import HaltReason
    from stream.tables.interface import Claim, Loaded
    from stream.worker.context import WorkerContext

_T = TypeVar("_T")

EXPIRED_AT_LEAST: Final = 100
"""Entities (and customers) that one commit may remove, whatever its size; a batch of more records may remove as many as it has records."""


class ClaimLostError(Exception):
    """The session must not be used any further. `result` says why: `STOLEN` (another worker claimed the shard) or `REWOUND` (Redis was rolled back)."""

    def __init__(self, result: CommitResult) -> None:
        super().__init__(result.value)
        self.result = result


class Session:
    """A claimed shard. `claim` makes one."""

    def __init__(
        self,
        shard: Shard,
        claim: Claim,
        identity: LogIdentity,
        context: WorkerContext,
        waiting: Waiting,
    ) -> None:
        self.shard = shard
        self.offset = claim.offset
        """The next record to apply, as Redis has it; None before the first commit of records."""
        self.identity = identity
        """The log that the state was made from."""
        self.health = HealthReport(claim.health)
        """Records that need attention, for the next commit."""
        self._claim = claim
        self._context = context
        self._waiting = waiting
        self._expiry_part = 0
        """The part of the expiries to search next."""
        self._searched = 0
        """Parts that were searched one after the other, and in which nothing had expired."""
        self._expired_through = (0, 0)
        """The last day at whose end entities and customers have expired; more expire only when a day has passed."""

    @classmethod
    async def claim(
        cls,
        id: ShardId,  # noqa: A002 - the shard's id
        journey: Journey,
        context: WorkerContext,
        capacity: int,
        waiting: Waiting,
    ) -> Session:
        """Claim a shard and restore it; its previous owner is refused from now on. `capacity` as of `Shard`.

        Raises:
            ShardHaltedError, IncompatibleStateError: the stored state cannot be used, or was made from another log.
        """
        nonce = secrets.token_bytes(16)
        claim = await _ask_tables(lambda: context.tables.claim(id, nonce), context, waiting)
        await _register(context, waiting, ())
        try:
            identity = resume(context.cluster, claim.source)
            shard = Shard(id, journey, context.core, context.labels, claim.stored, capacity)
        except ValueError as error:
            reason: HaltReason = error.reason if isinstance(error, UnreadableStateError) else "damaged_state"
            raise ShardHaltedError(
                f"the stored state cannot be read: {error}. Start a worker of the version that wrote it, or restore Redis from a backup",
                reason=reason,
            ) from error
        session = cls(shard, claim, identity, context, waiting)
        await session.check_topic()
        return session

    async def check_topic(self) -> None:
        """Compare Kafka's id of the topic with that of the state; costs a request once a second at most.

        Raises:
            ShardHaltedError: the topic was deleted and created again.
        """
        topics = self._context.topics
        if topics is not None:
            ids = await retry(partial(topics.ids, self.offset or 0), KafkaError, self._waiting, _no_topic_id)
            self.identity = self.identity.of(ids.get(self.shard.id.topic))

    async def fetch(self, request: Request) -> Loaded:
        """The requested records as Redis has them; the requested labels are in the registry afterwards.

        Raises:
            ClaimLostError: the records do not match the state in memory.
        """
        tables = self._context.tables
        loaded = await self._ask(lambda: tables.load(self.shard.id, request.entities, request.customers))
        self._check_owner(loaded.owner)
        if request.labels:
            await _register(self._context, self._waiting, request.labels)
        return loaded

    async def preload(self, events: Sequence[Event]) -> Sequence[Event]:
        """Load what these events need, and return those that can be applied now: at least one of them.

        Raises:
            ClaimLostError: what was loaded does not match the state in memory.
        """
        tables, preload = self._context.tables, self.shard.preload(events)
        while (request := preload.request) is not None:
            entities: Sequence[bytes | None] = ()
            customers: Sequence[bytes | None] = ()
            history = {}
            if request.entities or request.customers or request.labels:
                loaded = await self.fetch(request)
                entities, customers = loaded.entities, loaded.customers
            if request.history:  # nothing is published because of it, so it is enough that the commit checks the owner
                history = await self._ask(partial(tables.load_history, self.shard.id, request.history))
            preload.receive(entities, customers, history)
        return preload.events

    async def expired(self, records: int) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Keys of entities and customers that have expired: at most as many as a batch of so many records can have added.

        Each call searches the next part of the index. When nothing was found in all of them, the search is over until another day has passed.
        """
        tables, shard = self._context.tables, self.shard
        entities_before, customers_before = shard.expired_before()
        through = ((entities_before - 1) // DAY, (customers_before - 1) // DAY)
        if through != self._expired_through:
            self._expired_through, self._searched = through, 0
        if self._searched == EXPIRY_PARTS:
            return (), ()
        limit, part = max(EXPIRED_AT_LEAST, records), self._expiry_part
        entities, customers = await self._ask(
            lambda: tables.expired(shard.id, part, entities_before, customers_before, limit)
        )
        self._expiry_part = (part + 1) % EXPIRY_PARTS
        self._searched = 0 if entities or customers else self._searched + 1
        return entities, customers

    @property
    def nonce(self) -> bytes:
        """The nonce of the claim."""
        return self._claim.nonce

    async def commit(
        self, end: int | None, identity: LogIdentity, now: int, oldest_unapplied: int, unread_since: int = 0
    ) -> None:
        """Write what changed since the last commit.

        `end` is the next record to apply afterwards, `now` the time that the windows were moved to, `oldest_unapplied` and `unread_since` as of
        `ShardHealth`.

        Raises:
            ClaimLostError: Redis refused, and wrote nothing.
        """
        tables, changes = self._context.tables, self.shard.drain()
        commit = Commit(
            shard=self.shard.id,
            nonce=self._claim.nonce,
            epoch=self._claim.epoch,
            batch=secrets.token_bytes(16),
            start=self.offset,
            end=end,
            source=identity.encode(),
            now=now,
            changes=changes,
            health=self.health.report(oldest_unapplied, unread_since, now),
        )
        for expiry, day in zip((changes.entity_expiry, changes.customer_expiry), self._expired_through, strict=True):
            if any(at is not None and at <= day * DAY for at in expiry.values()):
                self._searched = 0
        result = await self._ask(lambda: tables.commit(commit))
        if result not in (CommitResult.APPLIED, CommitResult.REPEATED):
            raise ClaimLostError(result)
        self.offset, self.identity = end, identity

    def _check_owner(self, owner: Owner) -> None:
        """Raise as `commit` would now."""
        claim = self._claim
        if owner.nonce is not None and owner.nonce != claim.nonce and owner.epoch >= claim.epoch:
            raise ClaimLostError(CommitResult.STOLEN)
        if owner != Owner(claim.nonce, claim.epoch, self.offset):
            raise ClaimLostError(CommitResult.REWOUND)

    async def _ask(self, call: Callable[[], Awaitable[_T]]) -> _T:
        return await _ask_tables(call, self._context, self._waiting)


async def _ask_tables(call: Callable[[], Awaitable[_T]], context: WorkerContext, waiting: Waiting) -> _T:
    def count(error: TablesUnavailableError) -> str:
        context.counters.commit_failure(error.reason)
        return str(error)

    return await retry(call, TablesUnavailableError, waiting, count)


async def _register(context: WorkerContext, waiting: Waiting, labels: Sequence[Label]) -> None:
    """Enter labels in the application's registry; also those again that Redis lost although shards in memory count under them."""
    tables, registry = context.tables, context.labels
    asked: set[Label] = set()
    while True:
        known = await _ask_tables(partial(tables.register_labels, labels, registry.bounds()), context, waiting)
        labels = [label for label in registry.missing_from(known) if label not in asked]
        if not labels:
            registry.update(known)
            return
        asked.update(labels)


def _no_topic_id(error: KafkaError) -> str:
    return f"Kafka does not return the topic's id: {in_words(error)}"
