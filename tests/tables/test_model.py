"""Memory and Valkey, asked the same in any order, answer the same."""

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from support.tables import NOW, MemoryBackend, RedisBackend, changes

from stream.core.shard.write_set import ShardId
from stream.tables.interface import EXPIRY_PARTS, Commit

SHARDS = [ShardId("checkout-events", 0), ShardId("checkout-events", 1)]
KEYS = st.sampled_from([b"k", b"l", b"\x00\xff", b""])
NAMES = st.sampled_from([b"all|channel|web", b"any"])
TIMES = st.integers(NOW, NOW + 5)
WORKERS = st.integers(0, 1)
RECORDS = st.sampled_from(["h:1", "d:2"])
OFFSETS = st.sampled_from([None, 0, 1, 2])


def table(values):
    return st.dictionaries(KEYS, st.none() | values)


CHANGES = st.fixed_dictionaries(
    {
        "state": st.none() | st.binary(min_size=1, max_size=3),
        "recent": st.binary(max_size=3),
        "panes": table(st.binary(max_size=3)),
        "entities": table(st.binary(max_size=3)),
        "customers": table(st.binary(max_size=3)),
        "entity_expiry": table(TIMES),
        "customer_expiry": table(TIMES),
        "scores": st.dictionaries(NAMES, table(TIMES)),
        "counted": st.lists(NAMES, unique=True),
        "bounds": st.lists(st.tuples(TIMES, TIMES), max_size=2),
        "trim": st.none() | TIMES,
        "history": st.dictionaries(RECORDS, table(st.binary(max_size=3))),
        "dropped": st.lists(RECORDS, unique=True),
    }
)


class Machine(RuleBasedStateMachine):
    """Two workers on each of two kinds of tables."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._backends = [MemoryBackend(), RedisBackend(url, prefix)]
        self._workers = [[backend.tables() for _ in range(2)] for backend in self._backends]
        self._claims = {}
        self._last = None
        self._saved = None
        self._number = 0

    def teardown(self):
        _, valkey = self._backends
        self._runner.run(valkey.flush())
        self._runner.run(valkey.close())
        self._runner.close()

    def both(self, worker, call):
        memory, valkey = [self._runner.run(self._awaited(call, tables[worker])) for tables in self._workers]
        assert memory == valkey
        return memory

    async def _awaited(self, call, tables):
        return await call(tables)

    @rule(worker=WORKERS, shard=st.sampled_from(SHARDS), again=st.booleans())
    def claim(self, worker, shard, again):
        known = self._claims.get((worker, shard))
        self._number += 1
        nonce = known[0].nonce if again and known else b"n%d" % self._number
        claim = self.both(worker, lambda tables: tables.claim(shard, nonce))
        self._claims[worker, shard] = (claim, claim.offset)

    @precondition(lambda self: self._claims)
    @rule(data=st.data(), right=st.sampled_from([True, True, True, False]), start=OFFSETS, end=OFFSETS, parts=CHANGES)
    def commit(self, data, right, start, end, parts):
        worker, shard = data.draw(st.sampled_from(sorted(self._claims)))
        claim, offset = self._claims[worker, shard]
        self._number += 1
        made = Commit(
            shard=shard,
            nonce=claim.nonce,
            epoch=claim.epoch,
            batch=b"b%d" % self._number,
            start=offset if right else start,
            end=offset if right and end is None else end,
            source=b"s%d" % self._number,
            now=NOW + self._number,
            changes=changes(**parts, summary=b"%d" % self._number),
        )
        self._last = (worker, made)
        self._send()
        self._claims[worker, shard] = (claim, made.end)

    @precondition(lambda self: self._last)
    @rule()
    def repeat(self):
        self._send()

    def _send(self):
        worker, made = self._last
        self.both(worker, lambda tables: tables.commit(made))

    @rule()
    def save(self):
        self._saved = [self._runner.run(backend.copy()) for backend in self._backends]

    @precondition(lambda self: self._saved)
    @rule()
    def lose_the_tail(self):
        for backend, saved in zip(self._backends, self._saved, strict=True):
            self._runner.run(backend.restore(saved))

    @rule(worker=WORKERS, values=st.lists(st.tuples(st.sampled_from(["channel", "segment"]), st.sampled_from("abcd"))))
    def register_labels(self, worker, values):
        self.both(worker, lambda tables: tables.register_labels(values, {"channel": 2, "segment": 3}))

    @invariant()
    def the_same_is_stored(self):
        self.both(0, _stored)


async def _stored(tables):
    keys = [b"k", b"l", b"\x00\xff", b""]
    return [
        await tables.summaries(),
        await tables.owners(SHARDS),
        *[await tables.load(shard, keys, keys) for shard in SHARDS],
        *[await tables.load_history(shard, {"h:1": keys, "d:2": keys}) for shard in SHARDS],
        await tables.history(SHARDS, ["h:1", "d:2", "h:3"], 1000),
        *[
            await tables.expired(shard, part, NOW + 3, NOW + 4, limit)
            for shard in SHARDS
            for part in range(EXPIRY_PARTS)
            for limit in (1, 3)
        ],
    ]


@pytest.mark.embedded
def test_memory_and_valkey_agree(embedded_valkey, name_prefix):
    run_state_machine_as_test(
        lambda: Machine(embedded_valkey.url, name_prefix),
        settings=settings(max_examples=20, stateful_step_count=25, deadline=None),
    )
