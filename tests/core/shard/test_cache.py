import msgspec
import pytest

from stream.core.shard.cache import OVERHEAD, Cache, LateCache


class Thing(msgspec.Struct, array_like=True):
    text: str
    parts: list[str] = []


def stored(text, *parts):
    return msgspec.msgpack.encode(Thing(text, [*parts]))


BOTH = pytest.mark.parametrize("kind", [Cache, LateCache])
WITHOUT_BOUND = 2**62


@BOTH
def test_what_is_not_known_is_missing_and_what_does_not_exist_is_known(kind):
    cache = kind(Thing)
    cache.provide({b"here": stored("a"), b"nowhere": None})
    assert cache.missing([b"new", b"here", b"nowhere"]) == [b"new"]
    assert cache.use(b"here") == cache.look(b"here") == Thing("a")
    assert cache.use(b"nowhere") is cache.look(b"nowhere") is None


@BOTH
def test_a_change_counts_once_it_is_put(kind):
    cache = kind(Thing)
    cache.provide({b"key": stored("a")})
    cache.use(b"key").parts.append("lost")
    assert cache.use(b"key") == Thing("a")
    changed = cache.use(b"key")
    changed.parts.append("kept")
    assert not cache.has_changed(b"key")
    cache.put(b"key", changed)
    assert cache.has_changed(b"key")
    assert cache.use(b"key") == Thing("a", ["kept"])
    assert cache.take(WITHOUT_BOUND) == ({b"key": stored("a", "kept")}, {})
    assert cache.take(WITHOUT_BOUND) == ({}, {})
    assert cache.use(b"key") == Thing("a", ["kept"])


@BOTH
def test_what_is_removed_does_not_exist(kind):
    cache = kind(Thing)
    cache.provide({b"key": stored("a")})
    cache.put(b"key", None)
    assert cache.use(b"key") is None
    assert cache.take(WITHOUT_BOUND) == ({b"key": None}, {})
    assert cache.missing([b"key"]) == []


@BOTH
def test_expiries_are_handed_over_once(kind):
    cache = kind(Thing)
    cache.expiry[b"key"] = 5
    assert cache.take(0) == ({}, {b"key": 5})
    assert cache.take(0) == ({}, {})


@BOTH
def test_the_least_recently_used_leave_beyond_the_bytes(kind):
    cache = kind(Thing)
    keys = [b"%d" % number for number in range(10)]
    data = stored("x" * 100)
    each = OVERHEAD + 1 + len(data)
    cache.provide(dict.fromkeys(keys, data))
    cache.use(keys[0])
    cache.put(keys[1], cache.use(keys[1]))
    cache.take(10 * each)
    assert cache.missing(keys) == []
    cache.take(4 * each)
    assert cache.missing(keys) == keys[2:8]
    cache.put(keys[0], Thing("x" * (100 + each)))  # as large as two
    cache.take(3 * each + 1)
    assert cache.missing(keys) == keys[2:]
    cache.take(0)
    assert cache.missing(keys) == keys


@BOTH
def test_what_a_batch_needs_stays_whatever_its_size(kind):
    cache = kind(Thing)
    cache.provide({b"large": stored("x" * 1000), b"small": stored("y")})
    assert cache.use(b"large") == Thing("x" * 1000)
    assert cache.use(b"small") == Thing("y")


def test_concerns_are_those_of_a_record_that_is_here():
    cache = Cache(Thing)
    cache.provide({b"key": stored("a")})
    assert cache.concerned(b"key") == cache.concerned(b"other") == ()
    cache.concern(b"key", (b"x", b"y"))
    assert cache.concerned(b"key") == (b"x", b"y")
    cache.take(WITHOUT_BOUND)
    assert cache.concerned(b"key") == (b"x", b"y")
    cache.concern(b"key", ())
    assert cache.concerned(b"key") == ()
    cache.concern(b"key", (b"x",))
    cache.take(0)
    assert cache.concerned(b"key") == ()


def test_a_late_record_is_one_object_until_it_is_taken():
    cache = LateCache(Thing)
    record = Thing("a")
    cache.provide({b"key": None})
    cache.put(b"key", record)
    assert cache.use(b"key") is record
    assert cache.late == {b"key": record}
    assert cache.take(WITHOUT_BOUND) == ({b"key": stored("a")}, {})
    assert cache.late == {}
    assert cache.use(b"key") is not record
