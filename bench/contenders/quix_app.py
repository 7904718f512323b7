"""Quix Streams. `quix_app.py GUARANTEE SERVERS TOPIC RECORDS WARM-UP`.

Its state belongs to a record's key, so counts by channel and segment need a repartition topic (`group_by`), as its documentation recommends. Only
judged orders go through it.
"""

import json
import logging
import os
import secrets
import sys
import tempfile
from collections import Counter
from typing import Any

from quixstreams import Application
from verdict import apply

guarantee, servers, topic, records, warm = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
seen = emitted = counted = 0
rows: dict[tuple[str, int], dict[str, int]] = {}


def judge(event: dict[str, Any], state: Any) -> list[dict[str, Any]]:
    global seen, emitted  # noqa: PLW0603 - a counter of the program
    entity = event["data"]["checkout_id"]
    checkout, delta = apply(state.get(entity), event)
    state.set(entity, checkout)
    seen += 1
    if seen == warm:
        print(json.dumps({"records": seen}), flush=True)
    if delta is None:
        return []
    emitted += 1
    return [dict(delta)]


def add(total: dict[str, int], delta: dict[str, Any]) -> dict[str, int]:
    return {name: total[name] + number for name, number in delta["counts"].items()}


def note(window: dict[str, Any], key: Any, timestamp: int, headers: Any) -> None:  # noqa: ARG001 - Quix's signature
    global counted  # noqa: PLW0603 - a counter of the program
    counted += 1
    rows[key, window["start"]] = window["value"]
    if seen == records and counted == emitted:
        total: Counter[str] = Counter()
        for row in rows.values():
            total.update(row)
        print(json.dumps({"records": records}), flush=True)
        print(json.dumps({"result": total}), flush=True)
        os._exit(0)


def main() -> None:
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as directory:
        app = Application(
            broker_address=servers,
            consumer_group=f"bench-quix-{secrets.token_hex(4)}",
            auto_offset_reset="earliest",
            processing_guarantee=guarantee,
            state_dir=directory,
        )
        orders = app.dataframe(app.topic(topic, key_deserializer="str", value_deserializer="json"))
        orders = orders.apply(judge, stateful=True, expand=True)
        orders = orders.set_timestamp(lambda delta, *_: delta["minute"] * 1000)
        orders = orders.group_by(lambda delta: f"{delta['channel']}|{delta['segment']}", name="place")
        minutes = orders.tumbling_window(60_000, grace_ms=3_600_000).reduce(add, lambda delta: delta["counts"])
        minutes.current().update(note, metadata=True)
        app.run()


if __name__ == "__main__":
    main()
