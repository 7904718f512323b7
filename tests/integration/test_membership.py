"""A consumer group that a worker cannot be a member of: the reason is named, and the worker continues when it is gone."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer
from support import traffic
from support.workers import LIMIT, group, until_ready

from stream.cli.inspection import inspect

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

FENCED = "another worker has claimed the shard"
SOONER = "import stream.consumer.membership as membership; membership.FENCED_PAUSE = 5.0"


async def test_two_workers_with_one_instance_id_are_named_and_do_not_take_the_shards_from_each_other(
    kafka, redis_server, name_prefix, tmp_path
):
    with group(
        kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path, kafka_group_instance_id="w-1"
    ) as workers:
        await workers.create_topics(2, 1)
        first = workers.start(before=SOONER)
        await workers.until(lambda: len(first.shards) == 3)
        second = workers.start(before=SOONER)
        reason = "another process uses the same kafka_group_instance_id 'w-1': set a different one for each worker"
        await until_ready(first, 503, reason)
        await workers.until(lambda: len(second.shards) == 3 and not first.shards)
        await until_ready(second, 200)
        await workers.send(traffic.checkouts(50))
        await workers.applied()
        # It has asked again whether the place is free, and still leaves the shards to the other one.
        await asyncio.sleep(12)
        assert reason in (await first.readiness())[1]
        assert first.said.count(reason) == 1
        assert reason not in second.said
        # Until Kafka has told the first one, each heartbeat may exchange the three shards once more; workers that go on have hundreds.
        assert sum(worker.said.count(FENCED) for worker in workers.workers) <= 15
        assert await second.stop() == 0
        await until_ready(first, 200)
        assert len(first.shards) == 3
        await workers.send(traffic.checkouts(50, first=50))
        await workers.applied()
        assert first.process.poll() is None
        assert await first.stop() == 0


async def test_a_group_that_another_kind_of_consumer_uses_is_named_and_joined_when_it_has_left(
    kafka, redis_server, name_prefix, tmp_path
):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        await workers.create_topics(1, 1)
        app_id = workers.settings.app_id
        async with AIOKafkaConsumer(
            workers.settings.checkout_topic,
            bootstrap_servers=kafka.bootstrap_servers,
            group_id=app_id,
            client_id="a-report",
        ):
            worker = workers.start()
            reason = (
                f"another program uses the consumer group '{app_id}', with a protocol that is not a worker's: stop it"
            )
            await until_ready(worker, 503, reason, "set another UPSELL_APP_ID")
            assert reason in worker.said
            found = await inspect(workers.settings, LIMIT)
            assert found.workers == []
            assert found.others is not None
            assert [other.split(" at ")[0] for other in found.others] == ["client id a-report"]
            assert any(f"another program is a member of the consumer group '{app_id}'" in line for line in found.to_do)
            assert not any("start one" in line for line in found.to_do)
        await until_ready(worker, 200)
        found = await inspect(workers.settings, LIMIT)
        assert (len(found.workers or ()), found.others) == (1, [])
        await workers.send(traffic.checkouts(20))
        await workers.applied()
        assert await worker.stop() == 0
