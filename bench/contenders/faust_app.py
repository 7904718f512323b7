"""Plain Faust: one agent, one event per message, two tables in memory with their changelogs. `faust_app.py SERVERS TOPIC RECORDS WARM-UP`.

Minutes are rows of a plain table, because Faust's windowed tables cannot subtract from a minute that is over when an order is edited.
"""

import asyncio
import json
import os
import secrets
import sys
from collections import Counter
from typing import Any

import faust
from verdict import apply

servers, topic, records, warm = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
app = faust.App(
    f"bench-faust-{secrets.token_hex(4)}",
    broker=f"kafka://{servers}",
    store="memory://",
    topic_partitions=4,
    consumer_auto_offset_reset="earliest",
    value_serializer="json",
    web_enabled=False,
)
events = app.topic(topic, key_type=bytes, value_serializer="json")
checkouts = app.Table("checkouts", partitions=4)
minutes = app.Table("minutes", default=dict, partitions=4)
seen = 0


def report(message: dict[str, Any]) -> None:
    """Write a line to the file descriptor, because Faust redirects `sys.stdout` to its log."""
    os.write(1, b"\n%s\n" % json.dumps(message).encode())


@app.agent(events)
async def judge(stream: Any) -> None:
    global seen  # noqa: PLW0603 - a counter of the program
    async for event in stream:
        entity = event["data"]["checkout_id"]
        state, delta = apply(checkouts.get(entity), event)
        checkouts[entity] = state
        if delta is not None:
            key = f"{delta['minute']}|{delta['channel']}|{delta['segment']}"
            row = Counter(minutes[key])
            row.update(delta["counts"])
            minutes[key] = dict(row)
        seen += 1
        if seen in (warm, records):
            report({"records": seen})
        if seen == records:
            total: Counter[str] = Counter()
            for row in minutes.values():
                total.update(row)
            report({"result": total})
            await asyncio.sleep(1)
            os._exit(0)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "-l", "error"]
    app.main()
