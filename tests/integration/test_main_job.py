"""The main job: real baskets and a simulated shop through real Kafka, two workers and real Redis, by the commands that users run.

`UPSELL_BASKETS` sets how many baskets: the whole year is 155,518.
"""

import asyncio
import json
import os
import re
import shutil
import sys

import pytest
from oracle import oracle
from support.workers import LIMIT, environment, group

BASKETS = int(os.environ.get("UPSELL_BASKETS", "3000"))

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(3600)]


async def run(*arguments, settings=None):
    """What `upsell-stream` prints."""
    variables = {} if settings is None else environment(settings)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "stream",
        *map(str, arguments),
        env={"PATH": os.environ["PATH"]} | variables,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output


def without_customers(summary):
    """`total` counts no customers."""
    if not isinstance(summary, dict):
        return summary
    return {
        name: without_customers(value)
        for name, value in summary.items()
        if name != "customers" and not name.startswith("customer_")
    }


async def until_equal(workers, expected):
    """Wait until `rates --json` tells the expected `total`; returns the whole document."""
    limit = max(LIMIT, BASKETS / 100)
    document, total = {}, {}
    try:
        async with asyncio.timeout(limit):
            while total != expected:
                workers.check()
                document = json.loads(await run("rates", "--json", settings=workers.settings))
                total = {name: document["windows"]["total"].get(name) for name in ("all", "checkout", "subscription")}
                await asyncio.sleep(1)
    except TimeoutError:
        assert total == expected
    return document


async def check_metrics(workers, document):
    """Every worker shows the same whole, as `rates` tells it, in a form that Prometheus' own tool accepts."""
    counted = document["windows"]["30d"]["checkout"]["transactions"]
    for worker in workers.workers:
        shown = None
        async with asyncio.timeout(LIMIT):
            while shown != counted:
                metrics = await worker.get("/metrics")
                samples = re.findall(r"^upsell_window_transactions\{(.*)\} (.*)$", metrics, re.MULTILINE)
                shown = sum(
                    float(value)
                    for labels, value in samples
                    if 'window="30d"' in labels and 'journey="checkout"' in labels
                )
                await asyncio.sleep(0.2)
        tool = await asyncio.create_subprocess_exec(
            "promtool", "check", "metrics", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await tool.communicate(metrics.encode())
        assert (tool.returncode, said) == (0, b"")


@pytest.mark.datasets
async def test_real_baskets(kafka, redis_server, name_prefix, tmp_path):
    file = tmp_path / "baskets.jsonl"
    asked = ["replay", "completejourney", "--baskets", BASKETS, "--end-now"]
    await run(*asked, "--to-file", file)
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path, kafka_session_timeout=20) as workers:
        await workers.create_topics(4, 4)
        workers.start()
        workers.start()
        await workers.until_shared(lambda shares: shares == [4, 4])
        _, summary = await asyncio.gather(
            run(*asked, settings=workers.settings), run("classify", "--summary", "--json", file)
        )
        summary = json.loads(summary)
        expected = {name: without_customers(summary[name]) for name in ("all", "checkout", "subscription")}
        document = await until_equal(workers, expected)
        for worker in workers.workers:
            assert await worker.stop() == 0
    assert summary["checkout"]["transactions"] == BASKETS
    assert 0.3 < summary["checkout"]["rates"]["cross_sell_rate"] < 0.5
    # The end of the year is now, so the last 30 days fill the window, by segment and department.
    month = document["windows"]["30d"]
    assert len(month["segment"]) > 3
    assert len(month["category"]) > 3
    if BASKETS <= 5000:
        lines = file.read_bytes().splitlines()
        theirs = oracle.compute(lines)
        assert {name: theirs[name] for name in ("all", "checkout")} == {
            name: summary[name] for name in ("all", "checkout")
        }


@pytest.mark.prometheus
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing: apt-get install prometheus")
async def test_a_simulated_shop_with_duplicates_disorder_and_poison(kafka, redis_server, name_prefix, tmp_path):
    knobs = ["--events", 6000, "--seed", 11, "--rate", 0, "--duplicates", 0.05, "--poison", 0.01, "--disorder", 600]
    truth = tmp_path / "truth.json"
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        await workers.create_topics(4, 3)
        workers.start()
        workers.start()
        await run("simulate", *knobs, "--truth", truth, settings=workers.settings)
        planted = json.loads(truth.read_bytes())
        expected = {name: without_customers(planted[name]) for name in ("all", "checkout", "subscription")}
        document = await until_equal(workers, expected)
        await check_metrics(workers, document)
        for worker in workers.workers:
            assert await worker.stop() == 0
