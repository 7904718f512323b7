import json
from datetime import UTC, datetime

from stream.simulate.jsonl import write_jsonl
from stream.simulate.shop import Shop, ShopSettings

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_one_line_a_record_whatever_is_in_it(tmp_path):
    path = tmp_path / "events.jsonl"
    shop = Shop(ShopSettings(poison=0.5, disorder_seconds=10), START)
    written = write_jsonl(shop.take(500), path)
    lines = path.read_bytes().splitlines()
    again = Shop(ShopSettings(poison=0.5, disorder_seconds=10), START)
    assert lines == [record.value for record in again.take(500)]
    assert written == len(lines) == shop.truth.summary()["events"] > 500


def test_a_limit_ends_an_endless_stream(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("old\n" * 100)
    assert write_jsonl(Shop(ShopSettings(), START).events(), path, limit=20) == 20
    assert [json.loads(line)["specversion"] for line in path.read_text().splitlines()] == ["1.0"] * 20
