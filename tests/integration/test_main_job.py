"""The main task of the product: real baskets and a simulated shop, through real Kafka, two workers and real Redis, with the commands of users.

`UPSELL_BASKETS` sets the number of baskets: the whole year has 155,518.
"""

import asyncio
import json
import os
import re

import pytest
from oracle import oracle
from support.commands import output, totals, until_totals
from support.programs import program_or_skip
from support.workers import LIMIT, group

BASKETS = int(os.environ.get("UPSELL_BASKETS", "3000"))
PATIENCE = max(LIMIT, BASKETS / 100)

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(3600)]


async def check_metrics(workers, document):
    """Every worker exposes the figures of all shards, equal to those of `rates`, in a form that `promtool` accepts."""
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
    command = ["replay", "completejourney", "--baskets", BASKETS, "--end-now"]
    await output(*command, "--to-file", file)
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path, kafka_session_timeout=20) as workers:
        await workers.create_topics(4, 4)
        workers.start()
        workers.start()
        await workers.until_shared(lambda shares: shares == [4, 4])
        _, summary = await asyncio.gather(
            output(*command, settings=workers.settings), output("classify", "--summary", "--json", file)
        )
        summary = json.loads(summary)
        document = await until_totals(workers, totals(summary), PATIENCE)
        for worker in workers.workers:
            assert await worker.stop() == 0
    assert summary["checkout"]["transactions"] == BASKETS
    assert 0.3 < summary["checkout"]["rates"]["cross_sell_rate"] < 0.5
    # The data's year ends now, so the window has its last 30 days, by segment and department.
    month = document["windows"]["30d"]
    assert len(month["segment"]) > 3
    assert len(month["category"]) > 3
    if BASKETS <= 5000:
        lines = file.read_bytes().splitlines()
        independent = oracle.compute(lines)
        assert {name: independent[name] for name in ("all", "checkout")} == {
            name: summary[name] for name in ("all", "checkout")
        }


@pytest.mark.prometheus
async def test_a_simulated_shop_with_duplicates_disorder_and_poison(kafka, redis_server, name_prefix, tmp_path):
    program_or_skip("promtool", "prometheus")
    options = ["--events", 6000, "--seed", 11, "--rate", 0, "--duplicates", 0.05, "--poison", 0.01, "--disorder", 600]
    truth = tmp_path / "truth.json"
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        await workers.create_topics(4, 3)
        workers.start()
        workers.start()
        await output("simulate", *options, "--truth", truth, settings=workers.settings)
        planted = json.loads(truth.read_bytes())
        document = await until_totals(workers, totals(planted), PATIENCE)
        await check_metrics(workers, document)
        for worker in workers.workers:
            assert await worker.stop() == 0
