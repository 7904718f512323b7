"""What the version before stored in Redis (layout 1) after the first records of each topic of the golden log, key by key, and its figures.

Make it again, from that version's code: `PYTHONPATH=tests python -m golden.layout_1`.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from golden.driver import TOPICS
from golden.files import log
from support.version_before import COMMIT, extract, run

from stream.embedded.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from golden.driver import Record
    from redis import Redis

RECORDS = 150
"""How many records of each topic were applied."""
ROOT = "upsell:shop:"
_FILE = Path(__file__).with_name("layout_1.msgpack.gz")


class Layout1(msgspec.Struct):
    """The file."""

    commit: str
    """Of the version that stored this."""
    figures: dict[str, Any]
    """Of each journey in total, as that version shows them."""
    hashes: dict[bytes, dict[bytes, bytes]]
    scores: dict[bytes, dict[bytes, int]]
    sets: dict[bytes, list[bytes]]
    lists: dict[bytes, list[bytes]]


def stored() -> Layout1:
    """The file; the keys are without `ROOT`."""
    return msgspec.msgpack.decode(gzip.decompress(_FILE.read_bytes()), type=Layout1)


def records_of(topic: str) -> list[Record]:
    """The records of a topic in the golden log."""
    return [record for record in log() if record.topic == topic]


def put(layout: Layout1, redis: Redis, root: str) -> None:
    """Store it; keys begin with `root`."""
    name = root.encode()
    for key, fields in layout.hashes.items():
        redis.hset(name + key, mapping=fields)
    for key, members in layout.scores.items():
        redis.zadd(name + key, members)
    for key, values in layout.sets.items():
        redis.sadd(name + key, *values)
    for key, values in layout.lists.items():
        redis.rpush(name + key, *values)


def _read(redis: Redis, figures: dict[str, Any]) -> Layout1:
    layout = Layout1(COMMIT, figures, {}, {}, {}, {})
    for key in sorted(redis.scan_iter()):
        name = key.removeprefix(ROOT.encode())
        match redis.type(key):
            case b"hash":
                layout.hashes[name] = dict(sorted(redis.hgetall(key).items()))
            case b"zset":
                layout.scores[name] = {
                    member: int(score) for member, score in redis.zrange(key, 0, -1, withscores=True)
                }
            case b"set":
                layout.sets[name] = sorted(redis.smembers(key))
            case b"list":
                layout.lists[name] = redis.lrange(key, 0, -1)
    return layout


def _make() -> None:
    from redis import Redis  # noqa: PLC0415 - only here

    records = [record for topic in TOPICS for record in records_of(topic)[:RECORDS]]
    lines = "".join(json.dumps([record.topic, record.value.decode("latin-1")]) + "\n" for record in records)
    writer = Path(__file__).with_name("layout_1_writer.py")
    with tempfile.TemporaryDirectory() as directory, EmbeddedValkey() as server:
        code = extract(Path(directory))
        figures = run(code, [str(writer), server.url, "upsell:"], stdin=lines.encode())
        layout = _read(Redis.from_url(server.url), json.loads(figures))
    _FILE.write_bytes(gzip.compress(msgspec.msgpack.encode(layout), mtime=0))


if __name__ == "__main__":
    _make()
