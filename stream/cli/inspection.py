"""The whole application at one look, from Redis and Kafka, and what somebody should do about it.

Rules: only reads. A server that cannot be asked is a finding, not an error: the rest is shown all the same, and what it alone knows is None, not zero. What
is listed in `to_do` is wrong now and stays wrong until a person acts, causes before their effects; everything else is shown for information.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code

from stream.core.config import MICROSECONDS
from stream.core.counting.summary import decode_summary
from stream.core.shard.write_set import ShardId
from stream.kafka.metadata import MetadataClient
from stream.kafka.security import CLIENT_ID, client_options, refusal
from stream.kafka.topic_watch import describe
from stream.observe.state import (
    SILENT_AFTER,
    JourneyState,
    LastHour,
    ShardView,
    is_up,
    journey_states,
    last_hour,
    shard_views,
)
from stream.settings import Settings
from stream.tables.interface import (
    Application,
    IncompatibleStateError,
    Owner,
    ServerMemory,
    TablesRefusedError,
    TablesUnavailableError,
)
from stream.tables.redis import connect

FULL: Final = 0.8
"""Share of Redis' memory limit from which on somebody should act."""


NOTICED: Final = 0.01
"""Share of the records of the last hour that are rejected, or have no key, from which on somebody should act."""


_SILENCE: Final = frozenset({"silent", "unclaimed"})
"""Reasons that say that nothing happens, but not why."""
_CONSUMERS: Final = "consumer"
"""The protocol type of a group of consumers; Kafka Connect and others have one of their own."""
_RECENT: Final = 600 * MICROSECONDS
"""Age of a commit up to which somebody reads that topic now."""


class Shard(msgspec.Struct, frozen=True):
    """One shard. Ages in seconds."""

    topic: str
    partition: int
    state: str
    """working, silent or halted."""
    reason: str | None
    """Of a halted shard."""
    text: str | None
    age: float | None
    """Since its last commit or tick; None if there was none."""
    oldest_unapplied: float
    """Age of the oldest record that was not applied then; 0 if all were."""
    lag: int | None
    """Records in Kafka that are not applied; None if Kafka cannot be asked."""


class Memory(msgspec.Struct, frozen=True):
    """Memory of Redis, bytes."""

    used: int
    limit: int | None
    """None: no limit."""


class Inspection(msgspec.Struct, frozen=True):
    """What was found."""

    app_id: str
    to_do: Sequence[str]
    """What somebody should do now; empty if all is well."""
    journeys: Mapping[str, JourneyState] | None
    """This, and all else that Redis holds, is None if `redis_problem` is set."""
    workers: Sequence[str] | None
    """Hosts of the workers in the consumer group; None if Kafka does not say."""
    others: Sequence[str] | None
    """Members of the consumer group that are no workers: client id and host; None if Kafka does not say."""
    shards: Sequence[Shard] | None
    lag: int | None
    """Sum over all shards."""
    dead_letters: Mapping[str, int] | None
    """Of the last hour, by reason."""
    without_key: int | None
    """Records of the last hour that were applied although they have no key."""
    redis: Memory | None
    """None also if Redis does not say."""
    redis_problem: str | None = None
    """Why Redis says nothing, in a few words."""
    kafka_problem: str | None = None
    """Why Kafka says nothing, in a few words."""


class _Tables(msgspec.Struct, frozen=True):
    application: Application
    owners: Mapping[ShardId, Owner]
    memory: ServerMemory | None
    now: int


class Members(msgspec.Struct, frozen=True):
    """Who is in the consumer group."""

    workers: Sequence[str]
    """Their hosts."""
    others: Sequence[str]
    """Client ids and hosts."""


class _Kafka(msgspec.Struct, frozen=True):
    lags: Mapping[ShardId, int]
    members: Members | None
    problems: Sequence[str]


async def inspect(settings: Settings, limit: float) -> Inspection:
    """Look at everything; each server has `limit` seconds to answer. Never raises for a server that does not."""
    to_do: list[str] = []
    tables, kafka = None, None
    redis_problem, kafka_problem = None, None
    try:
        async with asyncio.timeout(limit):
            tables = await _ask_redis(settings)
    except TimeoutError:
        redis_problem = "Redis does not answer"
        to_do.append(f"Redis does not answer within {limit:g} s: there are no figures. Run `upsell-stream check`")
    except (TablesUnavailableError, IncompatibleStateError, OSError) as error:
        redis_problem = _redis_problem(error)
        to_do.append(f"{error}: there are no figures. Run `upsell-stream check`")
    try:
        async with asyncio.timeout(limit):
            kafka = await _ask_kafka(settings, {} if tables is None else tables.owners)
            to_do += kafka.problems
    except KafkaConnectionError:
        kafka_problem = "Kafka does not answer"
        to_do.append(f"cannot connect to Kafka: {await refusal(settings)}")
    except TimeoutError:
        kafka_problem = "Kafka does not answer"
        to_do.append(f"Kafka does not answer within {limit:g} s. Run `upsell-stream check`")
    except (KafkaError, OSError) as error:
        kafka_problem = "Kafka refuses a request"
        to_do.append(f"Kafka refuses a request: {str(error) or type(error).__name__}. Run `upsell-stream check`")
    found = _inspection(settings, tables, kafka, to_do)
    return msgspec.structs.replace(found, redis_problem=redis_problem, kafka_problem=kafka_problem)


def _redis_problem(error: Exception) -> str:
    if isinstance(error, TablesRefusedError):
        return "Redis refuses the request"
    if isinstance(error, IncompatibleStateError):
        return "what Redis holds cannot be used"
    return "Redis does not answer"


def _inspection(settings: Settings, tables: _Tables | None, kafka: _Kafka | None, to_do: list[str]) -> Inspection:
    members = None if kafka is None else kafka.members
    workers, others = (None, None) if members is None else (members.workers, members.others)
    if members is not None:
        to_do += about_members(members, settings.app_id)
    if tables is None:
        return Inspection(settings.app_id, to_do, None, workers, others, None, None, None, None, None)
    application, now = tables.application, tables.now
    summaries = [decode_summary(shard.summary, shard.recent) for shard in application.shards]
    views = shard_views(application, summaries, now)
    journeys = journey_states(views, application.topics, now, settings.behind, tuple(settings.input_topics.values()))
    to_do += about_topics(application, now, settings)
    memory = None if tables.memory is None else Memory(tables.memory.used, tables.memory.limit or None)
    if memory is not None and memory.limit is not None and memory.used > FULL * memory.limit:
        to_do.append(
            f"Redis has used {memory.used / memory.limit:.0%} of its memory; at 100 % nothing is applied. Raise maxmemory, or see "
            "docs/runbooks/UpsellRedisFull.md"
        )
    hour = last_hour(application, now)
    causes, silences = about_journeys(journeys, workers)
    to_do += [*causes, *_about_records(hour), *silences]
    lags = {} if kafka is None else kafka.lags
    shards = [_shard(view, lags.get(view.shard)) for view in views]
    lag = sum(lags.values()) if lags else None
    return Inspection(
        settings.app_id, to_do, journeys, workers, others, shards, lag, hour.rejected, hour.without_key, memory
    )


def about_members(members: Members, app_id: str) -> Iterator[str]:
    """Members of the group that are no workers, and a group without members."""
    if members.others:
        yield (
            f"another program is a member of the consumer group {app_id!r} ({_places(members.others)}): it takes partitions away, or keeps workers out. "
            "Stop it, or give the application another UPSELL_APP_ID"
        )
    elif not members.workers:
        yield "no worker is a member of the consumer group: start one"


def about_topics(application: Application, now: int, settings: Settings) -> Iterator[str]:
    """Settings that name other topics than those that the application reads now."""
    named = [topic for topic in settings.input_topics if topic not in application.topics]
    read = sorted(
        {shard.shard.topic for shard in application.shards if now - shard.committed_at <= _RECENT}
        - settings.input_topics.keys()
    )
    if named and read:
        yield (
            f"these settings name topic {', '.join(named)}, but the application {settings.app_id!r} reads {', '.join(read)}: another application uses "
            "the same UPSELL_APP_ID, or the topic was renamed (docs/how-to/operations.md)"
        )


def about_journeys(journeys: Mapping[str, JourneyState], workers: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Reasons with a cause of their own, and mere silence. `workers` as in `Inspection`."""
    causes: list[str] = []
    silences: list[str] = []
    for journey, state in journeys.items():
        for reason in () if is_up(state) else state.reasons:
            quiet = reason.reason in _SILENCE
            # The first clause says what is seen. The others suppose that no worker runs.
            seen = re.split("[:;,]", reason.text, maxsplit=1)[0]
            text = f"{seen}, although {_running(workers)}" if quiet and workers else reason.text
            (silences if quiet else causes).append(f"{journey} is {state.state}: {text} ({_places(reason.shards)})")
    return causes, silences


def _running(workers: Sequence[str]) -> str:
    hosts = sorted({host for host in workers if host})
    run = "1 worker runs" if len(workers) == 1 else f"{len(workers)} workers run"
    where = f" ({_places(hosts)})" if hosts else ""
    return f"{run}{where}: /readyz of each says why"


def _about_records(hour: LastHour) -> Iterator[str]:
    rejected, records = hour.rejections, hour.rejections + hour.accepted
    if rejected > NOTICED * records:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in hour.rejected.items())
        which = "all" if rejected == records else f"{rejected:,} of {records:,}"
        yield (
            f"{which} records of the last hour were rejected ({reasons}): `upsell-stream dead-letters` shows why. If the cause was on this "
            "side and is fixed, `upsell-stream redrive` sends them again; invalid records stay invalid"
        )
    if hour.without_key > NOTICED * records:
        yield (
            f"{hour.without_key:,} of {records:,} records of the last hour have no key: events of one checkout may be in several partitions, and count "
            "as several. Let the producer set a key (docs/reference/events.md, 'Keys and partitions')"
        )


def _shard(view: ShardView, lag: int | None) -> Shard:
    silent = view.age is None or view.age > SILENT_AFTER
    return Shard(
        view.shard.topic,
        view.shard.partition,
        "halted" if view.halt is not None else "silent" if silent else "working",
        None if view.halt is None else view.halt.reason,
        None if view.halt is None else view.halt.text,
        None if view.age is None else round(view.age / MICROSECONDS, 1),
        round(view.unapplied / MICROSECONDS, 1),
        lag,
    )


def _places(shards: Sequence[str]) -> str:
    return ", ".join(shards[:3]) + (f" and {len(shards) - 3} more" if len(shards) > 3 else "")


async def _ask_redis(settings: Settings) -> _Tables:
    tables = connect(settings)
    try:
        application = await tables.application()
        known = {
            ShardId(topic, number)
            for topic, stored in application.topics.items()
            for number in range(stored.partitions)
        }
        shards = sorted(known | {each.shard for each in application.shards} | application.halts.keys())
        owners = dict(zip(shards, await tables.owners(shards), strict=True)) if shards else {}
        return _Tables(application, owners, await tables.server_memory(), await tables.now())
    finally:
        await tables.close()


async def _ask_kafka(settings: Settings, owners: Mapping[ShardId, Owner]) -> _Kafka:
    options = client_options(settings)
    servers, topics = settings.kafka_bootstrap_servers, settings.input_topics
    client = MetadataClient(servers, CLIENT_ID, options)
    try:
        answer = await client.topics(list(topics))
    finally:
        await client.close()
    described = [describe(topic, topics[topic.name]) for topic in answer]
    present = [TopicPartition(topic.name, number) for topic in described for number in range(topic.partitions or 0)]
    problems = [topic.problem for topic in described if topic.problem is not None]
    lags: dict[ShardId, int] = {}
    if present:
        async with AIOKafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False, **options) as consumer:
            ends = await consumer.end_offsets(present)
            beginnings = await consumer.beginning_offsets(present)
        for partition in present:
            owner = owners.get(ShardId(*partition))
            start = owner.offset if owner is not None and owner.offset is not None else beginnings[partition]
            lags[ShardId(*partition)] = max(0, ends[partition] - start)
    return _Kafka(lags, await _members(settings), problems)


async def _members(settings: Settings) -> Members | None:
    """Who is in the consumer group; None if this Kafka or this user's rights do not allow to ask."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers, **client_options(settings))
    try:
        await admin.start()
        (answer,) = await admin.describe_consumer_groups([settings.app_id])
        error, _, _, protocol_type, _, members, *_ = answer.groups[0]
        if error:
            raise for_code(error)
        return members_of(protocol_type, [(client, str(host).lstrip("/")) for _, client, host, *_ in members])
    except (KafkaError, RuntimeError, IndexError, ValueError):
        return None
    finally:
        await admin.close()


def members_of(protocol_type: str, members: Sequence[tuple[str, str]]) -> Members:
    """Tell workers from other programs. `members`: client id and host of each.

    The broker of the demo answers with neither protocol type nor client ids: what names nothing accuses nobody.
    """
    consumers = protocol_type in {_CONSUMERS, ""}
    ours = [(client, host) for client, host in members if consumers and client in {CLIENT_ID, ""}]
    others = [member for member in members if member not in ours]
    return Members(
        sorted(host for _, host in ours),
        sorted(f"client id {client or 'unknown'}" + (f" at {host}" if host else "") for client, host in others),
    )
