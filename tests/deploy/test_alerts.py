"""When the alerts fire: promtool runs the committed rules with made-up series.

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


def alive(length: int) -> list[Series]:
    return [
        series("upsell_build_info", f"1+0x{length}", version="1", python="3", faust="0"),
        series("upsell_shard_age_seconds", f"2+0x{length}", topic="t", partition="0"),
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
        return self.name.replace(" ", "-").translate({ord(mark): None for mark in ",:;"})

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

SHARD = {"topic": "checkout-events", "partition": "3"}


def pipeline(name: str, inputs: list[Series], firing: dict[str, dict[str, int]]) -> Story:
    return Story(name, [*alive(120), *inputs], firing)


PIPELINE_STORIES = [
    pipeline(
        "a shard stalls with lag, and goes on",
        [
            series("upsell_consumer_lag_records", "0+0x10 50+0x50 0+0x60", **SHARD),
            series("upsell_newest_event_timestamp_seconds", "0+60x10 600+0x50 3660+60x60", **SHARD),
            series("upsell_events_total", "0+60x120", topic="t", type="x", result="applied"),
        ],
        {"14m": {}, "25m": {"UpsellPipelineStalled": 1}, "60m": {"UpsellPipelineStalled": 1}, "80m": {}},
    ),
    pipeline(
        "a quiet night: no event, no lag",
        [
            series("upsell_consumer_lag_records", "0+0x120", **SHARD),
            series("upsell_newest_event_timestamp_seconds", "0+0x120", **SHARD),
            series("upsell_events_total", "1000+0x120", topic="t", type="x", result="applied"),
            series("upsell_commits_total", "1000+0x120"),
            series("upsell_dead_letters_total", "1+0x50 2+0x70", reason="invalid"),
        ],
        {"10m": {}, "60m": {}, "119m": {}},
    ),
    pipeline(
        "a shard that never applied anything",
        [series("upsell_consumer_lag_records", "5+0x120", **SHARD)],
        {"4m": {}, "6m": {"UpsellPipelineStalled": 1}},
    ),
    pipeline(
        "no worker owns a shard",
        [series("upsell_shard_age_seconds", "2+0x10 60+60x20 2+0x80", **SHARD)],
        {"10m": {}, "15m": {"UpsellShardUnowned": 1}, "45m": {"UpsellShardUnowned": 1}, "60m": {}},
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
        "a shard halts",
        [series("upsell_shard_halted", "0+0x10 1+0x20 0+0x80", **SHARD)],
        {"10m": {}, "13m": {"UpsellShardHalted": 1}, "31m": {"UpsellShardHalted": 1}, "60m": {}},
    ),
    Story(
        "no figures are exposed",
        [
            series("upsell_build_info", "1+0x120", version="1", python="3", faust="0"),
            series("up", "1+0x120"),
            series("upsell_shard_age_seconds", "2+0x10 _x20 2+0x80", **SHARD),
        ],
        {"11m": {}, "19m": {"UpsellMetricsAbsent": 1}, "40m": {"UpsellMetricsAbsent": 1}, "50m": {}},
    ),
    Story("nothing is scraped at all", [], {"4m": {}, "6m": {"UpsellMetricsAbsent": 1}}, alone=True),
    Story(
        "one scrape fails",
        [
            series("upsell_build_info", "1+0x9 _ 1+0x50", version="1", python="3", faust="0"),
            series("upsell_shard_age_seconds", "2+0x9 _ 2+0x50", **SHARD),
            series("upsell_shard_halted", "0+0x9 _ 0+0x50", **SHARD),
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
        {"10m": {}, "17m": {"UpsellWorkerDown": 1}, "49m": {"UpsellWorkerDown": 1}, "60m": {}},
    ),
    pipeline(
        "a worker is not ready",
        [
            series("upsell_ready", "1+0x10 0+0x20 1+0x80", instance="w2"),
            series("up", "1+0x120", instance="w2"),
        ],
        {"12m": {}, "17m": {"UpsellWorkerUnready": 1}, "45m": {}},
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
            "54m": {"UpsellNoWorkerReady": 1},
            "60m": {},
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
        {"19m": {"UpsellWorkerUnready": 1}, "40m": {"UpsellWorkerUnready": 1}, "60m": {}},
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
        {"12m": {}, "30m": {"UpsellLagGrowing": 1}, "90m": {}},
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
    pipeline(
        "Redis is full, then does not answer, then works again",
        [
            series("upsell_commit_failures_total", "0+0x10 0+30x20 600+0x80", reason="full"),
            series("upsell_commit_failures_total", "0+0x50 0+30x20 600+0x40", reason="connection"),
        ],
        {
            "10m": {},
            "14m": {"UpsellRedisFull": 1},
            "30m": {"UpsellRedisFull": 1},
            "50m": {},
            "54m": {},
            "60m": {"UpsellCommitsFailing": 1},
            "95m": {},
        },
    ),
    pipeline(
        "dead letters: many of few records, few of many",
        [
            series("upsell_events_total", "0+10x120", topic="t", type="other", result="rejected"),
            series("upsell_dead_letters_total", "0+0x20 0+2x10 20+0x89", reason="not_json"),
            series("upsell_dead_letters_total", "0+0x20 1+0x99", reason="future"),
        ],
        {"20m": {}, "40m": {"UpsellDeadLetters": 1}, "119m": {}},
    ),
    pipeline(
        "workers take shards from each other",
        [series("upsell_fenced_total", "0+0x20 0+1x10 10+0x89")],
        {"22m": {}, "31m": {"UpsellFenced": 1}, "115m": {}},
    ),
    pipeline(
        "more segments than the limit",
        [series("upsell_label_overflow_total", "0+0x5 0+1x10 10+0x104", label="segment")],
        {"10m": {}, "25m": {"UpsellLabelOverflow": 1}, "100m": {}},
    ),
    pipeline(
        "a worker's first dead letters are a burst",
        [
            series("upsell_events_total", "_x20 1000+0x99", topic="t", type="other", result="rejected"),
            series("upsell_dead_letters_total", "_x20 1000+0x99", reason="not_json"),
        ],
        {"19m": {}, "26m": {"UpsellDeadLetters": 1}, "79m": {"UpsellDeadLetters": 1}, "95m": {}},
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
        {"34m": {}, "36m": {"UpsellLabelOverflow": 1}, "100m": {}},
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
            "320m": {"UpsellDeadLetters": 1, "UpsellLabelOverflow": 1},
        },
    ),
    pipeline(
        "a worker restarts, and its first dead letters are a burst",
        [
            series("upsell_events_total", "5000+0x69 _x2 1000+0x47", topic="t", type="other", result="rejected"),
            series("upsell_dead_letters_total", "5+0x69 _x2 1000+0x47", reason="not_json"),
        ],
        {"71m": {}, "80m": {"UpsellDeadLetters": 1}},
    ),
]

STORIES = [*KPI_STORIES, REVENUE_STORY, *WEEK_STORIES, *PIPELINE_STORIES]
FIRED = {alert for story in STORIES for expected in story.firing.values() for alert in expected}


def test_every_alert_has_a_story():
    assert FIRED | {"UpsellWatchdog"} == {alert.name for alert in rules.ALERTS}


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
                        "upsell-kpi-alerts",
                        "upsell-pipeline-alerts",
                    ],
                    "tests": as_tests(story for story in STORIES if story.interval == interval),
                }
            )
        )
    run = subprocess.run([promtool, "test", "rules", *files], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
