"""What a person sees while the figures are not right: page data, `/readyz`, metrics, `rates`, `status`. On real Kafka and Redis."""

import asyncio
import json
from contextlib import suppress

import pytest
from aiokafka.admin import NewPartitions
from redis.asyncio import Redis
from support import traffic
from support.commands import started
from support.kafka_server import KafkaServer
from support.redis_server import RedisServer
from support.servers import started as server_started
from support.traffic import Sent
from support.workers import LIMIT, _admin, group

from stream.tables.redis import connect

pytestmark = [pytest.mark.kafka, pytest.mark.redis]


async def run(workers, *words):
    """Exit status and output of a command with the settings of the workers."""
    process = await started(*words, settings=workers.settings)
    printed, errors = await process.communicate()
    return process.returncode, printed.decode(), errors.decode()


async def status(workers):
    code, printed, errors = await run(workers, "status", "--json")
    found = json.loads(printed)
    assert code == int(bool(found["to_do"])), errors
    return found


async def until(workers, look, condition):
    """Wait until what `look` returns satisfies a condition; returns it."""
    seen = None
    try:
        async with asyncio.timeout(LIMIT):
            while seen is None or not condition(seen):
                workers.check()
                with suppress(IndexError, OSError):
                    seen = await look()
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(seen) from None
    return seen


async def everywhere(workers, worker):
    """The state of the checkout figures wherever it is shown."""
    rates = json.loads(await worker.get("/api/v1/rates"))["state"]["checkout"]
    page = json.loads(await worker.get("/page.json"))["states"]["checkout"]
    metrics = await worker.get("/metrics")
    code, printed, _ = await run(workers, "rates", "--json")
    assert code == 0
    up = 'upsell_journey_up{journey="checkout"} 1\n' in metrics
    return {
        "api": rates["state"],
        "page": page["state"],
        "metric": "live" if up else "not live",
        "rates": json.loads(printed)["state"]["checkout"]["state"],
        "status": (await status(workers))["journeys"]["checkout"]["state"],
    }


def all_say(state):
    metric = "live" if state in ("live", "empty") else "not live"
    return {"api": state, "page": state, "metric": metric, "rates": state, "status": state}


async def test_figures_of_a_topic_whose_shards_are_all_halted_are_stopped_everywhere(
    kafka, redis_server, name_prefix, tmp_path
):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        worker = await workers.begin(traffic.checkouts(20))
        topic = workers.settings.checkout_topic
        await until(workers, lambda: everywhere(workers, worker), lambda seen: seen == all_say("live"))
        assert (await status(workers))["to_do"] == []
        await workers.recreate_topic(topic)
        await workers.send(list(traffic.checkouts(20, first=100)))
        await workers.until_halted(worker, topic)
        await until(workers, lambda: everywhere(workers, worker), lambda seen: seen == all_say("stopped"))
        assert (
            f'upsell_shard_halt_info{{topic="{topic}",partition="0",reason="topic_recreated"}} 1'
            in await worker.get("/metrics")
        )
        found = await status(workers)
        assert any("created again" in line and f"{topic}/0" in line for line in found["to_do"])
        assert [shard["reason"] for shard in found["shards"] if shard["state"] == "halted"] == ["topic_recreated"]
        _, printed, _ = await run(workers, "status")
        assert "To do:" in printed
        # The other journey is right, and the worker is ready for it: a halt by the log alone does not stop an update.
        assert json.loads(await worker.get("/api/v1/rates"))["state"]["subscription"]["state"] in ("live", "empty")
        assert (await worker.readiness())[0] == 200


async def test_figures_are_stopped_half_a_minute_after_the_only_worker_was_killed(
    kafka, redis_server, name_prefix, tmp_path
):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        worker = await workers.begin(traffic.checkouts(20))
        worker.kill()
        found = await until(
            workers, lambda: status(workers), lambda seen: seen["journeys"]["checkout"]["state"] == "stopped"
        )
        assert any("no commit for" in line for line in found["to_do"])
        await until(workers, lambda: status(workers), lambda seen: seen["workers"] == [])
        workers.start()
        await until(workers, lambda: status(workers), lambda seen: not seen["to_do"])


async def test_a_right_that_redis_takes_away_is_named_and_once_given_back_the_worker_goes_on(
    kafka, name_prefix, tmp_path
):
    with server_started(RedisServer()) as server:
        raw = Redis.from_url(server.url)
        allowed = ["on", ">secret", f"~{name_prefix}*", "+@all"]
        await raw.execute_command("ACL", "SETUSER", "shop", *allowed)
        url = f"redis://shop:secret@{server.address}/0"
        with group(kafka.bootstrap_servers, url, name_prefix, tmp_path) as workers:
            worker = await workers.begin(traffic.checkouts(20))
            await raw.execute_command("ACL", "SETUSER", "shop", "-zadd", "-eval")
            await workers.send(traffic.checkouts(20, first=100))
            code, said = await until(workers, worker.readiness, lambda seen: seen[0] == 503)
            assert code == 503
            assert "Redis refuses the request" in said
            assert "'eval' command" in said
            assert "halted" not in worker.said
            await raw.execute_command("ACL", "SETUSER", "shop", "+@all")
            await workers.applied()
            await until(workers, worker.readiness, lambda seen: seen[0] == 200)
            assert worker.said.count("Redis refuses the request") <= 4, "one line for a cause, not one for each shard"
            assert "over after" in worker.said
        await raw.aclose()


async def test_new_partitions_of_a_topic_wait_until_they_are_accepted(kafka, redis_server, name_prefix, tmp_path):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        await workers.create_topics(4, 1)
        topic = workers.settings.checkout_topic
        worker = workers.start()
        await workers.send(traffic.checkouts(20))
        await workers.applied()
        async with _admin(kafka.bootstrap_servers) as admin:
            await admin.create_partitions({topic: NewPartitions(6)})
        found = await until(
            workers, lambda: status(workers), lambda seen: "partitions_grown" in {s["reason"] for s in seen["shards"]}
        )
        await workers.until_said(worker, f"{topic}/5: halted: topic {topic} has grown from 4 to 6 partitions")
        found = await until(
            workers,
            lambda: status(workers),
            lambda seen: any(
                "grown from 4 to 6" in line and f"({topic}/4, {topic}/5)" in line for line in seen["to_do"]
            ),
        )
        assert found["journeys"]["checkout"]["state"] == "partial"
        assert f'upsell_input_topic_partitions{{topic="{topic}"}} 4' in await worker.get("/metrics")
        assert (await worker.readiness())[0] == 200
        code, _, errors = await run(workers, "accept-partitions", topic, "7")
        assert code == 2
        assert "has 6 partitions in Kafka, not 7" in errors
        code, _, errors = await run(workers, "accept-partitions", topic, "6")
        assert code == 0, errors
        await until(workers, lambda: status(workers), lambda seen: not seen["to_do"])
        await workers.send(traffic.checkouts(40, first=100))
        await workers.applied()


async def test_partitions_added_before_the_first_event_are_read_without_asking(
    kafka, redis_server, name_prefix, tmp_path
):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        await workers.create_topics(1, 1)
        worker = workers.start()
        await workers.until_shared(lambda shares: shares == [2])
        async with _admin(kafka.bootstrap_servers) as admin:
            await admin.create_partitions({workers.settings.checkout_topic: NewPartitions(3)})
        await workers.until_shared(lambda shares: shares == [4])
        assert "halted" not in worker.said
        await workers.send(traffic.checkouts(20))
        await workers.applied()


async def test_records_without_a_key_and_dead_letters_are_counted_logged_and_shown(
    kafka, redis_server, name_prefix, tmp_path
):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        worker = await workers.begin(traffic.checkouts(5))
        before = list(workers.sent)
        without_key = [each._replace(key=None) for each in traffic.checkouts(10, first=100)]
        await workers.send(without_key)
        await workers.send([Sent(traffic.CHECKOUT, b"k", b"no JSON")] * 38)
        workers.sent = before + without_key
        topic = workers.settings.checkout_topic
        found = await until(workers, lambda: status(workers), lambda seen: sum(seen["dead_letters"].values()) == 38)
        assert (found["dead_letters"], found["without_key"]) == ({"not_json": 38}, len(without_key))
        await workers.until_said(worker, "38 records were rejected and are dead letters now: not_json 38")
        await workers.until_said(worker, f"{len(without_key)} records without a key were applied ({topic}")
        metrics = await worker.get("/metrics")
        assert f'upsell_records_without_key_total{{topic="{topic}"}} {len(without_key)}.0' in metrics
        accepted = len(workers.sent)
        hour = {"accepted": accepted, "without_key": len(without_key), "rejected": {"not_json": 38}}

        async def page():
            return json.loads(await worker.get("/page.json"))["last_hour"]

        await until(workers, page, lambda seen: seen == hour)
        to_do = (await status(workers))["to_do"]
        assert any(
            f"38 of {accepted + 38} records of the last hour were rejected (not_json 38)" in line for line in to_do
        )
        assert any(
            f"{len(without_key)} of {accepted + 38} records of the last hour have no key" in line for line in to_do
        )
        # It is known to the next owner, too.
        assert await worker.stop() == 0
        workers.start()
        await until(workers, lambda: status(workers), lambda seen: seen["workers"] != [])
        assert (await status(workers))["dead_letters"] == {"not_json": 38}


async def test_a_producer_whose_records_are_all_rejected_is_not_told_that_all_is_well(
    kafka, redis_server, name_prefix, tmp_path
):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        await workers.create_topics(1, 1)
        worker = workers.start()
        await workers.send([Sent(traffic.CHECKOUT, b"k", b'"twice"')] * 40)
        found = await until(workers, lambda: status(workers), lambda seen: seen["dead_letters"])
        assert found["journeys"]["checkout"]["state"] == "empty"
        assert any("all records of the last hour were rejected (not_cloudevent 40)" in line for line in found["to_do"])
        code, printed, _ = await run(workers, "status")
        assert code == 1
        assert "dead-letters" in printed

        async def last_hour():
            return json.loads(await worker.get("/page.json"))["last_hour"]

        # The page reads Redis once per refresh interval.
        hour = await until(workers, last_hour, lambda hour: hour["rejected"])
        assert hour["rejected"] == {"not_cloudevent": 40}


async def test_a_second_application_with_the_same_app_id_is_refused_by_name_until_the_first_is_retired(
    kafka, redis_server, name_prefix, tmp_path
):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        first = await workers.begin(traffic.checkouts(20))
        topic = workers.settings.checkout_topic
        (tmp_path / "other").mkdir()
        with group(kafka.bootstrap_servers, redis_server.url, f"{name_prefix}other-", tmp_path / "other") as others:
            others.settings = others.settings.model_copy(
                update={"app_id": workers.settings.app_id, "redis_prefix": name_prefix}
            )
            await others.create_topics(1, 1)
            second = others.start()
            _, said = await until(others, second.readiness, lambda seen: "same UPSELL_APP_ID" in seen[1])
            assert topic in said or workers.settings.subscription_topic in said
            assert "upsell-stream retire " in said
            found = await status(workers)
            assert found["journeys"]["checkout"]["state"] == "live", "the first application goes on"
            tables = connect(workers.settings)
            assert (await tables.application()).topics.keys() == set(workers.settings.input_topics), "and only it"
            await tables.close()
            code, _, errors = await run(workers, "retire", topic)
            assert code == 1
            assert "stop the workers that read it" in errors
            assert await first.stop() == 0

            for name in (topic, workers.settings.subscription_topic):
                await until(others, lambda name=name: run(workers, "retire", name), lambda seen: seen[0] == 0)
            await until(others, second.readiness, lambda seen: seen[0] == 200)
            await others.send(traffic.checkouts(3, first=500))
            await others.applied()


async def test_a_redis_cluster_is_refused_at_the_start_with_what_to_set(kafka, name_prefix, tmp_path):
    with (
        server_started(RedisServer("--cluster-enabled", "yes")) as server,
        group(kafka.bootstrap_servers, server.url, name_prefix, tmp_path) as workers,
    ):
        worker = workers.start()
        assert await asyncio.to_thread(worker.process.wait, LIMIT) == 1
        assert "Redis Cluster, which is not supported; set redis_url" in worker.said
        assert "Traceback" not in worker.said


async def test_figures_are_not_live_while_kafka_is_dead_although_workers_go_on_ticking(
    redis_server, name_prefix, tmp_path
):
    with (
        server_started(KafkaServer()) as own,
        group(own.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers,
    ):
        worker = await workers.begin(traffic.checkouts(20))
        own.kill()

        async def state():
            found = json.loads(await worker.get("/api/v1/rates"))["state"]["checkout"]
            return found["state"], " ".join(reason["text"] for reason in found["reasons"])

        _, text = await until(workers, state, lambda seen: seen[0] == "stopped")
        assert "Kafka does not answer" in text
        assert 'upsell_journey_up{journey="checkout"} 0' in await worker.get("/metrics")
        code, said = await worker.readiness()
        assert (code, "Kafka does not answer" in said) == (503, True)


async def test_an_input_topic_that_was_deleted_does_not_come_back_by_itself(kafka, redis_server, name_prefix, tmp_path):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        worker = await workers.begin(traffic.checkouts(5))
        assert await worker.stop() == 0
        topic = workers.settings.checkout_topic
        async with _admin(kafka.bootstrap_servers) as admin:
            await admin.delete_topics([topic])
            async with asyncio.timeout(LIMIT):
                while topic in await admin.list_topics():  # noqa: ASYNC110 - Kafka sends no event when it is done
                    await asyncio.sleep(0.1)
        again = workers.start()
        _, said = await until(workers, again.readiness, lambda seen: "does not exist" in seen[1])
        assert topic in said
        async with _admin(kafka.bootstrap_servers) as admin:
            assert topic not in await admin.list_topics()
