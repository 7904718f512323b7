"""The files of the golden test: a log, what the version before stored after half of it, and digests.

`stored.msgpack.gz` was written with layout 1, by the rules 1 of verdicts. It stays as it is: this version reads layout 1, but cannot write it.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from golden.driver import Record
from support.shard_store import ShardStore

HERE = Path(__file__).parent
SIZES = (1, 37, 1000)
HALF = 1500
"""Records before the shards were stored."""


@cache
def log() -> list[Record]:
    with gzip.open(HERE / "log.jsonl.gz") as lines:
        return [
            Record(topic, number, value.encode("latin-1"), key.encode())
            for number, (topic, key, value) in enumerate(map(json.loads, lines))
        ]


def expected() -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((HERE / "expected.json").read_text())
    return answer


def stored() -> dict[str, ShardStore]:
    return msgspec.msgpack.decode(
        gzip.decompress((HERE / "stored.msgpack.gz").read_bytes()), type=dict[str, ShardStore]
    )


def write(whole: dict[str, Any], second_half: dict[str, Any]) -> None:
    (HERE / "expected.json").write_text(json.dumps({"whole": whole, "second half": second_half}, indent=1) + "\n")
