"""What `check` finds out about Kafka: versions, topics, rights, sizes, retention, and the newest records.

Rules: nothing is changed or created, also not a topic by asking about it. What may not be looked at is a warning.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from aiokafka import ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.admin import ApiVersionRequest

from stream.cli.findings import Finding
from stream.core.shard.write_set import ShardId
from stream.kafka.errors import in_words
from stream.kafka.metadata import TopicMetadata
from stream.kafka.producer import LARGEST_MESSAGE
from stream.kafka.security import client_options, refusal
from stream.kafka.topic_lookup import look_up
from stream.kafka.topic_plan import DAY_MS, POLICY, RETENTION, SIZE, input_retention, planned_topics
from stream.kafka.topic_reader import topic_reader
from stream.settings import Settings, variable
from stream.tables.interface import KnownTopic

NEWEST: Final = 100
"""Records of each partition that are looked at."""
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
_READ, _WRITE, _DESCRIBE = 1 << 3, 1 << 4, 1 << 8  # of Kafka's `AclOperation`


class LogRange(NamedTuple):
    """Offsets of a partition."""

    beginning: int
    end: int


async def kafka_findings(
    settings: Settings, limit: float, known: Mapping[str, KnownTopic] | None
) -> tuple[list[Finding], dict[ShardId, LogRange]]:
    """All findings about Kafka, and the logs of the input topics as far as they could be read.

    `limit`: seconds for each part. `known`: the input topics that the application has read; None if Redis does not say.
    """
    servers = settings.kafka_bootstrap_servers
    findings: list[Finding] = []
    logs: dict[ShardId, LogRange] = {}
    try:
        async with asyncio.timeout(limit):
            admin = AIOKafkaAdminClient(
                bootstrap_servers=servers, request_timeout_ms=int(limit * 1000), **client_options(settings)
            )
            try:
                await admin.start()
                topics = await look_up(servers, client_options(settings), (*settings.input_topics, *_outputs(settings)))
                findings += [finding async for finding in _server_findings(admin, topics, settings, known)]
            finally:
                await admin.close()
        readable = [name for name in settings.input_topics if not topics[name].error and _may(topics[name], _READ)]
        if readable:
            found, logs = await _newest_findings(settings, readable, limit)
            findings += found
    except KafkaConnectionError:
        findings.append(Finding("error", "Kafka", f"cannot connect to {servers}: {await refusal(settings)}"))
    except TimeoutError:
        hint = (
            f"check that Kafka is running and that {variable('kafka_bootstrap_servers')} and "
            f"{variable('kafka_security_protocol')} are right"
        )
        findings.append(Finding("error", "Kafka", f"no answer from {servers} within {limit:g} s; {hint}"))
    except (KafkaError, OSError) as error:
        text = f"request to {servers} failed: {in_words(error)}; see the brokers' logs, then run check again"
        findings.append(Finding("error", "Kafka", text))
    return findings, logs


def _outputs(settings: Settings) -> tuple[str, str]:
    return settings.outcome_topic, settings.dead_letter_topic


async def _server_findings(
    admin: AIOKafkaAdminClient,
    topics: Mapping[str, TopicMetadata],
    settings: Settings,
    known: Mapping[str, KnownTopic] | None,
) -> AsyncIterator[Finding]:
    answer = await admin._send_request(ApiVersionRequest())  # noqa: SLF001 - the client has no public method for this
    versions = {key: newest for key, _, newest in answer.api_versions}
    cluster = await admin.describe_cluster()
    yield about_versions(versions, len(cluster["brokers"]), settings)
    configs = await _configs(admin, [name for name, topic in topics.items() if not topic.error])
    for name, topic in topics.items():
        problem = about_access(topic, settings, known)
        if problem is not None:
            yield problem
        if topic.error:
            continue
        config = configs.get(name)
        if config is None:
            yield Finding(
                "warning",
                name,
                f"{topic.partitions} partitions; its retention, policy and message size could not be looked at: "
                "grant this user DescribeConfigs on the topic, or look at them there",
            )
            continue
        for finding in about_topic(name, topic.partitions, config, settings):
            yield finding
    sizes = {name: int(config[SIZE]) for name, config in configs.items() if config and config.get(SIZE)}
    for finding in about_sizes(sizes, settings):
        yield finding
    counts = {name: topics[name].partitions for name in settings.input_topics if not topics[name].error}
    if len(set(counts.values())) > 1:
        text = ", ".join(f"{name} {count}" for name, count in counts.items())
        yield Finding(
            "ok",
            "partitions",
            f"{text}: the numbers may differ; at most {max(counts.values())} workers can share the work",
        )


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, Any] | None]:
    """The configuration of each topic; None if this user may not see it."""
    if not names:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    resources = [resource for answer in answers for resource in answer.to_object()["resources"]]
    return {
        resource["resource_name"]: None
        if resource["error_code"]
        else {entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]}
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


def about_access(topic: TopicMetadata, settings: Settings, known: Mapping[str, KnownTopic] | None) -> Finding | None:
    """What keeps this user from a topic: it does not exist, may not be seen, or lacks a right. None if nothing does."""
    name = topic.name
    is_input = name in settings.input_topics
    needed, right = (_READ, "Read") if is_input else (_WRITE, "Write")
    error: type[KafkaError] = for_code(topic.error)
    if error is UnknownTopicOrPartitionError:
        return about_missing(name, settings, known)
    if error is TopicAuthorizationFailedError:
        return Finding(
            "error",
            name,
            f"may not be seen by this user, and Kafka does not say whether it exists; grant {right} and Describe on it, "
            "or correct its name in the settings",
        )
    if topic.error:
        return Finding(
            "error",
            name,
            f"Kafka does not describe it ({error.__name__}); check that the brokers with its partitions run",
        )
    if not _may(topic, needed):
        return Finding(
            "error", name, f"may not be {'read' if is_input else 'written'} by this user; grant {right} on it"
        )
    return None


def _may(topic: TopicMetadata, operation: int) -> bool:
    """Whether this user may do something with a topic, as far as Kafka says."""
    return topic.operations is None or not topic.operations & _DESCRIBE or bool(topic.operations & operation)


def about_missing(name: str, settings: Settings, known: Mapping[str, KnownTopic] | None) -> Finding:
    """A topic that does not exist. `known` as in `kafka_findings`."""
    count = settings.kafka_partitions
    if known is not None and name in known:
        count = known[name].partitions
        return Finding(
            "error",
            name,
            "does not exist, but it existed, and shards have state made from it: create it again only with the number of partitions it had "
            f"({count}), or see docs/how-to/operations.md, 'A halted shard'",
        )
    if known is None and name in settings.input_topics:
        return Finding(
            "error",
            name,
            "does not exist, and Redis does not say whether the application has read it before; correct what is reported of Redis, and run check "
            "again before you create it",
        )
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
        f"does not exist; create it ({_create(name, settings)}), "
        f"or let the first worker create it ({variable('kafka_create_topics')}=true)",
    )


def _create(name: str, settings: Settings) -> str:
    (plan,) = (topic for topic in planned_topics(settings) if topic.name == name)
    config = "".join(f" --config {key}={value}" for key, value in plan.config.items())
    return f"kafka-topics.sh --create --topic {name} --partitions {plan.partitions}{config}"


def about_topic(name: str, partitions: int, config: Mapping[str, str | None], settings: Settings) -> Iterator[Finding]:
    """Policy and retention of a topic that exists. `config` is its configuration in Kafka."""
    retention = int(config.get(RETENTION) or 7 * DAY_MS)
    kept = "no retention limit" if retention < 0 else f"retention {retention / DAY_MS:g} days"
    size = int(config.get("retention.bytes") or -1)
    is_input = name in settings.input_topics
    horizon = input_retention(settings)
    alter = f"kafka-configs.sh --alter --topic {name} --add-config"
    if "compact" in (config.get(POLICY) or "delete"):
        yield Finding(
            "error",
            name,
            f"is compacted: Kafka deletes all but the newest record of a key; {alter} {POLICY}=delete",
        )
    elif not is_input and retention < 0 and size < 0:
        (plan,) = (topic for topic in planned_topics(settings) if topic.name == name)
        text = f"has no retention limit, so it grows forever; {alter} {RETENTION}={plan.config[RETENTION]}"
        yield Finding("warning", name, text)
    elif is_input and 0 <= retention < horizon:
        yield Finding(
            "warning",
            name,
            f"{partitions} partitions, {kept}: shorter than the longest window ({settings.windows[-1]}). If Redis lost its data, "
            f"the figures could not be rebuilt completely; {alter} {RETENTION}={horizon}",
        )
    elif is_input and size >= 0:
        yield Finding(
            "warning",
            name,
            f"{partitions} partitions, {kept}, but at most {size:,} bytes of each partition: older records are deleted, whatever their age. If "
            f"Redis lost its data, the figures could not be rebuilt completely; {alter} retention.bytes=-1",
        )
    else:
        yield Finding("ok", name, f"{partitions} partitions, {kept}")


def about_sizes(sizes: Mapping[str, int], settings: Settings) -> Iterator[Finding]:
    """Whether messages of every size that a worker publishes fit. `sizes`: topic -> `max.message.bytes`, where Kafka says so."""
    effects = {
        settings.outcome_topic: "larger outcomes become dead letters (outcome_too_large), and consumers of outcomes lack them until they are redriven",
        settings.dead_letter_topic: "larger dead letters lose the record's value, and cannot be redriven",
    }
    for name, effect in effects.items():
        size = sizes.get(name)
        if size is not None and size < LARGEST_MESSAGE:
            yield Finding(
                "warning",
                name,
                f"accepts messages of at most {size:,} bytes ({SIZE}), a worker publishes up to {LARGEST_MESSAGE:,}: {effect}; "
                f"kafka-configs.sh --alter --topic {name} --add-config {SIZE}={LARGEST_MESSAGE}",
            )


async def _newest_findings(
    settings: Settings, topics: list[str], limit: float
) -> tuple[list[Finding], dict[ShardId, LogRange]]:
    """What the newest records show, and the logs."""
    logs: dict[ShardId, LogRange] = {}
    try:
        async with (
            asyncio.timeout(limit),
            topic_reader(settings.kafka_bootstrap_servers, client_options(settings), topics) as reader,
        ):
            ends = await reader.ends()
            for partition, beginning in (await reader.beginnings()).items():
                logs[ShardId(*partition)] = LogRange(beginning, ends[partition])
            newest = await reader.newest(NEWEST)
            for partition, found in newest.items():
                if found:  # some brokers return too low an end offset until something was fetched
                    log = logs[ShardId(*partition)]
                    logs[ShardId(*partition)] = log._replace(end=max(log.end, found[0].offset + 1))
    except TopicAuthorizationFailedError as error:
        refused = next((name for name in topics if name in str(error)), ", ".join(topics))
        return [Finding("error", refused, "may not be read by this user; grant Read on it")], logs
    except TimeoutError:
        text = f"the newest records could not be read within {limit:g} s, so keys and lag are unknown; run check with a longer --timeout"
        return [Finding("warning", name, text) for name in topics], logs
    records = {
        name: [each for partition, found in newest.items() if partition.topic == name for each in found]
        for name in topics
    }
    return [finding for name in topics for finding in about_keys(name, records[name])], logs


def about_keys(name: str, records: Iterable[ConsumerRecord]) -> Iterator[Finding]:
    """Records without a key among the newest ones of an input topic."""
    keys = [record.key for record in records]
    without = sum(key is None for key in keys)
    if without:
        yield Finding(
            "warning",
            name,
            f"{without:,} of the newest {len(keys):,} records have no key: events of one checkout or subscription may be in several partitions, and "
            "are then counted as several; let the producer set the record's key: the customer id, else the anonymous id, else "
            "the checkout or subscription id; the same for all events of one checkout or subscription. "
            f"{variable('require_key')}=true refuses records without a key",
        )
