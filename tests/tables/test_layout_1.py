"""A Redis that the version before wrote (layout 1): it is read, its records move to their buckets, and nothing is lost or doubled on the way."""

import copy

import msgspec
import pytest
from golden.layout_1 import RECORDS, put, stored
from golden.layout_1 import records_of as log_of
from redis import Redis
from support import version_before
from support.shard_store import ShardStore
from support.tables import RedisBackend, commit

from stream.core.config import CoreConfig
from stream.core.counting.figures import JOURNEYS, TOTAL, Figures, ShardFigures
from stream.core.counting.summary import decode_summary
from stream.core.labels import LabelRegistry
from stream.core.shard.shard import Shard
from stream.core.shard.state import LAYOUT
from stream.core.shard.write_set import ShardId
from stream.events.decode import Rejected, decode_line
from stream.tables.interface import EXPIRY_PARTS, CommitResult
from stream.tables.keys import Keys

CONFIG = CoreConfig(customer_key=b"golden")
SHARDS = {ShardId("checkout-events", 0): "checkout", ShardId("subscription-events", 0): "subscription"}
BATCH = 40
LATER = 2**52
"""A time at which everything that expires has expired."""


@pytest.fixture(
    params=[
        pytest.param("embedded_valkey", marks=pytest.mark.embedded),
        pytest.param("redis_server", marks=pytest.mark.redis),
    ]
)
async def backend(request, name_prefix):
    """Tables that hold what the version before stored."""
    made = RedisBackend(request.getfixturevalue(request.param).url, name_prefix)
    with Redis.from_url(request.getfixturevalue(request.param).url) as redis:
        put(stored(), redis, f"{name_prefix}shop:")
    yield made
    await made.flush()
    await made.close()


def events_of(shard: ShardId, begin: int, end: int):
    decoded = [decode_line(record.value) for record in log_of(shard.topic)[begin:end]]
    return [event for event in decoded if not isinstance(event, Rejected)]


def store_of(shard: ShardId) -> ShardStore:
    """The stored shard, as the tests of the core keep it."""
    name, layout = f"{{{shard.topic}:{shard.partition}}}:".encode(), stored()
    view = layout.hashes[name + b"view"]
    return ShardStore(
        layout.hashes[name + b"shard"][b"state"], view[b"summary"], view[b"recent"],
        *(layout.hashes.get(name + part, {}) for part in (b"panes", b"entities", b"customers")),
        *(layout.scores[name + part] for part in (b"entity_expiry", b"customer_expiry")),
        {key.removeprefix(name + b"set:"): scores for key, scores in layout.scores.items() if key.startswith(name + b"set:")},
    )  # fmt: skip


def registry() -> LabelRegistry:
    labels = LabelRegistry()
    names = {}
    for entry in stored().lists[b"labels"]:
        name, _, value = entry.decode().partition("=")
        names.setdefault(name, []).append(value)
    labels.update(names)
    return labels


class Worker:
    """Does to one shard what a worker does, batch by batch."""

    def __init__(self, tables, shard, claim):
        self.tables, self.id, self.claim, self.offset = tables, shard, claim, claim.offset
        self.labels = registry()
        self.shard = Shard(shard, SHARDS[shard], CONFIG, self.labels, claim.stored, 0)

    async def batch(self, events, removed=((), ())):
        self.shard.advance(max((event.time for event in events), default=0))
        preload = self.shard.preload(events)
        while (request := preload.request) is not None:
            self.labels.register(request.labels)
            loaded = await self.tables.load(self.id, request.entities, request.customers)
            history = await self.tables.load_history(self.id, request.history)
            preload.receive(loaded.entities, loaded.customers, history)
        self.shard.apply(preload.events)
        self.shard.remove(*removed)
        end = (self.offset or 0) + len(events)
        changes = msgspec.structs.asdict(self.shard.drain())
        made = commit(self.claim, self.offset, end, shard=self.id, **changes)
        assert await self.tables.commit(made) is CommitResult.APPLIED
        self.offset = end


async def whole(backend, table, read):
    """A table with everything that is in its buckets and in the place of layout 1, each field once."""
    found = {}
    for key in [table.whole, *map(table.key, range(table.size))]:
        values = await read(key)
        assert not found.keys() & values.keys()
        found |= values
    return found


async def records_of(backend, keys):
    async def scores(key):
        return {member: int(score) for member, score in await backend.raw.zrange(key, 0, -1, withscores=True)}

    return [
        *[await whole(backend, table, backend.raw.hgetall) for table in (keys.entities, keys.customers)],
        *[await whole(backend, table, scores) for table in (keys.entity_expiry, keys.customer_expiry)],
    ]


def test_it_was_stored_by_the_version_that_the_upgrade_is_from():
    assert stored().commit == version_before.COMMIT
    assert {int(fields[b"layout"]) for fields in stored().hashes.values() if b"layout" in fields} == {LAYOUT - 1}


async def test_its_figures_are_read_as_they_were(backend):
    figures = Figures(
        ShardFigures(decode_summary(each.summary, each.recent)) for each in await backend.tables().summaries()
    )
    for journey in JOURNEYS:
        now, before = figures.select(TOTAL, journey).plain(), stored().figures[journey]
        assert now["transactions"] > 10
        for part in ("opportunities", "transactions", "intents"):
            assert now[part] == before[part]
        for part in ("kind_transactions", "reversed_transactions"):
            assert {**now[part], **before[part]} == now[part]
            assert now[part]["restored"] == 0
        for currency, amounts in before["revenue"].items():
            assert {**now["revenue"][currency], **amounts} == now["revenue"][currency]


@pytest.mark.parametrize("shard", SHARDS)
async def test_its_records_are_loaded_and_move_with_the_commits_that_write_them(backend, shard, name_prefix):
    tables, keys = backend.tables(), Keys(name_prefix, "shop").shard(shard)
    claim = await tables.claim(shard, b"new")
    worker, expected = Worker(tables, shard, claim), store_of(shard)
    labels = registry()
    reference = Shard(shard, SHARDS[shard], CONFIG, labels, copy.deepcopy(expected.stored), 0)
    events = events_of(shard, RECORDS, RECORDS + 400)
    old = {*expected.entities}
    moved = set()
    for begin in range(0, len(events), BATCH):
        batch = events[begin : begin + BATCH]
        await worker.batch(batch)
        reference.advance(max(event.time for event in batch))
        expected.apply(reference, batch, labels)
        moved |= expected.commit(reference).entities.keys()
        stored_now = await records_of(backend, keys)
        assert stored_now == [
            expected.entities, expected.customers, expected.entity_expiry, expected.customer_expiry,
        ]  # fmt: skip
        assert {*await backend.raw.hkeys(keys.entities.whole)} == old - moved
    assert old & moved
    assert moved - old
    assert await backend.raw.hget(keys.shard, "layout") == await backend.raw.hget(keys.view, "layout") == b"%d" % LAYOUT


@pytest.mark.parametrize("shard", SHARDS)
async def test_what_expires_in_layout_1_is_removed_there(backend, shard, name_prefix):
    tables, keys = backend.tables(), Keys(name_prefix, "shop").shard(shard)
    worker = Worker(tables, shard, await tables.claim(shard, b"new"))
    assert await backend.raw.exists(*(table.whole for table in keys.tables)) == 4
    # Some have moved when the rest expires.
    await worker.batch(events_of(shard, RECORDS, RECORDS + 100))
    empty = 0
    while empty < EXPIRY_PARTS:
        for part in range(EXPIRY_PARTS):
            found = await tables.expired(shard, part, LATER, LATER, 30)
            empty = 0 if any(found) else empty + 1
            await worker.batch([], found)
    entities, customers, *expiries = await records_of(backend, keys)
    assert expiries == [{}, {}]
    # Active subscriptions, and their customers, never expire.
    active = SHARDS[shard] == "subscription"
    assert (bool(entities), bool(customers)) == (active, active)
    assert (shard in tables._upgraded) != active


async def test_a_shard_without_anything_of_layout_1_is_not_looked_for_there(backend, name_prefix):
    tables, new = backend.tables(), ShardId("checkout-events", 7)
    await tables.claim(new, b"a")
    for shard in SHARDS:
        await tables.claim(shard, b"a")
    assert tables._upgraded == {new}
    keys = Keys(name_prefix, "shop").shard(next(iter(SHARDS)))
    await backend.raw.delete(*(table.whole for table in keys.tables))
    await tables.claim(next(iter(SHARDS)), b"b")
    assert tables._upgraded == {new, next(iter(SHARDS))}


@pytest.fixture(scope="session")
def code(tmp_path_factory):
    """The code of the version before."""
    return version_before.extract(tmp_path_factory.mktemp("version-before"))


ASK = """
import asyncio, sys
from stream.core.changes import ShardId
from stream.settings import Settings
from stream.tables.interface import Unusable
from stream.tables.redis import connect

async def main():
    tables = connect(Settings(_env_file=None, redis_url=sys.argv[1], redis_prefix=sys.argv[2], app_id="shop"))
    for call in (tables.claim(ShardId("checkout-events", 0), b"old"), tables.summaries()):
        try:
            await call
            print("done")
        except Unusable as error:
            print(error)

asyncio.run(main())
"""


async def test_the_version_before_neither_claims_nor_shows_what_was_upgraded(backend, code, name_prefix):
    shard, *_ = SHARDS
    url = backend._settings["redis_url"]
    assert version_before.run(code, ["-c", ASK, url, name_prefix]) == "done\ndone\n"
    tables = backend.tables()
    worker = Worker(tables, shard, await tables.claim(shard, b"new"))
    before = await backend.copy()
    claimed, shown = version_before.run(code, ["-c", ASK, url, name_prefix]).splitlines()
    explanation = "checkout-events partition 0 was stored by a newer upsell-stream (layout 2, this one knows 1): upgrade this worker"
    assert claimed.startswith(explanation)
    assert shown == "done", "a claim changes no figure"
    assert await backend.copy() == before
    await worker.batch(events_of(shard, RECORDS, RECORDS + 20))
    claimed, shown = version_before.run(code, ["-c", ASK, url, name_prefix]).splitlines()
    assert claimed.startswith(explanation)
    assert shown.startswith(explanation)
