"""`upsell-stream check`: what to fix before a worker runs in production.

Rules: nothing is changed or created (so Kafka is never asked about a topic that does not exist: it might create it). Each warning and each error
says what to do. An error means lost data or a worker that cannot run; a warning may be intended.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Final, Literal, NamedTuple

import click
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.admin import ApiVersionRequest
from rich.markup import escape
from rich.table import Table

from stream.cli.options import EVERYTHING, with_settings
from stream.cli.parameters import Number
from stream.cli.screen import output, quiet_clients
from stream.kafka.errors import in_words
from stream.kafka.security import client_options, refusal
from stream.settings import Settings, variable
from stream.tables.interface import IncompatibleStateError, TablesUnavailableError
from stream.tables.redis import connect

Level = Literal["ok", "warning", "error"]
_COLOURS: Final[Mapping[Level, str]] = {"ok": "green", "warning": "yellow", "error": "bold red"}
_DAY_MS: Final = 86_400_000
_PRODUCE, _FETCH, _METADATA, _JOIN_GROUP = 0, 1, 3, 11
# Newest version of the Fetch API -> the first release of Kafka that has it.
_RELEASES: Final = {
    4: "0.11",
    7: "1.1",
    8: "2.0",
    11: "2.3",
    12: "2.7",
    13: "3.1",
    14: "3.5",
    16: "3.7",
    17: "3.9",
    18: "4.1",
}
_HEADERS: Final = {_PRODUCE: 3, _FETCH: 4}
_STATIC_MEMBERSHIP: Final = 5
_TOPIC_IDS: Final = 12
_REDIS: Final = (7, 0)


class Finding(NamedTuple):
    """One line of the report."""

    level: Level
    about: str
    text: str
    """What was found; for a warning or an error also what to do."""


@click.command(
    epilog="""\b
Examples:
  upsell-stream check --config upsell.toml
  upsell-stream check --bootstrap-servers kafka:9092 --redis-url redis://redis:6379/0
"""
)
@click.option(
    "--timeout",
    type=Number(0.1, 600),
    default=10.0,
    show_default=True,
    help="Seconds to wait for each server.",
)
@with_settings(EVERYTHING)
@click.pass_context
def check(ctx: click.Context, settings: Settings, timeout: float) -> None:
    """Check Kafka, its topics, Redis and the settings. Say what is wrong and what to do.

    The exit status is 1 if there is an error; with warnings only it is 0.
    """
    quiet_clients()
    console = output()
    findings = asyncio.run(_findings(settings, timeout))
    table = Table("", "about", "finding", box=None, pad_edge=False, show_header=False)
    for level, about, text in findings:
        table.add_row(f"[{_COLOURS[level]}]{level}[/]", about, escape(text))
    console.print(table)
    ctx.exit(int(any(finding.level == "error" for finding in findings)))


async def _findings(settings: Settings, limit: float) -> list[Finding]:
    kafka, redis = await asyncio.gather(_about_kafka(settings, limit), _about_redis(settings, limit))
    return [*kafka, *redis, *about_settings(settings)]


def about_settings(settings: Settings) -> Iterator[Finding]:
    """Settings that are allowed but rarely intended."""
    yield Finding("ok", "settings", f"application {settings.app_id}, windows {', '.join(settings.windows)}")
    if "customer_hash_key" not in settings.model_fields_set and settings.customer_hash_key_file is None:
        yield Finding(
            "warning",
            "settings",
            "customer ids are hashed with the default key, which is public; "
            f"set {variable('customer_hash_key_file')} to a file with a key of your own",
        )
    if settings.kafka_security_protocol == "SASL_PLAINTEXT":
        yield Finding(
            "warning", "settings", "SASL_PLAINTEXT sends the Kafka password or token unencrypted; use SASL_SSL"
        )


async def _about_kafka(settings: Settings, limit: float) -> list[Finding]:
    servers = settings.kafka_bootstrap_servers
    try:
        async with asyncio.timeout(limit):
            admin = AIOKafkaAdminClient(
                bootstrap_servers=servers, request_timeout_ms=int(limit * 1000), **client_options(settings)
            )
            try:
                await admin.start()
                return [finding async for finding in _kafka_findings(admin, settings)]
            finally:
                await admin.close()
    except KafkaConnectionError:
        return [Finding("error", "Kafka", f"cannot connect to {servers}: {await refusal(settings)}")]
    except TimeoutError:
        hint = (
            f"check that Kafka is running and that {variable('kafka_bootstrap_servers')} and "
            f"{variable('kafka_security_protocol')} are right"
        )
        return [Finding("error", "Kafka", f"no answer from {servers} within {limit:g} s; {hint}")]
    except (KafkaError, OSError) as error:
        return [Finding("error", "Kafka", f"request to {servers} failed: {in_words(error)}")]


async def _kafka_findings(admin: AIOKafkaAdminClient, settings: Settings) -> AsyncIterator[Finding]:
    answer = await admin._send_request(ApiVersionRequest())  # noqa: SLF001 - the client has no public method for this
    versions = {key: newest for key, _, newest in answer.api_versions}
    cluster = await admin.describe_cluster()
    yield about_versions(versions, len(cluster["brokers"]), settings)

    outputs = (settings.outcome_topic, settings.dead_letter_topic)
    wanted = (settings.checkout_topic, settings.subscription_topic, *outputs)
    existing = [name for name in await admin.list_topics() if name in wanted]
    topics = {topic["topic"]: topic for topic in await admin.describe_topics(existing)} if existing else {}
    configs = await _configs(admin, existing) if existing else {}
    for name in wanted:
        if name not in topics:
            yield about_missing(name, settings)
        elif topics[name]["error_code"]:
            yield Finding(
                "error",
                name,
                f"Kafka does not describe it (error {topics[name]['error_code']}); grant this user Describe and Read on the topic",
            )
        else:
            for finding in about_topic(name, len(topics[name]["partitions"]), configs.get(name, {}), settings):
                yield finding
    counts = {name: len(topics[name]["partitions"]) for name in wanted[:2] if name in topics}
    if len(set(counts.values())) > 1:
        text = ", ".join(f"{name} {count}" for name, count in counts.items())
        yield Finding(
            "ok",
            "partitions",
            f"{text}: the numbers may differ; at most {max(counts.values())} workers can share the work",
        )


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    resources = [resource for answer in answers for resource in answer.to_object()["resources"]]
    return {
        resource["resource_name"]: {
            entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]
        }
        for resource in resources
    }


def about_versions(versions: Mapping[int, int], brokers: int, settings: Settings) -> Finding:
    """What this Kafka supports. `versions`: key of an API -> its newest version on the brokers."""
    fetch = versions.get(_FETCH, 0)
    release = next((release for version, release in reversed(_RELEASES.items()) if version <= fetch), None)
    found = f"{brokers} broker{'s' if brokers > 1 else ''}, protocol of Kafka {release or 'before 0.11'} or later"
    if any(versions.get(key, 0) < version for key, version in _HEADERS.items()):
        return Finding("error", "Kafka", f"{found}: record headers are not supported; upgrade to 2.3 or later")
    if settings.kafka_group_instance_id is not None and versions.get(_JOIN_GROUP, 0) < _STATIC_MEMBERSHIP:
        return Finding(
            "error",
            "Kafka",
            f"{found}: static membership is not supported; unset {variable('kafka_group_instance_id')}, or upgrade to 2.3 or later",
        )
    if versions.get(_METADATA, 0) < _TOPIC_IDS:
        return Finding(
            "warning",
            "Kafka",
            f"{found}: topic ids are not supported, so a worker may not notice that a topic was deleted and created again; "
            "stop all workers before you do that, or upgrade to 3.1 or later",
        )
    return Finding("ok", "Kafka", found)


def about_missing(name: str, settings: Settings) -> Finding:
    """A topic that does not exist."""
    count = settings.kafka_partitions
    if settings.kafka_create_topics:
        return Finding(
            "warning",
            name,
            f"does not exist; the first worker will create it with {count} partitions "
            f"({variable('kafka_partitions')}), unless you create it before",
        )
    return Finding(
        "error",
        name,
        f"does not exist; create it (kafka-topics.sh --create --topic {name} --partitions {count}), "
        f"or let the first worker create it ({variable('kafka_create_topics')}=true)",
    )


def about_topic(name: str, partitions: int, config: Mapping[str, str], settings: Settings) -> Iterator[Finding]:
    """A topic that exists. `config` is its configuration in Kafka."""
    retention = int(config.get("retention.ms") or 7 * _DAY_MS)
    kept = "no retention limit" if retention < 0 else f"retention {retention / _DAY_MS:g} days"
    compacted = "compact" in config.get("cleanup.policy", "delete")
    alter = f"kafka-configs.sh --alter --topic {name} --add-config"
    if compacted:
        yield Finding(
            "error",
            name,
            f"is compacted: Kafka deletes all but the newest record of a key; {alter} cleanup.policy=delete",
        )
    elif name in (settings.outcome_topic, settings.dead_letter_topic):
        if retention < 0:
            days = settings.outcome_retention_days
            yield Finding(
                "warning", name, f"has no retention limit, so it grows forever; {alter} retention.ms={days * _DAY_MS}"
            )
        else:
            yield Finding("ok", name, f"{partitions} partitions, {kept}")
    else:
        horizon = settings.core().horizon // 1000
        if 0 <= retention < horizon:
            yield Finding(
                "warning",
                name,
                f"{partitions} partitions, {kept}: shorter than the longest window ({settings.windows[-1]}). If Redis lost its data, "
                f"the figures could not be rebuilt completely; {alter} retention.ms={horizon}",
            )
        else:
            yield Finding("ok", name, f"{partitions} partitions, {kept}")


async def _about_redis(settings: Settings, limit: float) -> list[Finding]:
    url = settings.redis_url
    where = f"{url.scheme}://{url.host}:{url.port}" if url.scheme != "unix" else str(url.path)
    hint = f"check that Redis is running and that {variable('redis_url')} is right"
    try:
        async with asyncio.timeout(limit):
            # The worker's own client: it accepts fewer options in the URL, and explains what Redis refuses.
            tables = connect(settings)
            try:
                await tables.now()
                await tables.summaries()
                return list(about_redis(await tables.info()))
            except IncompatibleStateError as refused:
                if "'info'" not in str(refused):
                    raise
                unknown = "version, role, eviction and persistence are unknown: this user may not run INFO"
                return [
                    Finding("ok", "Redis", "connected"),
                    Finding("warning", "Redis", f"{unknown}; grant it +info"),
                ]
            finally:
                await tables.close()
    except IncompatibleStateError as error:
        return [Finding("error", "Redis", str(error))]
    except TimeoutError:
        return [Finding("error", "Redis", f"no answer from {where} within {limit:g} s; {hint}")]
    except (TablesUnavailableError, OSError) as error:
        return [Finding("error", "Redis", f"cannot connect to {where}: {error}; {hint}")]


def about_redis(info: Mapping[str, object]) -> Iterator[Finding]:
    """What the answer to `INFO` shows."""
    version = str(info.get("valkey_version") or info.get("redis_version") or "0")
    name = "Valkey" if "valkey_version" in info else "Redis"
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _REDIS:
        yield Finding(
            "error", "Redis", f"version {version} is too old; upgrade to Redis 7.0 or later, or Valkey 7.2 or later"
        )
    else:
        yield Finding("ok", "Redis", f"{name} {version}")
    if info.get("role") != "master":
        yield Finding("error", "Redis", f"is a replica; set {variable('redis_url')} to its primary")
    if info.get("cluster_enabled"):
        yield Finding(
            "error",
            "Redis",
            f"is a Redis Cluster, which is not supported; set {variable('redis_url')} to a Redis without cluster mode",
        )
    policy = info.get("maxmemory_policy")
    if policy == "noeviction":
        yield Finding("ok", "Redis", "rejects writes when its memory is full (noeviction)")
    else:
        yield Finding(
            "error",
            "Redis",
            f"deletes data when its memory is full (maxmemory-policy {policy}); CONFIG SET maxmemory-policy noeviction",
        )
    if info.get("aof_enabled"):
        yield Finding("ok", "Redis", "has an append-only file")
    else:
        yield Finding(
            "warning",
            "Redis",
            "has no append-only file: a restart may lose all data, which is then rebuilt from Kafka; CONFIG SET appendonly yes",
        )
