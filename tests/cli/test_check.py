"""`check`: all findings, and the command with embedded servers."""

import asyncio
import secrets
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner
from redis import Redis
from support.summaries import AT
from support.tables import commit

from stream.cli.check import check
from stream.cli.findings import about_settings
from stream.cli.kafka_findings import LogRange, about_keys, about_missing, about_sizes, about_topic, about_versions
from stream.cli.redis_findings import about_logs, about_redis, about_state, with_newer_ends
from stream.core.config import NEVER, STEP
from stream.core.counting.summary import Summary, encode_recent, encode_summary
from stream.core.shard.write_set import ShardId
from stream.kafka.topics import Topic, create_topics
from stream.settings import Settings, load
from stream.tables.interface import Application, Halt, KnownTopic, Owner, ShardSummary
from stream.tables.redis import connect

ROOT = Path(__file__).parents[2]
SETTINGS = Settings()
REDIS = {
    "redis_version": "7.0.15",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "used_memory": 50_000_000,
    "maxmemory": 100_000_000,
}
KAFKA_4_1 = {0: 13, 1: 18, 3: 13, 11: 9}
KAFKA_2_7 = {0: 8, 1: 12, 3: 9, 11: 7}


def levels(findings):
    return [finding.level for finding in findings]


def test_a_redis_without_problems():
    assert levels(about_redis(REDIS)) == ["ok", "ok", "ok", "ok"]


@pytest.mark.parametrize(
    ("difference", "level", "says"),
    [
        ({"redis_version": "6.2.14"}, "error", "7.0 or later"),
        ({"role": "slave"}, "error", "primary"),
        ({"cluster_enabled": 1}, "error", "without cluster mode"),
        ({"maxmemory_policy": "allkeys-lru"}, "error", "CONFIG SET maxmemory-policy noeviction"),
        ({"aof_enabled": 0}, "warning", "CONFIG SET appendonly yes"),
        ({"used_memory": 81_000_000}, "warning", "uses 77 MiB of 95 MiB (maxmemory): when it is full"),
        (
            {"used_memory": 900, "maxmemory": 0, "total_system_memory": 1000},
            "warning",
            "0 MiB of 0 MiB (its machine's memory)",
        ),
    ],
)
def test_problems_of_redis_are_reported_with_what_to_do(difference, level, says):
    wrong = [finding for finding in about_redis(REDIS | difference) if finding.level != "ok"]
    assert levels(wrong) == [level]
    assert says in wrong[0].text


def test_valkey_is_named_by_its_own_version():
    first = next(about_redis(REDIS | {"redis_version": "7.2.4", "valkey_version": "9.1.0"}))
    assert first.text == "Valkey 9.1.0"


@pytest.mark.parametrize(
    ("topic", "config", "level", "says"),
    [
        ("checkout-events", {"retention.ms": "-1"}, "ok", "no retention limit"),
        ("checkout-events", {"retention.ms": "86400000"}, "warning", "shorter than the longest window (30d)"),
        ("checkout-events", {"retention.ms": "-1", "cleanup.policy": "compact"}, "error", "cleanup.policy=delete"),
        ("upsell-outcomes", {"retention.ms": "604800000"}, "ok", "retention 7 days"),
        ("upsell-outcomes", {}, "ok", "retention 7 days"),
        ("upsell-outcomes", {"retention.ms": "-1"}, "warning", "retention.ms=604800000"),
        ("upsell-dead-letters", {"retention.ms": "-1"}, "warning", "retention.ms=2592000000"),
        ("upsell-dead-letters", {"retention.ms": "-1", "retention.bytes": "1000"}, "ok", "no retention limit"),
        (
            "checkout-events",
            {"retention.ms": "-1", "retention.bytes": "1000"},
            "warning",
            "at most 1,000 bytes of each partition",
        ),
        ("upsell-outcomes", {"cleanup.policy": "compact,delete"}, "error", "cleanup.policy=delete"),
    ],
)
def test_a_topic(topic, config, level, says):
    (finding,) = about_topic(topic, 4, config, SETTINGS)
    assert finding.level == level
    assert says in finding.text


def test_a_missing_topic_is_an_error_only_where_nobody_creates_it():
    assert about_missing("checkout-events", SETTINGS, {}).level == "warning"
    nobody = about_missing("checkout-events", load({"kafka_create_topics": False}), {})
    assert nobody.level == "error"
    assert "kafka-topics.sh --create --topic checkout-events --partitions 4 --config" in nobody.text
    assert "--config retention.ms=2592000000" in nobody.text


def test_a_topic_that_the_application_has_read_is_not_created_by_a_worker():
    gone = about_missing("checkout-events", SETTINGS, {"checkout-events": KnownTopic("checkout", 6, 0)})
    assert gone.level == "error"
    assert "create it again only with the number of partitions it had (6), or see" in gone.text
    unknown = about_missing("checkout-events", SETTINGS, None)
    assert unknown.level == "error"
    assert "Redis does not say whether the application has read it before" in unknown.text
    assert about_missing("upsell-outcomes", SETTINGS, None).level == "warning"


@pytest.mark.parametrize(("partitions", "level"), [(1, "error"), (2, "warning")])
def test_a_journey_that_is_stopped_is_an_error_and_one_that_is_partial_is_not(partitions, level):
    summary = encode_summary(Summary("checkout", 0, AT, [], []))
    recent = encode_recent(AT, STEP, {}, NEVER)
    now = AT + 60_000_000
    shards = [
        ShardSummary(ShardId("t", number), summary, recent, at, {})
        for number, at in zip(range(partitions), (AT, now), strict=False)
    ]
    application = Application(shards, {}, {"t": KnownTopic("checkout", partitions, AT)})
    found = [*about_state(application, now, load({"checkout_topic": "t", "subscription_topic": ""}))]
    assert levels(found) == [level]
    assert "no commit for 60 s" in found[0].text


def test_the_key_to_use_is_the_same_wherever_it_is_said():
    (warning,) = about_keys("t", [SimpleNamespace(key=None)])
    key = (
        "the customer id, else the anonymous id, else the checkout or subscription id; the same for all events of one checkout or "
        "subscription"
    )
    texts = [warning.text]
    pages = ("README.md", "docs/reference/events.md", "docs/runbooks/UpsellRecordsWithoutKey.md")
    texts += [(ROOT / page).read_text(encoding="utf-8") for page in pages]
    said = [key in " ".join(text.split()) for text in texts]
    assert said == [True] * len(texts)


@pytest.mark.parametrize(
    ("versions", "options", "level", "says"),
    [
        (KAFKA_4_1, {}, "ok", "3 brokers, protocol of Kafka 4.1 or later"),
        (KAFKA_2_7, {}, "warning", "protocol of Kafka 2.7 or later: topic ids are not supported"),
        ({0: 2, 1: 3}, {}, "error", "upgrade"),
        ({0: 7, 1: 10, 11: 4}, {"kafka_group_instance_id": "one"}, "error", "static membership"),
    ],
)
def test_versions_of_kafka(versions, options, level, says):
    finding = about_versions(versions, 3, load(options))
    assert finding.level == level
    assert says in finding.text


def test_the_default_hash_key_is_reported(monkeypatch):
    assert "UPSELL_CUSTOMER_HASH_KEY_FILE" in list(about_settings(SETTINGS))[1].text
    monkeypatch.setenv("UPSELL_CUSTOMER_HASH_KEY", secrets.token_hex(16))
    assert levels(about_settings(load())) == ["ok"]


def test_an_empty_hash_key_is_refused(tmp_path):
    (tmp_path / "key").touch()
    result = CliRunner().invoke(check, ["--customer-hash-key-file", str(tmp_path / "key")])
    assert result.exit_code == 2
    assert "--customer-hash-key-file: " in result.stderr
    assert "it is empty" in result.stderr


RANGE = "is not in the range 0.1<=x<=600."


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("nan", "'nan' is not a finite number"),
        ("NaN", "'NaN' is not a finite number"),
        ("inf", RANGE),
        ("-inf", RANGE),
        ("0", RANGE),
    ],
)
def test_an_invalid_timeout_is_refused(limit, says):
    result = CliRunner().invoke(check, ["--timeout", limit])
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.fixture
def arguments(embedded_broker, embedded_valkey, name_prefix):
    names = SimpleNamespace(
        **{kind: f"{name_prefix}{kind}" for kind in ("checkout", "subscription", "outcome", "dead-letter")}
    )
    options = [f"--{kind}-topic={name}" for kind, name in vars(names).items()]
    return [*options, "--bootstrap-servers", embedded_broker.bootstrap_servers, "--redis-url", embedded_valkey.url]


def test_servers_with_warnings_only(arguments, embedded_broker, name_prefix):
    topics = [Topic(f"{name_prefix}{kind}", count) for kind, count in (("checkout", 2), ("subscription", 3))]
    asyncio.run(create_topics(embedded_broker.bootstrap_servers, topics))
    result = CliRunner().invoke(check, arguments)
    assert result.exit_code == 0, result.output
    assert "at most 3 workers can share the work" in result.stdout
    assert f"{name_prefix}outcome" in result.stdout
    assert "does not exist; the first worker will create it" in result.stdout


def test_a_topic_that_was_deleted_is_an_error_and_no_worker_will_create_it(
    arguments, embedded_broker, embedded_valkey, name_prefix
):
    async def remember():
        tables = connect(Settings(app_id=f"{name_prefix}app", redis_url=embedded_valkey.url))
        await tables.register_topic(f"{name_prefix}checkout", "checkout", 6)
        await tables.close()

    asyncio.run(create_topics(embedded_broker.bootstrap_servers, [Topic(f"{name_prefix}subscription", 1)]))
    asyncio.run(remember())
    result = CliRunner().invoke(check, [*arguments, "--app-id", f"{name_prefix}app"])
    assert result.exit_code == 1
    (line,) = (line for line in result.stdout.splitlines() if f"{name_prefix}checkout" in line)
    assert line.startswith("error")
    assert "create it again only with the number of partitions it had (6)" in line


async def apply(settings, count):
    """Write so many records in one batch, and store that all of them were applied."""
    topic = settings.checkout_topic
    async with AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers, linger_ms=200, max_batch_size=1_000_000
    ) as producer:
        sent = [await producer.send(topic, b"{}", key=b"k", partition=0) for _ in range(count)]
        await asyncio.gather(*sent)
    tables = connect(settings)
    shard = ShardId(topic, 0)
    summary, recent = encode_summary(Summary("checkout", 0, AT, [], [])), encode_recent(AT, STEP, {}, NEVER)
    claim = await tables.claim(shard, b"nonce")
    await tables.commit(commit(claim, None, count, shard=shard, summary=summary, recent=recent))
    await tables.close()


def test_a_log_whose_records_were_all_applied_has_lost_nothing(
    arguments, embedded_broker, embedded_valkey, name_prefix
):
    # The embedded broker says of a log that it ends before its last batch.
    topics = [Topic(f"{name_prefix}{kind}", 1) for kind in ("checkout", "subscription")]
    asyncio.run(create_topics(embedded_broker.bootstrap_servers, topics))
    settings = Settings(
        app_id=f"{name_prefix}app",
        checkout_topic=topics[0].name,
        kafka_bootstrap_servers=embedded_broker.bootstrap_servers,
        redis_url=embedded_valkey.url,
    )
    asyncio.run(apply(settings, 500))
    result = CliRunner().invoke(check, [*arguments, "--app-id", settings.app_id])
    (error,) = (line for line in result.stdout.splitlines() if line.startswith("error"))
    assert "figures are stopped: no commit for" in error  # no worker runs
    assert "ends at" not in result.output


@pytest.mark.parametrize(("end", "reported"), [(30, 30), (20, 20)])
def test_what_was_applied_while_check_ran_is_not_lost(end, reported, monkeypatch):
    async def ends_of(settings, shards):
        return dict.fromkeys(shards, end)

    monkeypatch.setattr("stream.cli.redis_findings.ends_of", ends_of)
    shards = [ShardId("t", 0), ShardId("t", 1)]
    logs = dict.fromkeys(shards, LogRange(0, 10))
    owners = dict(zip(shards, (Owner(b"n", 1, 30), Owner(b"n", 1, 7)), strict=True))
    found = asyncio.run(with_newer_ends(SETTINGS, logs, owners, 10))
    assert found == {shards[0]: LogRange(0, reported), shards[1]: LogRange(0, 10)}


def test_check_creates_nothing(arguments, name_prefix):
    for _ in range(2):
        result = CliRunner().invoke(check, [*arguments, "--kafka-create-topics", "false"])
        assert result.exit_code == 1
        assert result.stdout.count("does not exist; create it") == 4


def test_a_redis_that_evicts_keys_is_an_error(arguments, embedded_valkey):
    with Redis.from_url(embedded_valkey.url) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            result = CliRunner().invoke(check, arguments)
        finally:
            redis.config_set("maxmemory-policy", "noeviction")
    assert result.exit_code == 1
    assert "maxmemory-policy noeviction" in result.stdout


def test_real_servers_give_the_same_findings(kafka, redis_server, name_prefix):
    names = {kind: f"{name_prefix}{kind}" for kind in ("checkout", "subscription", "outcome", "dead-letter")}
    kept = {"retention.ms": "-1"}
    compacted = {"cleanup.policy": "compact"}
    topics = [
        Topic(names["checkout"], 1, kept),
        Topic(names["subscription"], 1, compacted),
        Topic(names["outcome"], 1, kept),
    ]
    asyncio.run(create_topics(kafka.bootstrap_servers, topics))
    options = [f"--{kind}-topic={name}" for kind, name in names.items()]
    servers = ["--bootstrap-servers", kafka.bootstrap_servers, "--redis-url", redis_server.url]
    result = CliRunner().invoke(check, [*options, *servers])
    assert result.exit_code == 1
    found = {line.split()[1]: line for line in result.stdout.splitlines()}
    assert "1 broker, protocol of Kafka 4.1 or later" in found["Kafka"]
    assert "no retention limit" in found[names["checkout"]]
    assert found[names["subscription"]].startswith("error")
    assert "grows forever" in result.stdout
    assert "accepts messages of at most 1,048,588 bytes" in found[names["outcome"]]
    assert "the first worker will create it" in found[names["dead-letter"]]


def test_unreachable_servers_are_named():
    nowhere = ["--bootstrap-servers", "127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1", "--timeout", "3"]
    result = CliRunner().invoke(check, nowhere)
    assert result.exit_code == 1
    assert "cannot connect to 127.0.0.1:1: it cannot be reached" in result.stdout
    assert "cannot connect to redis://127.0.0.1:1: Redis cannot be reached" in result.stdout


def test_a_redis_that_refuses_the_user_says_what_to_set(embedded_valkey, monkeypatch):
    monkeypatch.setenv("UPSELL_REDIS_PASSWORD", "wrong")
    result = CliRunner().invoke(check, ["--redis-url", embedded_valkey.url, "--bootstrap-servers", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "Redis refuses the request (" in result.stdout
    assert "redis_password_file" in result.stdout


def test_an_unsupported_option_in_the_url_of_redis_is_named(embedded_valkey):
    url = f"{embedded_valkey.url}?socket_timeout=1"
    result = CliRunner().invoke(check, ["--redis-url", url, "--bootstrap-servers", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "socket_timeout is not supported" in result.stdout


def test_parts_that_info_leaves_out_are_named():
    found = list(about_redis({"redis_version": "7.2.0", "role": "master", "used_memory": 5_000_000}))
    (warning,) = [finding for finding in found if finding.level != "ok"]
    assert warning.level == "warning"
    assert "does not say: eviction, persistence" in warning.text
    assert "uses 5 MiB" in found[1].text


def test_topics_whose_messages_may_be_too_large_say_what_is_lost():
    sizes = {"upsell-outcomes": 1_048_588, "upsell-dead-letters": 1_048_588, "checkout-events": 1_048_588}
    outcomes, letters = about_sizes(sizes, SETTINGS)
    assert "larger outcomes become dead letters (outcome_too_large)" in outcomes.text
    assert "--topic upsell-outcomes --add-config max.message.bytes=8388608" in outcomes.text
    assert "cannot be redriven" in letters.text
    assert outcomes.level == letters.level == "warning"
    assert not list(about_sizes(dict.fromkeys(sizes, 8_388_608), SETTINGS))
    assert not list(about_sizes({}, SETTINGS))


def test_lag_and_records_that_are_gone():
    shards = [ShardId("t", number) for number in range(4)]
    logs = dict(zip(shards, (LogRange(0, 10), LogRange(0, 10), LogRange(5, 10), LogRange(0, 10)), strict=True))
    owners = dict(zip(shards, (Owner(b"n", 1, offset) for offset in (10, None, 2, 12)), strict=True))
    known = Application([], {}, {"t": KnownTopic("checkout", 3, 0)})
    grown, gone, cut, lag = about_logs(logs, owners, known)
    assert "has 4 partitions, but the application reads 3" in grown.text
    assert "accept-partitions t 4" in grown.text
    assert "partition 2: 3 records from offset 2 on were deleted before they were applied" in gone.text
    assert "partition 3: the next record to apply is 12, but the log ends at 10" in cut.text
    assert levels([grown, gone, cut]) == ["error"] * 3
    assert (lag.level, lag.text) == ("ok", "15 records are not applied yet")
    halts = {shard: Halt("records_deleted", "", 0) for shard in shards}
    assert levels(about_logs(logs, owners, Application([], halts, {}))) == []
