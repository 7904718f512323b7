"""The parts of the benchmarks that need no server: the Python peers count correctly, and the page can be generated."""

import sys
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from stream.simulate.shop import Shop, ShopSettings

ROOT = Path(__file__).parents[1]
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def bench_path(monkeypatch):
    """The benchmarks are no package: they are imported from the root, and the parts of a peer from its directory."""
    monkeypatch.setattr(sys, "path", [str(ROOT), str(ROOT / "bench" / "contenders"), *sys.path])


def test_python_peers_count_correctly():
    from verdict import apply  # noqa: PLC0415 - found by the path above

    from bench.dataset import Record, planted  # noqa: PLC0415 - found by the path above

    shop = Shop(ShopSettings(seed=7, rate=100.0, customers=200, pace=20.0), START)
    records = [Record(e.topic, e.key, e.value) for e in islice(shop.events(), 2000) if e.topic == "checkout"]
    states = {}
    counts = Counter()
    for record in records:
        event = msgspec.json.decode(record.value)
        entity = event["data"]["checkout_id"]
        states[entity], delta = apply(states.get(entity), event)
        if delta is not None:
            counts.update(delta["counts"])
    figures = planted(records)
    assert counts == {"transactions": figures["transactions"], **figures["kind_transactions"]}
    assert counts["any"] > 100


def test_the_page_and_its_chart_show_the_results(tmp_path):
    from bench import page  # noqa: PLC0415 - found by the path above
    from bench.results import Results  # noqa: PLC0415 - found by the path above

    run = {"events_per_second": 1234}
    one = {"records": 10, "events_per_second": 1234, "runs": [run], "worker_us": 1.5, "redis_us": 2.5, "broker_us": 3.5}
    results = Results(tmp_path / "results.json")
    results.note("throughput", {"contenders": {"upsell-stream": {**one, "right": True}}})
    page.run(Results(tmp_path / "results.json"), page=tmp_path / "performance.md")
    assert "| upsell-stream | 1,234 (1,234 to 1,234) | 1.00 |" in (tmp_path / "performance.md").read_text()
    assert "1,234</text>" in (tmp_path / "performance.svg").read_text()
