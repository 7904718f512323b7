"""The whole chain: a shop, Kafka, two workers, Redis, and a Prometheus with our rules, in which every hour lasts two minutes.

The shop's event times are the clock's, so that the rolling windows hold what has just happened.
"""

import asyncio
import dataclasses
import json
import re
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from support.commands import output
from support.prometheus_server import PrometheusServer
from support.servers import started
from support.workers import LIMIT, group

from deploy.generate import rules
from deploy.generate.rule import DAY, HOUR, MINUTE, Places, Times
from stream.cli.records import Sender
from stream.settings import Target
from stream.simulate.behaviour import Shift
from stream.simulate.shop import Shop, ShopSettings

TIMES = Times(1 / 30)
HELD = round(300 * TIMES.scale)
"""Seconds that a rate must be low before somebody is paged."""
WINDOWS = tuple(TIMES.window(seconds) for seconds in (5 * MINUTE, HOUR, DAY))
DAY_LONG = WINDOWS[-1]
"""The window that holds the whole test."""
SHOP = ShopSettings(seed=7, rate=100, pace=20, daily_rhythm=0)
BEFORE = timedelta(seconds=30)
"""How long the shop has been open when the test begins."""
SEGMENT = "business"
UNMOVED = dataclasses.replace(
    SHOP.behaviour, upgrade=0, substitute=0, replace=0, more=0, add=0, second_variant=0, edit=0
)
"""Of customers who buy what they came for."""
CONVINCED = dataclasses.replace(SHOP.behaviour, upgrade=0.3, add=0.6)
"""Of customers who make up for it. The day is hardly longer than the drop here, so a rate just as before would leave it low."""
KPI = "upsell_cross_sell_rate"
# A quarter of all checkouts sell more. Without those of one segment it is a fifth, so overall there is no reason to page.
TARGETS = [Target(kpi=KPI, journey="checkout", segment=segment, ratio=0.2) for segment in SHOP.segments]
TARGETS.append(Target(kpi=KPI, journey="checkout", ratio=0.16))

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.prometheus, pytest.mark.timeout(900)]


@asynccontextmanager
async def trading(shop, settings):
    """Send the shop's records, each at its time, while the block runs; afterwards `shop.truth` is the truth about those sent."""
    closing = asyncio.Event()

    async def trade():
        async with Sender(settings) as sender:
            for record in shop.events():
                await asyncio.sleep(max(0, record.arrival.timestamp() - time.time()))
                await sender.send(record)
                if closing.is_set():
                    return

    task = asyncio.create_task(trade())
    try:
        yield
    finally:
        closing.set()
        await task


def behave(shop, behaviour):
    """From now on the segment's sessions begin like this."""
    shop._world.shifts += (Shift(0, behaviour, SEGMENT),)


def prometheus(directory, workers):
    """One that scrapes the workers and applies the rules."""
    for name, text in rules.files(TIMES, Places()).items():
        (directory / name).write_text(text)
    targets = [urlsplit(worker.url).netloc for worker in workers]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{directory}/*.yaml"],
        "scrape_configs": [
            {"job_name": "upsell-stream", "static_configs": [{"targets": targets, "labels": {"env": "test"}}]}
        ],
    }
    return PrometheusServer(config=json.dumps(config))


class Watch:
    """What Prometheus says, while the workers are well."""

    def __init__(self, server, workers):
        self._server = server
        self._workers = workers

    async def now(self, expr, *labels):
        """The labels' values of every series in the result, and its value."""
        found = await asyncio.to_thread(self._server.query, expr, time.time())
        return {
            tuple(series["metric"].get(label, "") for label in labels): float(series["value"][1]) for series in found
        }

    async def until(self, expr, *labels, want):
        """Wait until these are the labels' values of all series in the result."""
        found = None
        try:
            async with asyncio.timeout(LIMIT):
                while found != want:
                    self._workers.check()
                    found = set(await self.now(expr, *labels))
                    await asyncio.sleep(0.2)
        except TimeoutError:
            assert found == want


async def until_counted(workers, truth):
    """Wait until `rates --json` tells the truth about everything ever sold; returns the whole document."""
    document, counted = {}, None
    try:
        async with asyncio.timeout(LIMIT):
            while counted != truth:
                workers.check()
                document = json.loads(await output("rates", "--json", settings=workers.settings))
                counted = {journey: counts(document["windows"]["total"][journey]) for journey in truth}
    except TimeoutError:
        assert counted == truth
    return document


def counts(figures):
    """Those that `total` has, too: it knows no customers."""
    return {name: figures[name] for name in ("opportunities", "transactions", "kind_transactions", "revenue")}


async def shown(worker):
    """The KPIs that a worker exposes, of the longest window, by journey."""
    kpis = {"checkout": {}, "subscription": {}}
    for labels, value in re.findall(r"^upsell_kpi_ratio\{(.*)\} (.*)$", await worker.get("/metrics"), re.MULTILINE):
        of = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if of["dimension"] == "all" and of["window"] == DAY_LONG:
            kpis[of["journey"]][of["kpi"]] = round(float(value), 6)
    return kpis


async def test_a_segment_that_buys_no_more_than_intended_is_an_alert_until_it_does_again(
    kafka, redis_server, name_prefix, tmp_path
):
    servers = kafka.bootstrap_servers, redis_server.url
    ours = 'ALERTS{scope!="pipeline", alertstate="firing"}'
    low = {("UpsellRateBelowTarget", KPI, "checkout", SEGMENT)}
    identity = ("alertname", "kpi", "journey", "segment")
    bounds = (
        f'upsell:kpi_upper_bound:ratio{{kpi="{KPI}", journey="checkout", window="{WINDOWS[1]}", segment!="unknown"}}'
    )
    trials = f'upsell:kpi_trials:sum{{kpi="{KPI}", journey="checkout", segment="all", window="{DAY_LONG}"}}'
    with group(*servers, name_prefix, tmp_path, windows=WINDOWS, targets=TARGETS) as workers:
        await workers.create_topics(4, 4)
        survivor, victim = workers.start(), workers.start()
        await workers.until_shared(lambda shares: shares == [4, 4])
        with started(prometheus(tmp_path, workers.workers)) as server:
            watch = Watch(server, workers)
            shop = Shop(SHOP, datetime.now(UTC) - BEFORE)
            async with trading(shop, workers.settings):
                judged = {(target.segment,) for target in TARGETS}
                await watch.until(f"count_over_time({bounds}[1m]) > {HELD}", "segment", want=judged)
                assert await watch.now(ours, *identity) == {}

                behave(shop, UNMOVED)
                victim.kill()
                await workers.until_shared(lambda shares: shares == [8])
                await watch.until(ours, *identity, want=low)
                down = {("UpsellWorkerDown", urlsplit(victim.url).netloc)}
                await watch.until(
                    'ALERTS{alertname="UpsellWorkerDown", alertstate="firing"}', "alertname", "instance", want=down
                )

                behave(shop, CONVINCED)
                await watch.until(ours, *identity, want=set())
            # Nothing else was about to fire at any time, and no worker's death made anything uncounted.
            assert set(await watch.now('count_over_time(ALERTS{scope!="pipeline"}[10m])', *identity)) == low
            assert await watch.now(f"resets({trials}[10m])", "kpi") == {(KPI,): 0}

        truth = {journey: counts(shop.truth.summary()[journey]) for journey in ("checkout", "subscription")}
        document = await until_counted(workers, truth)
        figures = document["windows"][DAY_LONG]
        expected = {
            journey: {kpi: rate for kpi, rate in figures[journey]["rates"].items() if rate is not None}
            for journey in truth
        }
        async with asyncio.timeout(LIMIT):
            while (kpis := await shown(survivor)) != expected:  # noqa: ASYNC110 - a page has no event
                await asyncio.sleep(0.2)
        assert KPI in kpis["checkout"]
        assert await survivor.stop() == 0
