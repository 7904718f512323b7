"""Kafka has lost records that were applied: the shard halts, says so, and continues with the documented remedy."""

import re
import shutil
from pathlib import Path

import pytest
from redis.asyncio import Redis
from support import traffic
from support.kafka_server import KafkaServer
from support.servers import start, started, stop
from support.workers import group

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "operations.md"
LOST = 12


def remedy(text, **places):
    """The commands of the page below a message, with these places filled in."""
    block = PAGE.read_text(encoding="utf-8").partition(text)[2].partition("```redis\n")[2].partition("```")[0]
    for name, place in places.items():
        block = re.sub(rf"\b{name}\b", place, block)
    return [line.split() for line in block.splitlines()]


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is stopped"])
async def test_a_log_that_kafka_has_truncated_is_named_and_the_documented_remedy_covers_it(
    redis_server, name_prefix, tmp_path, running
):
    with (
        started(KafkaServer()) as kafka,
        group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers,
    ):
        topic = workers.settings.checkout_topic
        worker = await workers.begin(traffic.checkouts(20))
        kept = len(workers.sent)
        await stop(kafka)
        backup = tmp_path / "backup"
        shutil.copytree(kafka.directory / "log", backup)
        await start(kafka)
        await workers.send(list(traffic.checkouts(20, first=20))[:LOST])
        await workers.applied()
        if not running:
            assert await worker.stop() == 0
        await stop(kafka)
        shutil.rmtree(kafka.directory / "log")
        shutil.copytree(backup, kafka.directory / "log")
        await start(kafka)
        if not running:
            worker = workers.start()
        why = await workers.until_halted(worker, topic)
        assert f"the log ends at {kept}, but the next record to apply is {kept + LOST}: the log was truncated" in why
        assert f"Kafka has lost {LOST} records that the figures contain" in why
        assert await worker.stop() == 0
        redis = Redis.from_url(redis_server.url)
        for command in remedy(
            "the log was truncated", APP=workers.settings.app_id, TOPIC=topic, PARTITION="0", E=str(kept)
        ):
            name, key, *rest = command
            await redis.execute_command(name, key.replace("upsell:", workers.settings.redis_prefix, 1), *rest)
        await redis.aclose()
        worker = workers.start()
        await workers.send(traffic.checkouts(20, first=60))
        await workers.applied()
        assert await worker.stop() == 0
