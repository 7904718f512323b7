"""When the alerts fire, and when they end: promtool runs the committed rules with made-up series.

Each story says which alerts fire at which time, and so also which do not. One run of promtool has all stories, so that it is quick.
"""

import dataclasses
import json
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from support.programs import program_or_skip

from deploy.generate import rules
from deploy.generate.rule import Links


class Series(NamedTuple):
    """One input series of promtool, with the labels of a scrape target, except `env`, which is the name of the story."""

    metric: str
    values: str
    """In promtool's notation: `a+0xn` is a, n times repeated, `_` is a failed scrape."""
    labels: dict[str, str]

    def plain(self, env: str) -> dict[str, str]:
        labels = {"env": env, "job": "upsell-stream", "instance": "w1", **self.labels}
        inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
        return {"series": f"{self.metric}{{{inside}}}", "values": self.values}


def series(metric: str, values: str, **labels: str) -> Series:
    return Series(metric, values, labels)


def alive(length: int, age: str = "") -> list[Series]:
    """A worker without a problem. `age`: of its shard, if it is not always 2 seconds."""
    return [
        series("upsell_build_info", f"1+0x{length}", version="1", python="3", faust="0"),
        series("upsell_shard_age_seconds", age or f"2+0x{length}", topic="t", partition="0"),
        series("up", f"1+0x{length}"),
        series("upsell_ready", f"1+0x{length}"),
    ]


JOURNEY = {"journey": "checkout"}
PLACE = {**JOURNEY, "channel": "web", "segment": "business"}


def sales(opportunities: dict[str, str], sold: dict[str, str], **labels: str) -> list[Series]:
    """Series of one segment of checkouts, by window."""
    place = PLACE | labels
    return [
        *(series("upsell_window_opportunities", v, window=w, **place) for w, v in opportunities.items()),
        *(series("upsell_window_kind_transactions", v, kind="any", window=w, **place) for w, v in sold.items()),
    ]


def target(ratio: float, length: int, segment: str = "business") -> Series:
    place = {"kpi": "upsell_cross_sell_rate", "journey": "checkout", "segment": segment}
    return series("upsell_target_ratio", f"{ratio}+0x{length}", **place)


@dataclasses.dataclass(frozen=True)
class Story:
    """Series at an interval, and all alerts that fire at certain times, except the watchdog."""

    name: str
    series: list[Series]
    firing: dict[str, dict[str, int]]
    interval: str = "1m"
    alert: dict | None = None
    """A complete expected alert, for a story that runs alone."""
    alone: bool = False

    @property
    def env(self) -> str:
        return self.name.replace(" ", "-").translate({ord(mark): None for mark in ",:;%'+"})

    def plain(self) -> dict:
        # An alert on metrics that do not exist at all has no `env`.
        envs = "" if self.alone else f', env="{self.env}"'
        count = f'count by (alertname) (ALERTS{{alertstate="firing", alertname!="UpsellWatchdog"{envs}}})'
        return {
            "input_series": [series.plain(self.env) for series in self.series],
            "alert_rule_test": [self.alert] if self.alert else [],
            "promql_expr_test": [
                {
                    "expr": count,
                    "eval_time": time,
                    "exp_samples": [{"labels": f'{{alertname="{a}"}}', "value": n} for a, n in expected.items()],
                }
                for time, expected in self.firing.items()
            ],
        }


def as_tests(stories: Iterable[Story]) -> list[dict]:
    """Stories as tests of promtool. Stories are combined where possible, because every evaluation takes time."""
    together = defaultdict(list)
    for story in stories:
        together[story.interval, story.name if story.alone else ""].append(story.plain())
    return [
        {"interval": interval, **{key: [item for part in parts for item in part[key]] for key in parts[0]}}
        for (interval, _), parts in together.items()
    ]


BELOW = {"UpsellRateBelowTarget": 1}
STEADY = {"5m": "40+0x100", "1h": "500+0x100", "24h": "9000+0x100"}

KPI_STORIES = [
    Story(
        "a rate falls below the target of a segment, and recovers",
        [
            *alive(100),
            target(0.20, 100),
            target(0.20, 100, "all"),
            *sales(STEADY, {"5m": "10+0x29 4+0x29 10+0x40", "1h": "125+0x29 50+0x70", "24h": "2250+0x100"}),
            *sales(
                {"5m": "400+0x100", "1h": "5000+0x100"}, {"5m": "100+0x100", "1h": "1250+0x100"}, segment="consumer"
            ),
        ],
        {"29m": {}, "34m": {}, "35m": BELOW, "59m": BELOW, "69m": BELOW, "72m": {}},
        alone=True,
        alert={
            "eval_time": "40m",
            "alertname": "UpsellRateBelowTarget",
            "exp_alerts": [
                {
                    "exp_labels": {
                        "env": "a-rate-falls-below-the-target-of-a-segment-and-recovers",
                        "job": "upsell-stream",
                        "severity": "critical",
                        "team": "commerce",
                        "scope": "kpi",
                        "kpi": "upsell_cross_sell_rate",
                        "journey": "checkout",
                        "segment": "business",
                    },
                    "exp_annotations": {
                        "summary": "upsell_cross_sell_rate of checkout in segment business is below its target",
                        "description": "The rate is at most 15.69% (99.98 % confidence), which is below the target. "
                        "The newest rate is below it as well.",
                        "runbook_url": f"{Links().runbooks}/UpsellRateBelowTarget.md",
                        "dashboard_url": f"{Links().grafana}/d/upsell-segment"
                        "?var-env=a-rate-falls-below-the-target-of-a-segment-and-recovers"
                        "&var-journey=checkout&var-segment=business",
                    },
                }
            ],
        },
    ),
    Story(
        "a slow fall shows in a day, not in an hour",
        [
            *alive(30),
            target(0.24, 30),
            *sales(
                {"5m": "4+0x30", "1h": "50+0x30", "24h": "1200+0x30"},
                {"5m": "1+0x30", "1h": "9+0x30", "24h": "230+0x30"},
            ),
        ],
        {"4m": {}, "6m": BELOW, "30m": BELOW},
    ),
    Story(
        "six bad hours show in their sum",
        [
            *alive(80),
            target(0.24, 80),
            *sales(
                {"5m": "2+0x80", "1h": "30+0x80", "24h": "720+0x80"},
                {"5m": "0+0x80", "1h": "3+0x80", "24h": "160+0x80"},
            ),
        ],
        {"170m": {}, "370m": BELOW},
        interval="5m",
    ),
    Story(
        "few sales prove nothing, even if none had an upsell",
        [*alive(60), target(0.20, 60), *sales({"5m": "1+0x60", "1h": "9+0x60", "24h": "20+0x60"}, {"1h": "0+0x60"})],
        {"10m": {}, "60m": {}},
    ),
    Story(
        "a quiet night after a poor day",
        [
            *alive(60),
            target(0.24, 60),
            *sales(
                {"5m": "0+0x60", "1h": "0+0x60", "24h": "1200+0x60"},
                {"5m": "0+0x60", "1h": "0+0x60", "24h": "200+0x60"},
            ),
        ],
        {"10m": {}, "60m": {}},
    ),
    Story(
        "a low band without a target raises no alert",
        [*alive(30), *sales({"5m": "40+0x30", "1h": "500+0x30"}, {"5m": "1+0x30", "1h": "5+0x30"})],
        {"30m": {}},
    ),
    Story(
        "more sales than opportunities are a rate of 1",
        [
            *alive(30),
            target(0.99, 30),
            *sales({"5m": "9+0x30", "1h": "5000+0x30"}, {"5m": "10+0x30", "1h": "6000+0x30"}),
        ],
        {"30m": {}},
    ),
    Story(
        "a rate that varies around its target raises no alert",
        [
            *alive(60),
            target(0.20, 60),
            # Many sales in the first hour keep the sum of six hours good.
            *sales({"5m": "40+0x60", "1h": "5000 500+0x60"}, {"5m": "4 4 4 9 " * 15, "1h": "1250 50+0x60"}),
        ],
        {f"{minute}m": {} for minute in range(1, 60, 7)},
    ),
    Story(
        "a failed scrape, one good minute or another worker does not end an alert",
        [
            *alive(60),
            target(0.20, 60),
            *sales(STEADY, {"5m": "4+0x19 _ 4+0x9 9 4+0x40", "1h": "50+0x19 _ 50+0x40"}),
            # Another worker exposes the same values for a while: the rules take the maximum, not the sum.
            *sales({"1h": "_x9 500+0x9 _x40"}, {"1h": "_x9 50+0x9 _x40"}, instance="w2"),
        ],
        {f"{minute}m": BELOW for minute in (10, 20, 21, 30, 32, 34, 45, 60)},
    ),
]


def day(bad_from: int = 9_999, *, length: int = 400) -> str:
    """Values of an hour's revenue ratio, one per 5 minutes. They vary, and fall from an index on."""
    pattern = (1.10, 1.22, 1.15, 1.30, 1.05, 1.18)
    return " ".join(f"{pattern[(i // 12) % len(pattern)] - (0.35 if i >= bad_from else 0):.2f}" for i in range(length))


def revenue(ratio: float, hours: str, day: str, journey: str) -> list[Series]:
    kpi = {"kpi": "upsell_revenue_ratio", "journey": journey}
    place = {**kpi, "dimension": "all", "value": "all"}
    return [
        series("upsell_target_ratio", f"{ratio}+0x400", **kpi, segment="all"),
        series("upsell_kpi_ratio", hours, window="1h", **place),
        series("upsell_kpi_ratio", day, window="24h", **place),
    ]


REVENUE_STORY = Story(
    "revenue falls below its target, and recovers; that of another journey stays a little above its own",
    [
        *alive(400),
        *revenue(1.10, day(36, length=372) + " 1.3+0x30", "1.17+0x35 0.82+0x363", "checkout"),
        *revenue(1.15, day(), "1.17+0x400", "subscription"),
    ],
    {"175m": {}, "770m": {"UpsellRevenueBelowTarget": 1}, "1800m": {"UpsellRevenueBelowTarget": 1}, "1900m": {}},
    interval="5m",
)


def weeks(before: int, now: str) -> str:
    """A week of one value, at 30-minute intervals, then others."""
    return f"{before}+0x335 {now}"


REVERSED = {"kind": "all", "dimension": "all", "value": "all", "window": "24h"}
WEEK_STORIES = [
    Story(
        "now against last week: rate, opportunities, reversals and intents, one after the other",
        [
            *alive(376),
            *sales(
                {"1h": weeks(500, "500+0x4 150+0x2 60+0x2 500+0x30"), "24h": "9000+0x376"},
                {"1h": weeks(125, "60+0x2 125+0x1 38+0x2 15+0x2 125+0x30"), "24h": "2250+0x376"},
            ),
            series("upsell_window_transactions", "5000+0x376", **PLACE, window="24h"),
            series(
                "upsell_window_reversed_transactions", weeks(150, "150+0x12 300+0x3 150+0x30"), **JOURNEY, **REVERSED
            ),
            series("upsell_window_intent_transactions", "400+0x376", intent="known", **JOURNEY, window="1h"),
            series(
                "upsell_window_intent_transactions",
                weeks(4, "4+0x18 80+0x3 4+0x30"),
                intent="unknown",
                **JOURNEY,
                window="1h",
            ),
        ],
        {
            "10050m": {},
            "10110m": {"UpsellRateBelowLastWeek": 1},
            "10200m": {},
            "10290m": {"UpsellOpportunitiesDrop": 1},
            "10380m": {"UpsellOpportunitiesDrop": 2},
            "10440m": {},
            "10530m": {"UpsellReversalsHigh": 1},
            "10620m": {},
            "10740m": {"UpsellUnknownIntentsHigh": 1},
            "10830m": {},
        },
        interval="30m",
    ),
    Story(
        "now against last week, in a shop of few sales",
        [
            *alive(376),
            *sales(
                {"1h": weeks(8, "2+0x40"), "24h": weeks(60, "40+0x40")},
                {"1h": weeks(2, "0+0x40"), "24h": weeks(15, "7+0x40")},
            ),
            series("upsell_window_transactions", weeks(30, "20+0x40"), **PLACE, window="24h"),
            series("upsell_window_reversed_transactions", weeks(1, "3+0x40"), **JOURNEY, **REVERSED),
            series("upsell_window_intent_transactions", "7+0x376", intent="known", **JOURNEY, window="1h"),
            series("upsell_window_intent_transactions", weeks(0, "2+0x40"), intent="unknown", **JOURNEY, window="1h"),
        ],
        {"10110m": {}, "10200m": {}, "10830m": {}},
        interval="30m",
    ),
]


def intents(known: str, unknown: str, window: str) -> list[Series]:
    return [
        series("upsell_window_intent_transactions", v, intent=intent, window=window, **JOURNEY)
        for intent, v in (("known", known), ("unknown", unknown))
    ]


FIRST_DAY_STORIES = [
    Story(
        "most intents are unknown from the first minute on, until the producer is corrected",
        [
            *alive(100),
            *intents("0+1x60 60+10x40", "0+10x60 600+0x40", "1h"),
            *intents("1+0x60 50+0x40", "50+0x60 0+0x40", "5m"),
        ],
        {"3m": {}, "11m": {"UpsellUnknownIntentsHigh": 1}, "60m": {"UpsellUnknownIntentsHigh": 1}, "67m": {}},
    ),
    Story(
        "most intents of a small shop are unknown, which a day shows",
        [*alive(100), *intents("1+0x100", "2+0x100", "1h"), *intents("10+0x100", "60+0x100", "24h")],
        {"3m": {}, "8m": {"UpsellUnknownIntentsHigh": 1}},
    ),
    Story(
        "one intent of three is unknown, and in another hour twenty of twenty",
        [*alive(100), *intents("200+0x50 0+0x50", "100+0x50 20+0x50", "1h"), *intents("9+0x100", "9+0x100", "5m")],
        {"20m": {}, "80m": {}},
    ),
    Story(
        "a large shop is silent on its first day, and goes on",
        [
            *alive(100),
            series("upsell_journey_up", "1+0x100", **JOURNEY),
            *sales({"1h": "200+0x30 0+0x30 20+0x40", "24h": "4500+0x100"}, {}),
        ],
        {"30m": {}, "38m": {"UpsellNoOpportunities": 1}, "60m": {"UpsellNoOpportunities": 1}, "75m": {}},
    ),
    Story(
        "a quiet hour of a shop with 100 an hour",
        [*alive(100), *sales({"1h": "100+0x30 0+0x70", "24h": "2400+0x100"}, {})],
        {"30m": {}, "60m": {}, "99m": {}},
    ),
    Story(
        "a shop with 100 an hour is silent for seven hours",
        [*alive(50), *sales({"1h": "100+0x10 0+0x40", "24h": "2400+0x50"}, {})],
        {"600m": {}, "720m": {"UpsellNoOpportunities": 1}},
        interval="30m",
    ),
    Story(
        "nothing has ever arrived",
        [*alive(50), series("upsell_journey_up", "1+0x50", **JOURNEY)],
        {"330m": {}, "390m": {"UpsellNoOpportunities": 1}, "1500m": {"UpsellNoOpportunities": 1}},
        interval="30m",
    ),
    Story(
        "a small shop pauses for a weekend, and then for good",
        [
            *alive(400),
            series("upsell_journey_up", "1+0x400", **JOURNEY),
            *sales({"1h": "0+0x400", "24h": "30+0x47 0+0x76 30+0x47 0+0x200"}, {}),
        ],
        {"2880m": {}, "3720m": {}, "8040m": {}, "8160m": {"UpsellNoOpportunities": 1}},
        interval="30m",
    ),
]

SHARD = {"topic": "checkout-events", "partition": "3"}


def pipeline(name: str, inputs: list[Series], firing: dict[str, dict[str, int]]) -> Story:
    return Story(name, [*alive(120), *inputs], firing)


PIPELINE_STORIES = [
    pipeline(
        "a shard stalls with lag, and goes on",
        [
            series("upsell_consumer_lag_records", "0+0x10 50+0x50 0+0x60", **SHARD),
            series("upsell_oldest_unapplied_seconds", "0+0x10 0+60x50 0+0x60", **SHARD),
            series("upsell_events_total", "0+60x120", topic="t", type="x", result="applied"),
        ],
        {"14m": {}, "25m": {"UpsellPipelineStalled": 1}, "60m": {"UpsellPipelineStalled": 1}, "63m": {}},
    ),
    pipeline(
        "events are old when they are sent, and are applied at once",
        [
            series("upsell_consumer_lag_records", "50+0x120", **SHARD),
            series("upsell_oldest_unapplied_seconds", "1+0x120", **SHARD),
            series("upsell_newest_event_timestamp_seconds", "0+0x120", **SHARD),
            series("upsell_events_total", "0+600x120", topic="t", type="x", result="applied"),
        ],
        {"25m": {}, "60m": {}},
    ),
    pipeline(
        "figures are late by two minutes, for which no alert has a cause",
        [
            series("upsell_journey_up", "1+0x10 0+0x30 1+0x80", journey="checkout"),
            series("upsell_journey_up", "1+0x10 0+0x5 1+0x105", journey="subscription"),
            series("upsell_oldest_unapplied_seconds", "0+0x10 120+0x30 0+0x80", **SHARD),
        ],
        {"20m": {}, "22m": {"UpsellFiguresNotLive": 1}, "40m": {"UpsellFiguresNotLive": 1}, "43m": {}},
    ),
    pipeline(
        "a quiet night: no event, no lag",
        [
            series("upsell_consumer_lag_records", "0+0x120", **SHARD),
            series("upsell_newest_event_timestamp_seconds", "0+0x120", **SHARD),
            series("upsell_oldest_unapplied_seconds", "0+0x120", **SHARD),
            series("upsell_journey_up", "1+0x120", journey="checkout"),
            series("upsell_input_topic_up", "1+0x120", topic="checkout-events"),
            series("upsell_redis_memory_bytes", "70+0x120", kind="used"),
            series("upsell_redis_memory_bytes", "100+0x120", kind="limit"),
            series("upsell_records_without_key_total", "0+0x50 1+0x70", topic="t"),
            series("upsell_events_total", "1000+0x120", topic="t", type="x", result="applied"),
            series("upsell_commits_total", "1000+0x120"),
            series("upsell_dead_letters_total", "1+0x50 2+0x70", reason="invalid"),
        ],
        {"10m": {}, "60m": {}, "119m": {}},
    ),
    pipeline(
        "a shard that never applied anything",
        [series("upsell_oldest_unapplied_seconds", "0+60x120", **SHARD)],
        {"5m": {}, "9m": {"UpsellPipelineStalled": 1}},
    ),
    pipeline(
        "no worker owns a shard",
        [series("upsell_shard_age_seconds", "2+0x10 60+60x20 2+0x80", **SHARD)],
        {"10m": {}, "15m": {"UpsellShardUnowned": 1}, "31m": {"UpsellShardUnowned": 1}, "33m": {}},
    ),
    pipeline(
        "a rebalance",
        [
            series("upsell_shard_age_seconds", "2+0x10 30 2+0x100", **SHARD),
            series("upsell_consumer_lag_records", "0+0x10 900 300 0+0x100", **SHARD),
            series("upsell_fenced_total", "0+0x10 2+0x100"),
            series("upsell_commit_failures_total", "0+0x10 3+0x100", reason="connection"),
        ],
        {f"{minute}m": {} for minute in range(9, 40, 2)},
    ),
    pipeline(
        "shards halt for two reasons",
        [
            series("upsell_shard_halted", "0+0x10 1+0x20 0+0x80", **SHARD),
            series("upsell_shard_halt_info", "_x10 1+0x20 stale", **SHARD, reason="records_deleted"),
            series("upsell_shard_halt_info", "_x10 1+0x20 stale", topic="t", partition="0", reason="other_application"),
            # Every worker tells it.
            series("upsell_shard_halt_info", "_x10 1+0x20 stale", **SHARD, reason="records_deleted", instance="w2"),
        ],
        {"10m": {}, "13m": {"UpsellShardHalted": 2}, "30m": {"UpsellShardHalted": 2}, "33m": {}},
    ),
    pipeline(
        "a topic grows by two partitions, which are accepted",
        [
            series("upsell_shard_halt_info", "_x10 1+0x20 stale", topic="t", partition=p, reason="partitions_grown")
            for p in ("4", "5")
        ],
        {"10m": {}, "13m": {"UpsellPartitionsGrown": 1}, "30m": {"UpsellPartitionsGrown": 1}, "33m": {}},
    ),
    pipeline(
        "one topic may not be read; of the other, one worker alone has a wrong user",
        [
            series("upsell_input_topic_up", "1+0x10 0+0x20 1+0x90", topic="a"),
            series("upsell_input_topic_up", "1+0x10 0+0x20 1+0x90", topic="a", instance="w2"),
            series("upsell_input_topic_up", "1+0x10 0+0x20 1+0x90", topic="b"),
            series("upsell_input_topic_up", "1+0x120", topic="b", instance="w2"),
        ],
        {"10m": {}, "12m": {"UpsellInputTopicDown": 1}, "30m": {"UpsellInputTopicDown": 1}, "33m": {}},
    ),
    Story(
        "no figures are exposed",
        [
            series("upsell_build_info", "1+0x120", version="1", python="3", faust="0"),
            series("up", "1+0x120"),
            series("upsell_shard_age_seconds", "2+0x10 _x20 2+0x80", **SHARD),
        ],
        {"11m": {}, "19m": {"UpsellMetricsAbsent": 1}, "30m": {"UpsellMetricsAbsent": 1}, "33m": {}},
    ),
    Story("nothing is scraped at all", [], {"4m": {}, "6m": {"UpsellMetricsAbsent": 1}}, alone=True),
    Story(
        "one scrape fails",
        [
            series("upsell_build_info", "1+0x9 _ 1+0x50", version="1", python="3", faust="0"),
            series("upsell_shard_age_seconds", "2+0x9 _ 2+0x50", **SHARD),
            series("upsell_shard_halted", "0+0x9 _ 0+0x50", **SHARD),
            series("upsell_journey_up", "1+0x9 _ 1+0x50", **JOURNEY),
            series("up", "1+0x9 0 1+0x50"),
        ],
        {f"{minute}m": {} for minute in range(8, 30, 2)},
    ),
    pipeline(
        "one of two workers stops",
        [
            series("upsell_build_info", "1+0x10 _x40 1+0x60", instance="w2", version="1", python="3", faust="0"),
            series("up", "1+0x10 0+0x39 1+0x60", instance="w2"),
            series("up", "0+0x120", job="another", instance="db"),
        ],
        {"10m": {}, "17m": {"UpsellWorkerDown": 1}, "49m": {"UpsellWorkerDown": 1}, "52m": {}},
    ),
    pipeline(
        "a worker is not ready",
        [
            series("upsell_ready", "1+0x10 0+0x20 1+0x80", instance="w2"),
            series("up", "1+0x120", instance="w2"),
        ],
        {"12m": {}, "17m": {"UpsellWorkerUnready": 1}, "30m": {"UpsellWorkerUnready": 1}, "33m": {}},
    ),
    pipeline(
        "Kafka does not answer: the lag stays, windows move, an idle worker is ready",
        [
            series("upsell_ready", "1+0x10 0+0x30 1+0x79", instance="w2"),
            series("up", "1+0x120", instance="w2"),
            series("upsell_consumer_lag_records", "0+0x120", **SHARD, instance="w2"),
            series("upsell_newest_event_timestamp_seconds", "0+60x10 600+0x30 2460+60x80", **SHARD),
            series("upsell_events_total", "0+60x10 600+0x30 660+60x80", topic="t", type="x", result="applied"),
        ],
        {
            "17m": {"UpsellWorkerUnready": 1},
            "19m": {"UpsellWorkerUnready": 1, "UpsellNoWorkerReady": 1},
            "41m": {"UpsellWorkerUnready": 1, "UpsellNoWorkerReady": 1},
            "43m": {},
        },
    ),
    pipeline(
        "a worker without a connection to Kafka still exposes shards that others own by now",
        [
            series("upsell_ready", "1+0x10 0+0x30 1+0x79", instance="w2"),
            series("up", "1+0x120", instance="w2"),
            series("upsell_consumer_lag_records", "7+0x40 _x80", **SHARD, instance="w2"),
            series("upsell_consumer_lag_records", "_x10 0+0x110", **SHARD),
            series("upsell_newest_event_timestamp_seconds", "0+60x120", **SHARD),
        ],
        {"19m": {"UpsellWorkerUnready": 1}, "40m": {"UpsellWorkerUnready": 1}, "43m": {}},
    ),
    Story(
        "workers start while Kafka does not answer",
        [
            *(line for line in alive(60) if line.metric != "upsell_ready"),
            series("upsell_build_info", "1+0x60", version="1", python="3", faust="0", instance="w2"),
            series("upsell_ready", "0+0x60"),
            series("upsell_ready", "0+0x60", instance="w2"),
            series("up", "1+0x60", instance="w2"),
        ],
        {"6m": {"UpsellWorkerUnready": 2}, "8m": {"UpsellWorkerUnready": 2, "UpsellNoWorkerReady": 1}},
        alone=True,
        alert={
            "eval_time": "10m",
            "alertname": "UpsellNoWorkerReady",
            "exp_alerts": [
                {
                    "exp_labels": {
                        "env": "workers-start-while-Kafka-does-not-answer",
                        "job": "upsell-stream",
                        "severity": "critical",
                        "team": "platform",
                        "scope": "pipeline",
                        "inhibits": "kpi",
                    },
                    "exp_annotations": {
                        "summary": "No worker is ready",
                        "description": "Events are not read or not applied, even if windows still move. Most likely Kafka does not answer: "
                        "the workers' /readyz gives the reason.",
                        "runbook_url": f"{Links().runbooks}/UpsellNoWorkerReady.md",
                        "dashboard_url": f"{Links().grafana}/d/upsell-pipeline?var-env=workers-start-while-Kafka-does-not-answer",
                    },
                }
            ],
        },
    ),
    pipeline(
        "a rolling update: each shard is without a ready worker for a while",
        [
            series("upsell_ready", "1+0x10 0 0 0 1 1 0 0 0 1 0 0 0 1 1+0x100", instance="w2"),
            series("up", "1+0x120", instance="w2"),
            series("upsell_consumer_lag_records", "0+0x120", **SHARD, instance="w2"),
        ],
        {f"{minute}m": {} for minute in range(9, 40, 3)},
    ),
    pipeline(
        "the lag grows faster than the workers",
        [
            series("upsell_events_total", "0+600x120", topic="t", type="x", result="applied"),
            series("upsell_consumer_lag_records", "0+0x10 0+1000x40 0+0x60", **SHARD),
            series("upsell_newest_event_timestamp_seconds", "0+60x120", **SHARD),
        ],
        {"12m": {}, "30m": {"UpsellLagGrowing": 1}, "53m": {}},
    ),
    pipeline(
        "a busy shop's lag comes and goes",
        [
            series("upsell_events_total", "0+60000x120", topic="t", type="x", result="applied"),
            series("upsell_consumer_lag_records", "0 900 2500 100 " * 25, **SHARD),
            series("upsell_newest_event_timestamp_seconds", "0+60x120", **SHARD),
        ],
        {f"{minute}m": {} for minute in range(10, 90, 11)},
    ),
    Story(
        "Redis is full, then does not answer, then works again",
        [
            *alive(120, "2+0x10 60+60x20 2+0x19 60+60x20 2+0x50"),
            series("upsell_commit_failures_total", "0+0x10 0+30x20 600+0x80", reason="full"),
            series("upsell_commit_failures_total", "0+0x50 0+30x20 600+0x40", reason="connection"),
        ],
        {
            "10m": {},
            "14m": {"UpsellRedisFull": 1, "UpsellShardUnowned": 1},
            "31m": {"UpsellRedisFull": 1, "UpsellShardUnowned": 1},
            "33m": {},
            "54m": {},
            "60m": {"UpsellCommitsFailing": 1, "UpsellShardUnowned": 1},
            "74m": {},
        },
    ),
    pipeline(
        "every tenth commit fails, and succeeds when it is repeated",
        [series("upsell_commit_failures_total", "0+3x120", reason="timeout")],
        {f"{minute}m": {} for minute in range(2, 40, 5)},
    ),
    pipeline(
        "Redis has used 80 % of its memory, and then has more",
        [
            series("upsell_redis_memory_bytes", "81+0x120", kind="used"),
            series("upsell_redis_memory_bytes", "100+0x50 200+0x70", kind="limit"),
        ],
        {"3m": {}, "7m": {"UpsellRedisMemoryHigh": 1}, "50m": {"UpsellRedisMemoryHigh": 1}, "52m": {}},
    ),
    pipeline(
        "Redis has no limit, or a user that may not ask for it",
        [series("upsell_redis_memory_bytes", "70+10x120", kind="used")],
        {"60m": {}, "119m": {}},
    ),
    Story(
        "Redis fills up, slowly and then fast",
        [
            *alive(140),
            # Units are hundredths of a percent: by 0.4 % an hour, then 2.4 %, then 12 %; then Redis has ten times the memory.
            series("upsell_redis_memory_bytes", "5200+3x40 5340+20x60 6560+100x20 8560+0x10", kind="used"),
            series("upsell_redis_memory_bytes", "10000+0x122 100000+0x10", kind="limit"),
        ],
        {
            "195m": {},
            "480m": {"UpsellRedisFillingUp": 1},
            "575m": {"UpsellRedisFillingUp": 2},
            "610m": {"UpsellRedisFillingUp": 2, "UpsellRedisMemoryHigh": 1},
            "615m": {},
        },
        interval="5m",
    ),
    pipeline(
        "Redis fills up while it is nearly empty",
        [
            series("upsell_redis_memory_bytes", "1+0.3x120", kind="used"),
            series("upsell_redis_memory_bytes", "100+0x120", kind="limit"),
        ],
        {"60m": {}, "119m": {}},
    ),
    pipeline(
        "dead letters: many of few records, few of many",
        [
            series("upsell_events_total", "0+10x120", topic="t", type="other", result="rejected"),
            series("upsell_dead_letters_total", "0+0x20 0+2x10 20+0x89", reason="not_json"),
            series("upsell_dead_letters_total", "0+0x20 1+0x99", reason="future"),
        ],
        {"20m": {}, "35m": {"UpsellDeadLetters": 1}, "55m": {"UpsellDeadLetters": 1}, "62m": {}},
    ),
    pipeline(
        "a rare type is refused: 40 an hour of 60,000 records",
        [
            series("upsell_events_total", "0+1000x120", topic="t", type="x", result="applied"),
            series("upsell_events_total", "_x9 1+0.7x90 65+0x20", topic="t", type="refunded", result="rejected"),
            series("upsell_events_total", "_x105 1+0x15", topic="t", type="refunded", result="applied"),
            series("upsell_dead_letters_total", "_x9 1+0.7x90 65+0x20", reason="invalid"),
        ],
        {"12m": {}, "30m": {"UpsellTypeRefused": 1}, "98m": {"UpsellTypeRefused": 2}, "119m": {"UpsellTypeRefused": 1}},
    ),
    pipeline(
        "a handful of a frequent type is refused",
        [
            series("upsell_events_total", "0+100x120", topic="t", type="x", result="applied"),
            series("upsell_events_total", "_x9 1+1x90 91+0x20", topic="t", type="x", result="rejected"),
        ],
        {"12m": {}, "40m": {}, "98m": {}},
    ),
    Story(
        "all of six events of a type in a day are refused, and then one is accepted",
        [
            *alive(60),
            series("upsell_events_total", "0+1000x60", topic="t", type="x", result="applied"),
            series(
                "upsell_events_total",
                "_x5 1+0x5 2+0x5 3+0x5 4+0x5 5+0x5 6+0x30",
                topic="t",
                type="y",
                result="rejected",
            ),
            series("upsell_events_total", "_x45 1+0x15", topic="t", type="y", result="unmatched"),
        ],
        {"510m": {}, "930m": {"UpsellTypeRefused": 1}, "1320m": {"UpsellTypeRefused": 1}, "1380m": {}},
        interval="30m",
    ),
    pipeline(
        "records without a key: some among few, few among many",
        [
            series("upsell_events_total", "0+10x120", topic="a", type="x", result="applied"),
            series("upsell_records_without_key_total", "0+0x20 0+10x30 300+0x70", topic="a"),
            series("upsell_events_total", "0+1000x120", topic="b", type="x", result="applied"),
            series("upsell_records_without_key_total", "0+0x20 0+1x100", topic="b"),
        ],
        {"20m": {}, "24m": {"UpsellRecordsWithoutKey": 1}, "50m": {"UpsellRecordsWithoutKey": 1}, "57m": {}},
    ),
    pipeline(
        "workers take shards from each other",
        [series("upsell_fenced_total", "0+0x20 0+1x10 10+0x89")],
        {"22m": {}, "26m": {"UpsellFenced": 1}, "30m": {"UpsellFenced": 1}, "33m": {}},
    ),
    pipeline(
        "more segments than the limit",
        [series("upsell_label_overflow_total", "0+0x5 0+1x10 10+0x104", label="segment")],
        {"6m": {}, "9m": {"UpsellLabelOverflow": 1}, "45m": {"UpsellLabelOverflow": 1}, "50m": {}},
    ),
    pipeline(
        "a worker's first dead letters are a burst",
        [
            series("upsell_events_total", "_x20 1000+0x99", topic="t", type="other", result="rejected"),
            series("upsell_dead_letters_total", "_x20 1000+0x99", reason="not_json"),
        ],
        {"19m": {}, "22m": {"UpsellDeadLetters": 1}, "27m": {}},
    ),
    pipeline(
        "few dead letters among a worker's first records",
        [
            series("upsell_events_total", "_x20 9000+0x99", topic="t", type="x", result="applied"),
            series("upsell_dead_letters_total", "_x20 60+0x99", reason="not_json"),
        ],
        {f"{minute}m": {} for minute in range(19, 110, 7)},
    ),
    Story(
        "values beyond the limit, a burst and a few more, are counted once",
        [*alive(120), series("upsell_label_overflow_total", "_x20 40+1x10 50+0x99", label="segment")],
        {"19m": {}, "22m": {"UpsellLabelOverflow": 1}, "36m": {"UpsellLabelOverflow": 1}, "65m": {}},
        alone=True,
        alert={
            "eval_time": "40m",
            "alertname": "UpsellLabelOverflow",
            "exp_alerts": [
                {
                    "exp_labels": {
                        "env": "values-beyond-the-limit-a-burst-and-a-few-more-are-counted-once",
                        "job": "upsell-stream",
                        "severity": "warning",
                        "team": "platform",
                        "scope": "input",
                        "label": "segment",
                    },
                    "exp_annotations": {
                        "summary": "Too many values of segment",
                        "description": "Within an hour 50 values beyond the limit were counted as `other`.",
                        "runbook_url": f"{Links().runbooks}/UpsellLabelOverflow.md",
                        "dashboard_url": f"{Links().grafana}/d/upsell-pipeline"
                        "?var-env=values-beyond-the-limit-a-burst-and-a-few-more-are-counted-once",
                    },
                }
            ],
        },
    ),
    Story(
        "old counts are not counted again after a failed scrape or half an hour without scrapes",
        [
            *alive(250),
            series(
                "upsell_events_total", "1000+0x99 _ 1000+0x9 _x30 1000+0x110", topic="t", type="x", result="applied"
            ),
            series("upsell_dead_letters_total", "900+0x99 _ 900+0x9 _x30 900+0x110", reason="invalid"),
            series("upsell_label_overflow_total", "900+0x99 _ 900+0x9 _x30 900+0x110", label="segment"),
        ],
        {f"{minute}m": {} for minute in range(100, 250, 3)},
    ),
    Story(
        "a worker restarts and counts from 0: a few, and much later a burst",
        [
            *alive(350),
            series("upsell_events_total", "5000+0x99 _x2 0+10x247", topic="t", type="x", result="applied"),
            series("upsell_dead_letters_total", "900+0x99 _x2 1+0x99 _x100 500+0x47", reason="invalid"),
            series("upsell_label_overflow_total", "900+0x99 _x200 30+0x48", label="segment"),
        ],
        {
            **{f"{minute}m": {} for minute in range(100, 300, 7)},
            "303m": {"UpsellDeadLetters": 1, "UpsellLabelOverflow": 1},
            "320m": {"UpsellLabelOverflow": 1},
        },
    ),
    pipeline(
        "a worker restarts, and its first dead letters are a burst",
        [
            series("upsell_events_total", "5000+0x69 _x2 1000+0x47", topic="t", type="other", result="rejected"),
            series("upsell_dead_letters_total", "5+0x69 _x2 1000+0x47", reason="not_json"),
        ],
        {"71m": {}, "74m": {"UpsellDeadLetters": 1}, "79m": {}},
    ),
]


BAD = 160
"""Samples while a cause lasts, every 15 seconds as workers are scraped: 40 minutes, longer than any alert waits."""
GONE = "stale _"
"""The end of a series, as when a worker is replaced."""


def until_fixed(metric: str, bad: str, fixed: str, **labels: str) -> Series:
    return series(metric, f"{bad}x{BAD} {fixed}x10", **labels)


def fixed(alert: str, *inputs: Series, consequences: tuple[str, ...] = (), instead_of: tuple[str, ...] = ()) -> Story:
    """An alert and its `consequences` fire, and no longer two minutes after the fix. `instead_of`: metrics of the healthy worker to leave out."""
    healthy = [line for line in alive(BAD + 11) if line.metric not in instead_of]
    firing = dict.fromkeys((alert, *consequences), 1)
    name = f"{alert}: {inputs[0].metric} {inputs[0].values.split()[1]}"
    return Story(name, [*healthy, *inputs], {f"{BAD // 4}m": firing, f"{BAD // 4 + 2}m15s": {}}, interval="15s")


W2 = {"instance": "w2"}
AGES = until_fixed("upsell_shard_age_seconds", "61+15", "2+0", topic="t", partition="0")
UNOWNED = {"consequences": ("UpsellShardUnowned",), "instead_of": ("upsell_shard_age_seconds",)}
LIMIT = until_fixed("upsell_redis_memory_bytes", "1000+0", "9000+0", kind="limit")

FIXED = [
    fixed("UpsellFiguresNotLive", until_fixed("upsell_journey_up", "0+0", "1+0", **JOURNEY)),
    fixed("UpsellPipelineStalled", until_fixed("upsell_oldest_unapplied_seconds", "400+15", "0+0", **SHARD)),
    fixed("UpsellPipelineStalled", until_fixed("upsell_oldest_unapplied_seconds", "400+15", GONE, **SHARD)),
    fixed("UpsellShardUnowned", until_fixed("upsell_shard_age_seconds", "61+15", "2+0", **SHARD)),
    fixed("UpsellShardHalted", until_fixed("upsell_shard_halt_info", "1+0", GONE, **SHARD, reason="codec")),
    fixed(
        "UpsellPartitionsGrown", until_fixed("upsell_shard_halt_info", "1+0", GONE, **SHARD, reason="partitions_grown")
    ),
    fixed("UpsellInputTopicDown", until_fixed("upsell_input_topic_up", "0+0", "1+0", topic="t")),
    fixed("UpsellInputTopicDown", until_fixed("upsell_input_topic_up", "0+0", GONE, topic="t")),
    fixed(
        "UpsellMetricsAbsent",
        until_fixed("upsell_shard_age_seconds", "_ _", "2+0", topic="t", partition="0"),
        instead_of=("upsell_shard_age_seconds",),
    ),
    fixed(
        "UpsellLagGrowing",
        until_fixed("upsell_consumer_lag_records", "0+100", "16000-1000", **SHARD),
        series("upsell_events_total", f"0+10x{BAD + 11}", topic="t", type="x", result="applied"),
    ),
    fixed(
        "UpsellRedisFull", until_fixed("upsell_commit_failures_total", "0+7", "1120+0", reason="full"), AGES, **UNOWNED
    ),
    fixed(
        "UpsellCommitsFailing",
        until_fixed("upsell_commit_failures_total", "0+1", "160+0", reason="refused"),
        AGES,
        **UNOWNED,
    ),
    fixed(
        "UpsellNoWorkerReady",
        until_fixed("upsell_ready", "0+0", "1+0"),
        consequences=("UpsellWorkerUnready",),
        instead_of=("upsell_ready",),
    ),
    fixed(
        "UpsellWorkerDown",
        until_fixed("up", "0+0", "1+0", **W2),
        series("upsell_build_info", f"1+0x{BAD + 11}", version="1", python="3", faust="0", **W2),
    ),
    fixed(
        "UpsellWorkerUnready",
        until_fixed("upsell_ready", "0+0", "1+0", **W2),
        series("up", f"1+0x{BAD + 11}", **W2),
    ),
    fixed("UpsellFenced", until_fixed("upsell_fenced_total", "0+1", "160+0")),
    fixed("UpsellRedisMemoryHigh", until_fixed("upsell_redis_memory_bytes", "850+0", "850+0", kind="used"), LIMIT),
    fixed("UpsellRedisFillingUp", until_fixed("upsell_redis_memory_bytes", "510+0.1", "526+0.1", kind="used"), LIMIT),
]


STORIES = [*KPI_STORIES, REVENUE_STORY, *WEEK_STORIES, *FIRST_DAY_STORIES, *PIPELINE_STORIES, *FIXED]
FIRED = {alert for story in STORIES for expected in story.firing.values() for alert in expected}


def test_every_alert_has_a_story():
    assert FIRED | {"UpsellWatchdog"} == {alert.name for alert in rules.ALERTS}


def test_every_alert_on_the_pipeline_ends_two_minutes_after_the_fix():
    ended = {alert for story in FIXED for alert in next(iter(story.firing.values()))}
    assert ended == {alert.name for alert in rules.ALERTS if alert.scope == "pipeline"} - {"UpsellWatchdog"}
    assert not [alert.name for alert in rules.ALERTS if alert.scope == "pipeline" and alert.keep]


@pytest.mark.prometheus
def test_alerts_fire_when_they_should_and_only_then(tmp_path):
    promtool = program_or_skip("promtool", "prometheus")
    files = []
    for interval in sorted({story.interval for story in STORIES}):
        files.append(tmp_path / f"stories-{interval}.yaml")
        files[-1].write_text(  # JSON is YAML
            json.dumps(
                {
                    "rule_files": [str(path) for path in sorted(rules.COMMITTED.glob("*.yaml"))],
                    "evaluation_interval": interval,
                    "group_eval_order": [
                        "upsell-kpis",
                        "upsell-pipeline",
                        "upsell-input",
                        "upsell-kpi-alerts",
                        "upsell-pipeline-alerts",
                    ],
                    "tests": as_tests(story for story in STORIES if story.interval == interval),
                }
            )
        )
    run = subprocess.run([promtool, "test", "rules", *files], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
