from collections import Counter
from itertools import islice

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.shard.write_set import ShardId
from stream.tables import packing
from stream.tables.keys import Buckets, Keys

VALUES = st.lists(st.none() | st.binary())


@given(VALUES)
def test_values_one_behind_the_other_are_told_apart(values):
    lengths = msgspec.msgpack.encode([-1 if value is None else len(value) for value in values])
    data = b"".join(value for value in values if value is not None)
    assert packing.unpack(lengths, data) == values


def text(packed):
    """Read with msgspec, which takes `raw` for text, so this is for ASCII."""
    return msgspec.msgpack.decode(packed)


def test_what_lua_reads():
    assert text(packing.raws([])) == []
    assert text(packing.raws([b"", b"a", b"b" * 70_000])) == ["", "a", "b" * 70_000]
    assert text(packing.array([packing.integer(2**53 - 1), packing.integer(-1), packing.raw(b"x")])) == [
        2**53 - 1,
        -1,
        "x",
    ]


KEYS = Keys("p:", "a").shard(ShardId("checkout-events", 3))


def executed(writes):
    """(command, key, arguments) as the script executes them."""
    for command, keys, sizes, arguments in text(writes.pack()):
        rest = iter(arguments)
        for key, size in zip(keys, sizes, strict=True):
            yield command, writes.keys[key - 1], list(islice(rest, size))
        assert list(rest) == []


def test_no_command_is_longer_than_lua_can_unpack():
    fields = {b"%d" % number: None if number % 2 else b"v" for number in range(5000)}
    scores = {b"%d" % number: None if number % 2 else number for number in range(5000)}
    writes = packing.Writes(b"first", b"second")
    writes.hash(b"hash", fields)
    writes.scores(b"scores", scores)
    writes.hash(b"nothing", {})
    commands = list(executed(writes))
    assert writes.keys[:2] == [b"first", b"second"]
    assert max(len(arguments) for _, _, arguments in commands) == 2 * packing.CHUNK
    by_name = {
        name: [part for command, _, arguments in commands if command == name for part in arguments]
        for name in ("HSET", "HDEL", "ZADD", "ZREM")
    }
    even = [str(number) for number in range(0, 5000, 2)]
    odd = [str(number) for number in range(1, 5000, 2)]
    assert by_name["HSET"] == [part for field in even for part in (field, "v")]
    assert by_name["ZADD"] == [part for member in even for part in (int(member), member)]
    assert by_name["HDEL"] == by_name["ZREM"] == odd
    assert {(command, key) for command, key, _ in commands} == {
        ("HSET", b"hash"), ("HDEL", b"hash"), ("ZADD", b"scores"), ("ZREM", b"scores"),
    }  # fmt: skip


@given(st.dictionaries(st.text("abc", max_size=4).map(str.encode), st.none() | st.integers(0, 2**53 - 1)))
def test_every_field_goes_to_its_bucket(scores):
    table = KEYS.entity_expiry
    writes = packing.Writes()
    writes.scores(table, scores)
    writes.hash(KEYS.entities, {key: None if score is None else b"%d" % score for key, score in scores.items()})
    found = {}
    for command, key, arguments in executed(writes):
        if command in ("ZADD", "HSET"):
            values, fields = (
                (arguments[::2], arguments[1::2]) if command == "ZADD" else (arguments[1::2], arguments[::2])
            )
        else:
            fields, values = arguments, [None] * len(arguments)
        for field, value in zip(fields, values, strict=True):
            of = table if command[0] == "Z" else KEYS.entities
            (number,) = of.numbers([field.encode()])
            assert key == of.key(number)
            assert (of, field) not in found
            found[of, field] = value if command == "ZADD" or value is None else int(value)
    assert found == {(of, key.decode()): score for of in (table, KEYS.entities) for key, score in scores.items()}


def test_a_bucket_with_many_fields_takes_several_commands():
    table = Buckets(b"t", 0)
    writes = packing.Writes()
    writes.hash(table, {b"%d" % number: b"v" for number in range(1100)})
    assert [(key, len(arguments)) for _, key, arguments in executed(writes)] == [
        (b"t:0", 1000),
        (b"t:0", 1000),
        (b"t:0", 200),
    ]


@pytest.mark.parametrize("name", ["checkout-%010d", "%d", "c%d-%d"])
def test_buckets_fill_evenly(name):
    keys = [(name % ((number,) * name.count("%"))).encode() for number in range(51_200)]
    for table in KEYS.tables:
        sizes = Counter(table.numbers(keys))
        mean = len(keys) / table.size
        assert set(sizes) == set(range(table.size))
        assert max(sizes.values()) < mean + 6 * mean**0.5


def test_fields_to_read_come_with_their_keys():
    assert text(packing.pack_fields([4, 5, 4], [b"a", b"b", b"c"])) == [[4, 5, 4], ["a", "b", "c"]]
