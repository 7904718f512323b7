"""`simulate --past-metrics`: the file has the figures that a worker would have had, and appears when the past is complete."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from stream.cli.past_metrics import with_metrics
from stream.cli.root import cli
from stream.core.offline import Offline
from stream.events.decode import Rejected, decode_line
from stream.settings import Settings
from stream.simulate.shop import Shop, ShopSettings

LIVE = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAST = timedelta(days=9)
SAMPLE = re.compile(r"(\w+)\{(.*)\} (\S+) (\d+)")


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    monkeypatch.setattr("stream.cli.past_metrics._STEP", timedelta(hours=6))


def records():
    """Nine days of past with some bad records, a pause, and an hour of live events."""
    seconds = PAST.total_seconds()
    shop = Shop(ShopSettings(rate=0.1, past_seconds=seconds, past_rate=3000 / seconds, poison=0.01), LIVE - PAST)
    yield from shop.until(LIVE, None)
    yield None
    yield from shop.until(LIVE + timedelta(hours=1), None)


def test_the_file_has_the_figures_of_the_core_at_each_moment(tmp_path):
    settings = Settings()
    file = tmp_path / "past.om"
    passed = list(with_metrics(records(), settings, LIVE, file, "compose"))
    assert passed == list(records())
    *lines, end = file.read_text(encoding="utf-8").splitlines()
    assert end == "# EOF"
    found = {}
    for line in lines:
        name, labels, value, moment = SAMPLE.fullmatch(line).groups()
        named = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        assert (named["env"], named["job"]) == ("compose", "upsell-stream")
        found[int(moment), name, *(named.get(part) for part in PARTS)] = float(value)
    moments = sorted({key[0] for key in found})
    assert timedelta(seconds=moments[0]) == timedelta(seconds=(LIVE - timedelta(days=7, hours=6)).timestamp())
    for moment in moments[::7]:
        assert {key: value for key, value in found.items() if key[0] == moment} == expected(settings, moment)


PARTS = ("journey", "window", "dimension", "value", "channel", "segment")


def expected(settings, moment):
    """The samples of one moment, from everything that had happened, counted afresh."""
    offline = Offline(settings.core(), settings.registry(), moment * 1_000_000)
    for record in records():
        if record is not None and record.time.timestamp() < moment:
            event = decode_line(record.value)
            if not isinstance(event, Rejected):
                offline.apply(event)
    figures = offline.figures()
    samples = {}
    for journey in ("checkout", "subscription"):
        for window in settings.windows:
            cut = figures.slice(window, journey)
            for (dimension, value), cells in cut.sets.items():
                rate = cells.rates["upsell_cross_sell_rate"] if dimension != "channel" else None
                if rate is not None:
                    samples[moment, "upsell_kpi_ratio", journey, window, dimension, value, None, None] = rate
            for (channel, segment), vector in cut.pairs.items():
                key = (moment, "upsell_window_opportunities", journey, window, None, None, channel, segment)
                samples[key] = float(vector[0])
    return samples


def test_the_file_is_there_before_the_first_live_event(tmp_path):
    file = tmp_path / "past.om"
    for record in with_metrics(records(), Settings(), LIVE, file, "compose"):
        past = record is not None and record.time < LIVE
        assert file.exists() != past


def test_nothing_is_left_if_the_past_is_not_complete(tmp_path):
    stopped = with_metrics(
        (record for record, _ in zip(records(), range(500), strict=False)),
        Settings(),
        LIVE,
        tmp_path / "past.om",
        "compose",
    )
    assert len(list(stopped)) == 500
    assert not list(tmp_path.iterdir())


def test_metrics_of_a_past_need_a_past(tmp_path):
    result = CliRunner().invoke(cli, ["simulate", "--past-metrics", str(tmp_path / "past.om"), "compose"])
    assert result.exit_code == 2
    assert "--past-metrics needs --past" in result.stderr
