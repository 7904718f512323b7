"""What `check` finds out about Redis: version, role, eviction, persistence, memory, and what is stored there of the application.

Rules: nothing is changed. Managed Redis servers often refuse or rename `INFO`, `CONFIG` and others: what could not be looked at is a warning. `CONFIG` is
not used.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

from aiokafka.errors import KafkaError

from stream.cli.findings import Finding, Level
from stream.cli.kafka_findings import LogRange
from stream.cli.recount import ends_of
from stream.core.counting.summary import decode_summary
from stream.core.shard.write_set import ShardId
from stream.observe.state import State, journey_states, shard_views
from stream.settings import Settings, variable
from stream.tables.interface import (
    Application,
    IncompatibleStateError,
    KnownTopic,
    Owner,
    TablesRefusedError,
    TablesUnavailableError,
)
from stream.tables.redis import RedisTables, connect

_OLDEST: Final = (7, 0)
_FULL: Final = 0.8
"""Share of the memory from which on `check` warns."""
_MIB: Final = 1024 * 1024
_CONSOLE: Final = "(at a managed Redis: in the provider's settings)"


async def redis_findings(settings: Settings, limit: float, logs: Mapping[ShardId, LogRange]) -> list[Finding]:
    """All findings about Redis, and about the application's state there. `logs`: the logs of the input topics; `limit`: seconds."""
    url = settings.redis_url
    where = f"{url.scheme}://{url.host}:{url.port}" if url.scheme != "unix" else str(url.path)
    hint = f"check that Redis is running and that {variable('redis_url')} is right"
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(limit):
            # The worker's own client: it accepts fewer options in the URL, and explains what Redis refuses.
            tables = connect(settings)
            try:
                async for finding in _findings(tables, settings, logs, limit):
                    findings.append(finding)  # noqa: PERF401 - what was found before an error is reported
            finally:
                await tables.close()
    except (IncompatibleStateError, TablesRefusedError) as error:
        findings.append(Finding("error", "Redis", str(error)))
    except TimeoutError:
        findings.append(Finding("error", "Redis", f"no answer from {where} within {limit:g} s; {hint}"))
    except (TablesUnavailableError, OSError) as error:
        findings.append(Finding("error", "Redis", f"cannot connect to {where}: {error}; {hint}"))
    return findings


async def known_topics(settings: Settings, limit: float) -> Mapping[str, KnownTopic] | None:
    """The input topics that the application has read; None if Redis does not say within `limit` seconds. `redis_findings` tells why."""
    try:
        async with asyncio.timeout(limit):
            tables = connect(settings)
            try:
                return (await tables.application()).topics
            finally:
                await tables.close()
    except (TimeoutError, IncompatibleStateError, TablesUnavailableError, OSError):
        return None


async def _findings(
    tables: RedisTables, settings: Settings, logs: Mapping[ShardId, LogRange], limit: float
) -> AsyncIterator[Finding]:
    now = await tables.now()
    try:
        info = await tables.info()
    except TablesRefusedError as refused:
        # A script as the worker sends them: older versions refuse its first line.
        await tables.load(ShardId("check", 0), [b"check"], [])
        yield Finding("ok", "Redis", "runs the scripts of a worker, so it is 7.0 or later")
        yield about_unknown(("role", "eviction", "persistence", "memory"), f"it refuses INFO: {refused.__cause__}")
        info = {}
    for finding in about_redis(info):
        yield finding
    application = await tables.application()
    for finding in about_state(application, now, settings):
        yield finding
    shards = list(logs)
    owners = dict(zip(shards, await tables.owners(shards), strict=True)) if shards else {}
    logs = await with_newer_ends(settings, logs, owners, limit)
    for finding in about_logs(logs, owners, application):
        yield finding


async def with_newer_ends(
    settings: Settings, logs: Mapping[ShardId, LogRange], owners: Mapping[ShardId, Owner], limit: float
) -> Mapping[ShardId, LogRange]:
    """The logs, with their ends read again where they lie before the stored offsets: records may have been written and applied meanwhile.

    An end that cannot be read again is taken to be the stored offset.
    """
    behind = {
        shard: log._replace(end=offset)
        for shard, log in logs.items()
        if (offset := owners[shard].offset) is not None and offset > log.end
    }
    if not behind:
        return logs
    try:
        async with asyncio.timeout(limit / 2):
            ends = await ends_of(settings, behind)
    except (TimeoutError, KafkaError):
        return {**logs, **behind}
    return {**logs, **{shard: log._replace(end=ends[shard]) for shard, log in behind.items()}}


def about_unknown(names: tuple[str, ...], reason: str) -> Finding:
    """What Redis does not say."""
    return Finding(
        "warning",
        "Redis",
        f"does not say: {', '.join(names)} ({reason}); grant this user +info, or look at them yourself {_CONSOLE}: it must be a primary with "
        "maxmemory-policy noeviction, and should have an append-only file and memory to spare",
    )


def about_redis(info: Mapping[str, Any]) -> Iterator[Finding]:
    """What the answer to `INFO` shows; empty if there is none. Some servers leave parts of it out."""
    version = str(info.get("valkey_version") or info.get("redis_version") or "")
    name = "Valkey" if "valkey_version" in info else "Redis"
    if version and tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _OLDEST:
        yield Finding(
            "error", "Redis", f"version {version} is too old; upgrade to Redis 7.0 or later, or Valkey 7.2 or later"
        )
    elif version:
        yield Finding("ok", "Redis", f"{name} {version}")
    if info.get("role", "master") != "master":
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
    elif policy is not None:
        yield Finding(
            "error",
            "Redis",
            f"deletes data when its memory is full (maxmemory-policy {policy}); CONFIG SET maxmemory-policy noeviction {_CONSOLE}",
        )
    append_only = info.get("aof_enabled")
    if append_only:
        yield Finding("ok", "Redis", "has an append-only file")
    elif append_only is not None:
        yield Finding(
            "warning",
            "Redis",
            "has no append-only file: a restart may lose all data, which is then rebuilt from Kafka; CONFIG SET appendonly yes "
            f"{_CONSOLE}",
        )
    yield from about_memory(info)
    expected = {
        "redis_version": "version",
        "role": "role",
        "maxmemory_policy": "eviction",
        "aof_enabled": "persistence",
    }
    missing = tuple(said for field, said in expected.items() if info and field not in info)
    if missing and not info.get("cluster_enabled"):
        yield about_unknown(missing, "its answer to INFO lacks them")


def about_memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Used memory against the limit, or against the machine's memory where there is no limit."""
    used, limit, machine = (info.get(name) for name in ("used_memory", "maxmemory", "total_system_memory"))
    if used is None:
        return
    most, name = (limit, "maxmemory") if limit else (machine, "its machine's memory")
    text = f"uses {used / _MIB:,.0f} MiB" + (f" of {most / _MIB:,.0f} MiB ({name})" if most else "")
    if most and used >= _FULL * most:
        yield Finding(
            "warning",
            "Redis",
            f"{text}: when it is full, nothing is applied until there is room; give it more memory, or shorten windows or retention",
        )
    else:
        yield Finding("ok", "Redis", text)


_LEVELS: Final[Mapping[str, Level]] = {"silent": "warning", "unclaimed": "warning", "behind": "warning"}
"""Reasons that no running worker, or a busy one, explains: warnings while a part of the figures is current. All others are halts."""


def about_state(application: Application, now: int, settings: Settings) -> Iterator[Finding]:
    """The state of the figures and why; halted shards are errors, and so is a journey that is stopped. `now` by Redis' clock."""
    if not application.shards and not application.topics and not application.halts:
        yield Finding("ok", "figures", f"no worker has run with app_id {settings.app_id} yet")
        return
    summaries = [decode_summary(shard.summary, shard.recent) for shard in application.shards]
    views = shard_views(application, summaries, now)
    journeys = list(settings.input_topics.values())
    states = journey_states(views, application.topics, now, settings.behind, journeys)
    for journey, found in states.items():
        if not found.reasons:
            yield Finding("ok", journey, _STATES.get(found.state, found.state))
        for reason in found.reasons:
            shards = ", ".join(reason.shards[:_SHOWN]) + (" …" if len(reason.shards) > _SHOWN else "")
            level = "error" if found.state == "stopped" else _LEVELS.get(reason.reason, "error")
            yield Finding(level, journey, f"figures are {found.state}: {reason.text} ({shards})")


_SHOWN: Final = 8
"""Shards that are named in one finding."""
_STATES: Final[Mapping[State, str]] = {"live": "figures are live", "empty": "nothing was applied yet"}


def about_logs(
    logs: Mapping[ShardId, LogRange], owners: Mapping[ShardId, Owner], application: Application
) -> Iterator[Finding]:
    """What the stored offsets and the logs show together: lag, and records that cannot be applied any more."""
    halted = application.halts
    for topic in dict.fromkeys(shard.topic for shard in logs):
        shards = [shard for shard in logs if shard.topic == topic]
        known = application.topics.get(topic)
        if known is not None and len(shards) > known.partitions:
            yield Finding(
                "error",
                topic,
                f"has {len(shards)} partitions, but the application reads {known.partitions}: the others wait, because keys may have moved; see "
                f"`upsell-stream accept-partitions {topic} {len(shards)}`",
            )
        lag = 0
        for shard in shards:
            (beginning, end), offset = logs[shard], owners[shard].offset
            lag += end - max(beginning, offset or 0) if offset is None or offset <= end else 0
            if offset is None or shard in halted:
                continue
            if offset < beginning:
                yield Finding(
                    "error",
                    topic,
                    f"partition {shard.partition}: {beginning - offset:,} records from offset {offset} on were deleted before they were applied, so "
                    "this shard will halt; make the topic's retention longer, and see 'A halted shard' in docs/how-to/operations.md",
                )
            elif offset > end:
                yield Finding(
                    "error",
                    topic,
                    f"partition {shard.partition}: the next record to apply is {offset}, but the log ends at {end}: the topic was created again or cut "
                    "off, so this shard will halt; see 'A halted shard' in docs/how-to/operations.md",
                )
        if known is not None:
            yield Finding("ok", topic, f"{lag:,} records are not applied yet")
