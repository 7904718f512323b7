"""Workers on real servers, one of them killed: what they serve of the past is what `classify` computes from the same events."""

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from support.shops import BUSY
from support.traffic import Sent
from support.workers import environment, group

from stream.simulate.shop import Shop, ShopSettings

TOPICS = {"checkout": "checkout-events", "subscription": "subscription-events"}


@pytest.mark.embedded
async def test_the_past_of_workers_is_that_of_classify(embedded_broker, embedded_valkey, name_prefix, tmp_path):
    begin = datetime.now(UTC) - timedelta(hours=20)
    settings = ShopSettings(seed=5, behaviour=BUSY, rate=0.012, customers=200, month_seconds=20_000)
    emitted = [each for each in Shop(settings, begin).take(900) if each.time < datetime.now(UTC)]
    sent = [Sent(TOPICS[each.topic], each.key, each.value) for each in emitted]
    (tmp_path / "events.jsonl").write_bytes(b"".join(each.value + b"\n" for each in sent))
    servers = embedded_broker.bootstrap_servers, embedded_valkey.url
    with group(*servers, name_prefix, tmp_path, batch_records=20, time_zone="Asia/Kathmandu") as workers:
        await workers.create_topics(2, 2)
        first = workers.start()
        await workers.until_shared(lambda shares: shares == [4])
        sending = asyncio.create_task(workers.send(sent, pause=0.2))
        await workers.until_committed(200)
        second = workers.start()
        first.kill()
        await sending
        await workers.applied()
        for step in ("1h", "1d"):
            served = json.loads(await second.get(f"/api/v1/history?step={step}&from=2d"))
            assert any(row["transactions"] for row in served["rows"])
            assert {state["state"] for state in served["state"].values()} == {"live"}
            assert _rows(served) == _rows(_classified(workers, tmp_path, served["as_of"], "--history", step))
        explained = json.loads(await second.get("/api/v1/explain?from=8h&against=previous"))
        assert explained["main"]
        served = json.loads(await second.get("/api/v1/offers?from=34d"))
        assert {row["journey"] for row in served["rows"]} == set(TOPICS)
        assert any(row["accepted"] for row in served["rows"])
        assert any(row["reversed"] for row in served["rows"])
        classified = _classified(workers, tmp_path, served["as_of"], "--offers")
        assert _without_start(served["rows"]) == _without_start(classified["rows"])
        assert _without_start(served["other"]) == _without_start(classified["other"])
        for journey in TOPICS:
            served = json.loads(await second.get(f"/api/v1/drivers?journey={journey}&from=34d"))
            assert all(served[kind] for kind in ("paths", "pairs", "products"))
            classified = _classified(workers, tmp_path, served["as_of"], "--drivers", "--journey", journey)
            assert {name: served[name] for name in SOLD} == {name: classified[name] for name in SOLD}


SOLD = ("transactions", "reversed", "known", "paths", "pairs", "products", "left_out", "other")


def _classified(workers, directory, as_of, *options):
    command = [sys.executable, "-m", "stream", "classify", "--json", *options, "--as-of", as_of, "events.jsonl"]
    where = environment(workers.settings) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(command, cwd=directory, env=where, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _rows(document):
    """Rows in which something was counted, without the mark of what is running."""
    rows = [row for row in document["rows"] if row["opportunities"] or row["transactions"]]
    return [{name: value for name, value in row.items() if name != "partial"} for row in rows]


def _without_start(rows):
    """Rows of offers without their first day: `classify` takes all that are kept."""
    return [{name: value for name, value in row.items() if name != "start"} for row in rows]
