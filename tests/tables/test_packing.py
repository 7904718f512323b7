import msgspec
from hypothesis import given
from hypothesis import strategies as st

from stream.tables import packing

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


def test_no_command_is_longer_than_lua_can_unpack():
    fields = {b"%d" % number: None if number % 2 else b"v" for number in range(5000)}
    scores = {b"%d" % number: None if number % 2 else number for number in range(5000)}
    writes = packing.Writes()
    writes.hash(3, fields)
    writes.scores(4, scores)
    writes.hash(5, {})
    commands = text(writes.pack())
    assert max(len(command) - 2 for command in commands) == packing.CHUNK
    by_name = {
        name: [part for command in commands if command[0] == name for part in command[2:]]
        for name in ("HSET", "HDEL", "ZADD", "ZREM")
    }
    even = [str(number) for number in range(0, 5000, 2)]
    odd = [str(number) for number in range(1, 5000, 2)]
    assert by_name["HSET"] == [part for field in even for part in (field, "v")]
    assert by_name["ZADD"] == [part for member in even for part in (int(member), member)]
    assert by_name["HDEL"] == by_name["ZREM"] == odd
    assert {(command[0], command[1]) for command in commands} == {("HSET", 3), ("HDEL", 3), ("ZADD", 4), ("ZREM", 4)}


def test_keys_to_load_come_in_chunks_of_each_hash():
    keys = [b"%d" % number for number in range(33)]
    assert text(packing.pack_keys([keys, []])) == [[[str(number) for number in range(32)], ["32"]], []]
