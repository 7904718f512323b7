import msgspec
import pytest

from stream.core.shard.cache import OVERHEAD, Cache, DeferredCache


class Thing(msgspec.Struct, array_like=True):
    text: str
    parts: list[str] = []


def stored(text, *parts):
    return msgspec.msgpack.encode(Thing(text, [*parts]))


def load(cache, records):
    for key, data in records.items():
        cache.load(key, data)


BOTH = pytest.mark.parametrize("kind", [Cache, DeferredCache])
WITHOUT_BOUND = 2**62


@BOTH
def test_missing_lists_keys_that_were_not_loaded_and_not_those_without_a_record(kind):
    cache = kind(Thing)
    load(cache, {b"here": stored("a"), b"nowhere": None})
    assert cache.missing([b"new", b"here", b"nowhere"]) == [b"new"]
    assert cache.get(b"here") == cache.peek(b"here") == Thing("a")
    assert cache.get(b"nowhere") is cache.peek(b"nowhere") is None


@BOTH
def test_only_a_put_changes_a_record(kind):
    cache = kind(Thing)
    load(cache, {b"key": stored("a")})
    cache.get(b"key").parts.append("lost")
    assert cache.get(b"key") == Thing("a")
    changed = cache.get(b"key")
    changed.parts.append("kept")
    assert not cache.has_changed(b"key")
    cache.put(b"key", changed)
    assert cache.has_changed(b"key")
    assert cache.get(b"key") == Thing("a", ["kept"])
    assert cache.drain(WITHOUT_BOUND) == ({b"key": stored("a", "kept")}, {})
    assert cache.drain(WITHOUT_BOUND) == ({}, {})
    assert cache.get(b"key") == Thing("a", ["kept"])


@BOTH
def test_a_removed_record_does_not_exist(kind):
    cache = kind(Thing)
    load(cache, {b"key": stored("a")})
    cache.put(b"key", None)
    assert cache.get(b"key") is None
    assert cache.drain(WITHOUT_BOUND) == ({b"key": None}, {})
    assert cache.missing([b"key"]) == []


@BOTH
def test_expiries_are_drained_once(kind):
    cache = kind(Thing)
    cache.expiry[b"key"] = 5
    assert cache.drain(0) == ({}, {b"key": 5})
    assert cache.drain(0) == ({}, {})


@BOTH
def test_the_least_recently_used_records_are_evicted_beyond_the_capacity(kind):
    cache = kind(Thing)
    keys = [b"%d" % number for number in range(10)]
    data = stored("x" * 100)
    each = OVERHEAD + 1 + len(data)
    load(cache, dict.fromkeys(keys, data))
    cache.get(keys[0])
    cache.put(keys[1], cache.get(keys[1]))
    cache.drain(10 * each)
    assert cache.missing(keys) == []
    cache.drain(4 * each)
    assert cache.missing(keys) == keys[2:8]
    cache.put(keys[0], Thing("x" * (100 + each)))  # as large as two
    cache.drain(3 * each + 1)
    assert cache.missing(keys) == keys[2:]
    cache.drain(0)
    assert cache.missing(keys) == keys


@BOTH
def test_records_of_the_current_batch_are_not_evicted(kind):
    cache = kind(Thing)
    load(cache, {b"large": stored("x" * 1000), b"small": stored("y")})
    assert cache.get(b"large") == Thing("x" * 1000)
    assert cache.get(b"small") == Thing("y")


def test_links_exist_as_long_as_their_record_is_in_the_cache():
    cache = Cache(Thing)
    load(cache, {b"key": stored("a")})
    assert cache.linked(b"key") == cache.linked(b"other") == ()
    cache.link(b"key", (b"x", b"y"))
    assert cache.linked(b"key") == (b"x", b"y")
    cache.drain(WITHOUT_BOUND)
    assert cache.linked(b"key") == (b"x", b"y")
    cache.link(b"key", ())
    assert cache.linked(b"key") == ()
    cache.link(b"key", (b"x",))
    cache.drain(0)
    assert cache.linked(b"key") == ()


def test_a_deferred_record_is_one_object_until_it_is_drained():
    cache = DeferredCache(Thing)
    record = Thing("a")
    load(cache, {b"key": None})
    cache.put(b"key", record)
    assert cache.get(b"key") is record
    assert cache.deferred == {b"key": record}
    assert cache.drain(WITHOUT_BOUND) == ({b"key": stored("a")}, {})
    assert cache.deferred == {}
    assert cache.get(b"key") is not record
