"""Both backends of the tables, in memory and in Redis, and the commits that tests make."""

import copy
import secrets
from contextlib import AsyncExitStack

from redis.asyncio import Redis

from stream.core.shard.write_set import ShardId, WriteSet
from stream.settings import Settings
from stream.tables.interface import EXPIRY_PARTS, Claim, Commit, CommitResult, Tables
from stream.tables.memory import Memory, MemoryTables
from stream.tables.redis import RedisTables, connect

SHARD = ShardId("checkout-events", 3)
NOW = 1_700_000_000_000_000


def clock() -> int:
    return NOW


def changes(**parts) -> WriteSet:
    nothing = {
        "state": b"state",
        "summary": b"summary",
        "recent": b"recent",
        "panes": {},
        "entities": {},
        "customers": {},
        "entity_expiry": {},
        "customer_expiry": {},
        "scores": {},
        "counted": [],
        "bounds": [],
        "trim": None,
    }
    return WriteSet(**(nothing | parts))


def commit(claim: Claim, start, end, *, shard=SHARD, batch=None, source=b"source", now=NOW, **parts) -> Commit:
    return Commit(
        shard=shard,
        nonce=claim.nonce,
        epoch=claim.epoch,
        batch=batch or secrets.token_bytes(8),
        start=start,
        end=end,
        source=source,
        now=now,
        changes=changes(**parts),
    )


async def applied(tables: Tables, *arguments, **parts) -> Commit:
    made = commit(*arguments, **parts)
    assert await tables.commit(made) is CommitResult.APPLIED
    return made


async def loaded(tables: Tables, entities, customers) -> tuple[list[bytes | None], list[bytes | None]]:
    """Load records of the shard, without a check of its owner."""
    answer = await tables.load(SHARD, entities, customers)
    return answer.entities, answer.customers


async def expired(tables: Tables, entities_before, customers_before, limit=10_000) -> tuple[set[bytes], set[bytes]]:
    """All keys of the shard that have expired, asked for part by part."""
    entities: list[bytes] = []
    customers: list[bytes] = []
    for part in range(EXPIRY_PARTS):
        found = await tables.expired(SHARD, part, entities_before, customers_before, limit)
        entities += found[0]
        customers += found[1]
    assert len({*entities}) == len(entities)
    assert len({*customers}) == len(customers)
    return {*entities}, {*customers}


class MemoryBackend:
    def __init__(self) -> None:
        self._stores: dict[str, Memory] = {}
        self._clients: list[tuple[str, MemoryTables]] = []

    def tables(self, app_id="shop") -> MemoryTables:
        """Return a new client of the application's tables."""
        made = MemoryTables(clock, self._stores.setdefault(app_id, Memory()))
        self._clients.append((app_id, made))
        return made

    async def copy(self):
        """Return everything that is stored, as a value that can be compared."""
        return copy.deepcopy(self._stores)

    async def restore(self, stored) -> None:
        """Replace everything that is stored by a copy made before."""
        self._stores = copy.deepcopy(stored)
        for app_id, client in self._clients:
            client.memory = self._stores.setdefault(app_id, Memory())

    async def flush(self) -> None:
        await self.restore({})


class RedisBackend:
    def __init__(self, url: str, prefix: str, **settings) -> None:
        self._settings = {"redis_url": url, "redis_prefix": prefix, **settings}
        self._prefix = prefix
        self._stack = AsyncExitStack()
        self.raw = Redis.from_url(url, protocol=2)
        self._stack.push_async_callback(self.raw.aclose)

    def tables(self, app_id="shop", **settings) -> RedisTables:
        made = connect(Settings(**{"app_id": app_id, **self._settings, **settings}))
        self._stack.push_async_callback(made.close)
        return made

    async def keys(self) -> list[bytes]:
        return sorted([key async for key in self.raw.scan_iter(f"{self._prefix}*", count=1000)])

    async def copy(self) -> dict[bytes, bytes]:
        return {key: await self.raw.dump(key) for key in await self.keys()}

    async def restore(self, stored) -> None:
        await self.flush()
        for key, value in stored.items():
            await self.raw.restore(key, 0, value)

    async def flush(self) -> None:
        if keys := await self.keys():
            await self.raw.delete(*keys)

    async def close(self) -> None:
        await self._stack.aclose()
