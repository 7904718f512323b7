"""The tables in Redis (7.0 or later) or Valkey.

Rules: a commit and a claim are one script each. The client never repeats a command by itself: the caller repeats it, with the same batch id or
nonce, which makes it safe. A call takes at most `redis_timeout`, including the connection. A call that is cancelled or times out closes its
connection, so no later call reads its reply. Scripts are sent as text (EVAL): the server caches them by content, and nothing has to be loaded again
after a restart.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from itertools import chain
from typing import Any, cast

import msgspec
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection, parse_url
from redis.asyncio.retry import Retry as RedisRetry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from stream.core.shard.state import LAYOUT
from stream.core.shard.write_set import ShardId, Stored, StoredHistory
from stream.settings import Settings
from stream.tables import packing
from stream.tables.interface import (
    EXPIRY_PARTS,
    LOADED,
    Application,
    Claim,
    Commit,
    CommitResult,
    Halt,
    IncompatibleStateError,
    KnownTopic,
    Loaded,
    Owner,
    ServerMemory,
    ShardHealth,
    ShardSummary,
    Tables,
    TablesRefusedError,
    TablesUnavailableError,
    TooLargeError,
    UnavailableReason,
)
from stream.tables.keys import Keys, ShardKeys, member, shard_of

_URL_OPTIONS = {"connection_class", "host", "port", "path", "db", "username", "password"}
_MAX_CONNECTIONS = 10_000
"""One for each call in flight; a worker has at most a few calls for each of its shards."""
_REASONS: Mapping[str, UnavailableReason] = {
    "OOM": "full",
    "MISCONF": "persistence",
    "NOREPLICAS": "persistence",
    "READONLY": "readonly",
    "BUSY": "busy",
    "LOADING": "loading",
    "ASK": "cluster",
    "CLUSTERDOWN": "cluster",
    "MASTERDOWN": "cluster",
    "TRYAGAIN": "cluster",
}
"""First word of an error reply -> why to wait. An operator must look at any other error reply."""
_ELSEWHERE = {"connection", "timeout", "readonly"}
"""Reasons after which the primary may be another machine: open connections are closed."""

_DENIED = re.compile("ACL failure in script|user executing the script can't")
_LINE = re.compile(r"@user_script:(\d+)")
_CALL = re.compile(rb"redis\.call\('(\w+)'")
CLUSTER = "it is a Redis Cluster, which is not supported; set redis_url to a Redis without cluster mode"
_CERTIFICATES: Mapping[str, str] = {
    "CERTIFICATE_VERIFY_FAILED": "set redis_ca_file to the certificates of the authority that signed Redis' (PEM), and use the host name in redis_url "
    "that it was issued for",
    "CERTIFICATE_REQUIRED": "Redis requires a client certificate: set redis_cert_file and redis_key_file",
    "ALERT_UNKNOWN_CA": "Redis does not trust the signer of the client certificate: check redis_cert_file",
    "ALERT_CERTIFICATE_EXPIRED": "the client certificate has expired: renew redis_cert_file",
}
"""Part of an error of TLS -> what to do."""
_UNAUTHENTICATED = "unauthenticated"
"""In what Redis replies instead of `NOAUTH` to a command of more than ten words, when its users were changed while the worker runs."""
_CLOSED = re.compile("reset by peer|closed by server|Broken pipe")
"""Without a certificate that it trusts Redis closes the connection; what it says about it is often lost."""

_counts = msgspec.msgpack.Decoder(dict[str, tuple[int, ...]]).decode
_halt = msgspec.msgpack.Decoder(Halt).decode
_topic = msgspec.msgpack.Decoder(KnownTopic).decode
_encode = msgspec.msgpack.Encoder().encode


class _Health(msgspec.Struct, frozen=True, array_like=True):
    """A shard's health as it is stored. A version before this one commits without it: then the stored one is of an older commit, and is not used."""

    at: int
    """Time of the commit."""
    health: ShardHealth


_health = msgspec.msgpack.Decoder(_Health).decode


def connect(settings: Settings) -> "RedisTables":
    """The tables of the application in the Redis of the settings. Connects at the first call.

    Raises:
        IncompatibleStateError: the URL has an option that is not supported, or a file that the settings name cannot be used.
    """
    options = cast("dict[str, Any]", parse_url(str(settings.redis_url)))
    if unknown := sorted(options.keys() - _URL_OPTIONS):
        raise IncompatibleStateError(
            f"redis_url: {', '.join(unknown)} is not supported; give only user, host, port and database"
        )
    try:
        password = settings.password("redis_password")
    except OSError as error:
        raise IncompatibleStateError(f"redis_password_file: {error}") from error
    if password is not None:
        options["password"] = password
    if options.get("connection_class") is SSLConnection:
        options |= _tls(settings)
    pool = _Pool(
        **options,
        max_connections=_MAX_CONNECTIONS,
        protocol=2,
        retry=RedisRetry(NoBackoff(), 0),
        # `RedisTables` has a deadline for the whole call instead.
        socket_timeout=None,
        socket_connect_timeout=None,
        driver_info=None,
        # With them the pool would not check for unread replies before it hands out a connection.
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    return RedisTables(pool, Keys(settings.redis_prefix, settings.app_id), settings.redis_timeout)


def _tls(settings: Settings) -> dict[str, str]:
    """The files for TLS, after a look whether they can be used: the client reads them for each connection, so a renewed certificate is used."""
    options = {}
    try:
        context = ssl.create_default_context(cafile=settings.redis_ca_file)
    except OSError as error:
        raise IncompatibleStateError(
            f"redis_ca_file: {settings.redis_ca_file} cannot be used; it must have certificates in PEM format ({error})"
        ) from error
    if settings.redis_ca_file is not None:
        options["ssl_ca_certs"] = str(settings.redis_ca_file)
    if (certificate := settings.redis_cert_file) is not None:
        key = settings.redis_key_file or certificate
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise IncompatibleStateError(
                f"redis_cert_file, redis_key_file: {certificate} and {key} cannot be used; there must be a certificate and its key in PEM "
                f"format, without a passphrase ({error})"
            ) from error
        options["ssl_certfile"] = str(certificate)
        options["ssl_keyfile"] = str(key)
    return options


class RedisTables(Tables):
    """The tables of one application. Many tasks of one event loop may use them at once."""

    def __init__(self, pool: "_Pool", keys: Keys, timeout: float) -> None:
        """`timeout` in seconds. Use `connect` instead, which takes the settings."""
        self._pool = pool
        self._client = Redis(connection_pool=pool)
        self._keys = keys
        self._timeout = timeout
        self.loaded = LOADED
        self._last: dict[ShardId, tuple[bytes, bytes]] = {}
        """Nonce of each claim made here, and the newest batch that is known to be stored with it (b"" for none). Each commit names the batch before it,
        so a lost tick is noticed too, though the offset is the same without it."""
        self._upgraded: set[ShardId] = set()
        """Shards without keys of layout 1, as far as is known. Of the others, a record that is not in its bucket is looked for where layout 1 had it, and a
        record that is written is deleted there."""
        self._scripts = {
            name: resources.files(__package__).joinpath(f"{name}.lua").read_bytes()
            for name in ("register_labels", "claim", "commit", "load", "halt", "register_topic", "history")
        }

    async def now(self) -> int:
        """The server's clock, microseconds since the epoch."""
        seconds, microseconds = await self._call(b"TIME")
        return int(seconds) * 1_000_000 + int(microseconds)

    async def claim(self, shard: ShardId, nonce: bytes) -> Claim:
        """Claim a shard; before that, enter its name in the application's set of shards, which is in another slot."""
        keys = self._keys.shard(shard)
        await self._call(b"SADD", self._keys.shards, member(shard))
        of_layout_1 = [table.whole for table in keys.tables]
        layout, *stored = await self._script(
            "claim", [keys.shard, keys.panes, keys.view, *of_layout_1], [nonce, b"%d" % LAYOUT]
        )
        _check_layout(shard, layout)
        epoch, offset, batch, source, state, panes, recent, left, health = stored
        self._note_left(shard, left)
        self._last[shard] = (nonce, batch or b"")
        return Claim(
            nonce=nonce,
            epoch=int(epoch),
            offset=_int(offset),
            stored=Stored(state, dict(zip(panes[::2], panes[1::2], strict=True)), recent),
            source=source,
            health=_health(health).health if health else ShardHealth(),
        )

    async def load(self, shard: ShardId, entities: Sequence[bytes], customers: Sequence[bytes]) -> Loaded:
        """Read records by key and the owner, at one moment, until the records are `loaded` bytes."""
        if not entities and not customers:
            return Loaded([], [], *await self.owners([shard]))
        keys = self._keys.shard(shard)
        names = [keys.shard, keys.entities.whole, keys.customers.whole]
        positions: list[int] = []
        for table, fields in ((keys.entities, entities), (keys.customers, customers)):
            numbers = table.numbers(fields)
            places: dict[int, int] = {}
            for number in dict.fromkeys(numbers):
                names.append(table.key(number))
                places[number] = len(names)
            positions += map(places.__getitem__, numbers)
        asked = packing.pack_fields(positions, [*entities, *customers])
        of_layout_1 = b"" if shard in self._upgraded else b"%d" % len(entities)
        lengths, packed, *owner = await self._script("load", names, [asked, b"%d" % self.loaded, of_layout_1])
        values = packing.unpack(lengths, packed)
        return Loaded(values[: len(entities)], values[len(entities) :], _owner(*owner))

    async def load_history(
        self, shard: ShardId, fields: Mapping[str, Sequence[bytes]]
    ) -> dict[str, list[bytes | None]]:
        """Read fields of records of the history."""
        keys = self._keys.shard(shard)
        answers = await self._calls((b"HMGET", keys.history(name), *own) for name, own in fields.items())
        return dict(zip(fields, answers, strict=True))

    async def history(self, shards: Sequence[ShardId], names: Sequence[str], room: int) -> list[StoredHistory]:
        """Read records of the history, one shard after the other."""
        found = []
        for shard in shards:
            keys = self._keys.shard(shard)
            records = [keys.history(name) for name in names]
            recent, state, packed = await self._script("history", [keys.view, keys.shard, *records], [b"%d" % room])
            if packed is None:
                raise TooLargeError
            own: dict[str, dict[bytes, bytes]] = {}
            for name, lengths, joined in zip(names, packed[::2], packed[1::2], strict=True):
                room -= len(joined)
                flat = [value or b"" for value in packing.unpack(lengths, joined)]
                if flat:
                    own[name] = dict(zip(flat[::2], flat[1::2], strict=True))
            found.append(StoredHistory(shard, recent, state, own))
        return found

    async def expired(
        self, shard: ShardId, part: int, entities_before: int, customers_before: int, limit: int
    ) -> tuple[list[bytes], list[bytes]]:
        """Keys that have expired, at most `limit` of each sort, of one part of the buckets."""
        keys = self._keys.shard(shard)
        commands: list[tuple[bytes, ...]] = []
        for index, before in ((keys.entity_expiry, entities_before), (keys.customer_expiry, customers_before)):
            buckets = range(part, index.size, EXPIRY_PARTS)
            names = [(index.key(number), limit // len(buckets) + 1) for number in buckets]
            if shard not in self._upgraded:
                names.append((index.whole, limit))
            commands += [
                (b"ZRANGEBYSCORE", name, b"-inf", b"(%d" % before, b"LIMIT", b"0", b"%d" % most) for name, most in names
            ]
        half = len(commands) // 2
        if shard not in self._upgraded:
            commands.append((b"EXISTS", *(table.whole for table in keys.tables)))
        answers = await self._calls(commands)
        if len(answers) > 2 * half:
            self._note_left(shard, answers.pop())
        return list(chain.from_iterable(answers[:half]))[:limit], list(chain.from_iterable(answers[half:]))[:limit]

    async def commit(self, commit: Commit) -> CommitResult:
        """Write, or refuse."""
        claimed, last = self._last.get(commit.shard, (b"", b""))
        preceding = [last] if claimed == commit.nonce else []
        upgraded = commit.shard in self._upgraded
        keys, packed = _writes(self._keys.shard(commit.shard), commit, upgraded=upgraded)
        changes = commit.changes
        answer = await self._script(
            "commit",
            keys,
            [
                commit.nonce,
                b"%d" % commit.epoch,
                commit.batch,
                _text(commit.start),
                _text(commit.end),
                commit.source,
                changes.state or b"",
                changes.summary or b"",
                b"%d" % commit.now,
                b"%d" % LAYOUT,
                packed,
                _text(changes.trim),
                changes.recent,
                _encode(_Health(commit.now, commit.health)),
                *preceding,
            ],
        )
        committed = CommitResult(answer.decode())
        if preceding and committed in (CommitResult.APPLIED, CommitResult.REPEATED):
            self._last[commit.shard] = (commit.nonce, commit.batch)
        return committed

    async def owners(self, shards: Sequence[ShardId]) -> list[Owner]:
        """Owner and offset of each shard."""
        stored = await self._calls(
            (b"HMGET", self._keys.shard(shard).shard, b"nonce", b"epoch", b"offset") for shard in shards
        )
        return [_owner(*fields) for fields in stored]

    async def register_labels(
        self, labels: Iterable[tuple[str, str]], bounds: Mapping[str, int]
    ) -> dict[str, list[str]]:
        """Register labels. Without labels it only reads, which also works while Redis is full."""
        arguments = [text.encode() for label in labels for text in label]
        if arguments:
            bound = [text for name, values in bounds.items() for text in (name.encode(), b"%d" % values)]
            entries = await self._script(
                "register_labels", [self._keys.labels], [b"%d" % len(bounds), *bound, *arguments]
            )
        else:
            entries = await self._call(b"LRANGE", self._keys.labels, b"0", b"-1")
        registry: dict[str, list[str]] = {}
        for entry in entries:
            name, _, value = entry.decode().partition("=")
            registry.setdefault(name, []).append(value)
        return registry

    async def summaries(self) -> list[ShardSummary]:
        """The newest summary of each shard that has one, sorted by shard."""
        return (await self.application()).shards

    async def application(self) -> Application:
        """Summaries, halts and topics."""
        members, topics = await self._calls([(b"SMEMBERS", self._keys.shards), (b"HGETALL", self._keys.topics)])
        shards = sorted(shard_of(name) for name in members)
        fields = (b"layout", b"summary", b"recent", b"committed_at", b"counts", b"health", b"halt")
        views = await self._calls((b"HMGET", self._keys.shard(shard).view, *fields) for shard in shards)
        summaries: list[ShardSummary] = []
        halts: dict[ShardId, Halt] = {}
        for shard, (layout, summary, recent, committed_at, counts, health, halt) in zip(shards, views, strict=True):
            if halt is not None:
                halts[shard] = _halt(halt)
            if layout is not None:
                _check_layout(shard, layout)
                customers = {name.encode(): members for name, members in _counts(counts).items()} if counts else {}
                at = int(committed_at)
                reported = _health(health) if health else None
                current = reported.health if reported is not None and reported.at == at else ShardHealth()
                summaries.append(ShardSummary(shard, summary, recent, at, customers, current))
        known = zip(topics[::2], topics[1::2], strict=True)
        return Application(summaries, halts, {name.decode(): _topic(stored) for name, stored in known})

    async def halt(self, shard: ShardId, nonce: bytes | None, halt: Halt) -> bool:
        """Store why a shard is halted."""
        await self._call(b"SADD", self._keys.shards, member(shard))
        keys = self._keys.shard(shard)
        return bool(await self._script("halt", [keys.shard, keys.view], [nonce or b"", _encode(halt)]))

    async def register_topic(self, topic: str, journey: str, partitions: int, *, replace: bool = False) -> KnownTopic:
        """Store an input topic's number of partitions."""
        packed = _encode(KnownTopic(journey, partitions, await self.now()))
        arguments = [topic.encode(), packed, b"1" if replace else b""]
        return _topic(await self._script("register_topic", [self._keys.topics], arguments))

    async def retire(self, topic: str) -> int:
        """Take a topic and its shards out of `application`."""
        names = [name for name in await self._call(b"SMEMBERS", self._keys.shards) if shard_of(name).topic == topic]
        await self._call(b"HDEL", self._keys.topics, topic.encode())
        if names:
            await self._call(b"SREM", self._keys.shards, *names)
        return len(names)

    async def server_memory(self) -> ServerMemory | None:
        """Used memory and its limit, from `INFO`."""
        try:
            info = await self.info("memory")
        except TablesRefusedError:
            return None
        return ServerMemory(info["used_memory"], info.get("maxmemory", 0)) if "used_memory" in info else None

    async def is_cluster(self) -> bool:
        """Whether the server is a node of a Redis Cluster, which these tables cannot use. False where the server does not say."""
        try:
            answer = await self._call(b"HELLO")
        except TablesRefusedError:
            return False
        return dict(zip(answer[::2], answer[1::2], strict=True)).get(b"mode") == b"cluster"

    async def info(self, section: str | None = None) -> dict[str, Any]:
        """The server's answer to `INFO`, or one section of it."""
        async with self._answering():
            answer: dict[str, Any] = await self._client.info(section)
            return answer

    async def close(self) -> None:
        """Close all connections; calls in flight fail."""
        await self._pool.aclose()

    def _note_left(self, shard: ShardId, keys: int) -> None:
        """Note how many keys of layout 1 a shard has."""
        if keys:
            self._upgraded.discard(shard)
        else:
            self._upgraded.add(shard)

    async def _script(self, name: str, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
        script = self._scripts[name]
        try:
            return await self._call(b"EVAL", script, b"%d" % len(keys), *keys, *arguments)
        except TablesRefusedError as error:
            raise _named(error, script) from error

    async def _call(self, *command: bytes) -> Any:
        async with self._answering():
            return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]  # redis-py's gap

    async def _calls(self, commands: Iterable[tuple[bytes, ...]]) -> list[Any]:
        """Send commands in one pipeline; returns their answers in the same order."""
        async with self._answering():
            pipeline = self._client.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            # redis-py would add the command to the text of the error, which `_explained` reads.
            answers = await pipeline.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            return answers

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """One deadline for everything inside, and the interface's errors for those of redis-py."""
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except (TimeoutError, RedisError) as error:
            explained = _explained(error, tls=self._pool.tls)
            if isinstance(explained, TablesUnavailableError) and explained.reason in _ELSEWHERE:
                await self._pool.drop_idle()
            raise explained from error


class _Pool(ConnectionPool):
    """Connections that can be dropped."""

    @property
    def tls(self) -> bool:
        """Whether the connections use TLS."""
        return issubclass(self.connection_class, SSLConnection)

    async def drop_idle(self) -> None:
        """Close connections that are not in use; they connect again when needed. Not waiting for the server keeps other tasks from using one meanwhile."""
        connections: list[AbstractConnection] = list(self._available_connections)
        for connection in connections:
            await connection.disconnect(nowait=True)


def _writes(shard: ShardKeys, commit: Commit, *, upgraded: bool) -> tuple[list[bytes], bytes]:
    """The script's keys, and its packed argument. What is written is deleted where layout 1 had it, unless the shard is `upgraded`."""
    changes = commit.changes
    writes = packing.Writes(shard.shard, shard.view)
    writes.hash(shard.panes, changes.panes)
    writes.hash(shard.entities, changes.entities)
    writes.hash(shard.customers, changes.customers)
    writes.scores(shard.entity_expiry, changes.entity_expiry)
    writes.scores(shard.customer_expiry, changes.customer_expiry)
    if not upgraded:
        writes.delete(b"HDEL", shard.entities.whole, changes.entities)
        writes.delete(b"HDEL", shard.customers.whole, changes.customers)
        writes.delete(b"ZREM", shard.entity_expiry.whole, changes.entity_expiry)
        writes.delete(b"ZREM", shard.customer_expiry.whole, changes.customer_expiry)
    for name, scores in changes.scores.items():
        writes.scores(shard.set(name), scores)
    counted = [
        packing.array([packing.integer(writes.position(shard.set(name))), packing.raw(name)])
        for name in changes.counted
    ]
    bounds = [packing.raws([b"%d" % after, b"%d" % until]) for after, until in changes.bounds]
    for record, fields in changes.history.items():
        writes.hash(shard.history(record), fields)
    dropped = packing.integers([writes.position(shard.history(name)) for name in changes.dropped])
    packed = packing.array([writes.pack(), packing.array(counted), packing.array(bounds), dropped])
    return writes.keys, packed


def _check_layout(shard: ShardId, layout: bytes) -> None:
    if int(layout) > LAYOUT:
        raise IncompatibleStateError(
            f"{shard.topic} partition {shard.partition} was stored by a newer upsell-stream (layout {int(layout)}, this version reads "
            f"up to {LAYOUT}): upgrade this worker, or set another app_id, which starts without state"
        )


def _explained(error: TimeoutError | RedisError, *, tls: bool = False) -> Exception:
    """The interface's error for one of redis-py; an error that is a defect of this module is returned unchanged."""
    if isinstance(error, TimeoutError):
        return TablesUnavailableError("timeout", "Redis did not answer within redis_timeout")
    code = error.status_code or str(error).partition(" ")[0]
    if isinstance(error, NoPermissionError) or _DENIED.search(str(error)):
        return TablesRefusedError(
            f"{error}: grant this user what is missing on the keys that start with redis_prefix; docs/how-to/security.md has the whole list"
        )
    if _UNAUTHENTICATED in str(error):
        code = "NOAUTH"
    if code == "NOAUTH" or isinstance(error, AuthenticationError | AuthorizationError):
        return TablesRefusedError(
            f"{code} {error}: set the user in redis_url and its password in redis_password or redis_password_file"
        )
    if code in _REASONS:
        return TablesUnavailableError(_REASONS[code], str(error))
    if isinstance(error, RedisTimeoutError):
        return TablesUnavailableError("timeout", str(error))
    if isinstance(error, RedisConnectionError | InvalidResponse):
        advice = next((f": {text}" for part, text in _CERTIFICATES.items() if part in str(error)), "")
        if not advice and tls and _CLOSED.search(str(error)):
            advice = "; if Redis requires a client certificate, set redis_cert_file and redis_key_file to one whose signer it trusts"
        return TablesUnavailableError("connection", f"{error}{advice}")
    if code == "MOVED":
        return TablesRefusedError(f"{error}: {CLUSTER}")
    if isinstance(error, ResponseError):
        return TablesRefusedError(
            f"{error}: it must be Redis 7.0 or later, or Valkey, with all commands under their own names, and no other application may "
            "write keys that start with redis_prefix"
        )
    return error


def _named(error: TablesRefusedError, script: bytes) -> TablesRefusedError:
    """The same error with the command that the user may not run; for a script Redis names only the line."""
    line = _LINE.search(str(error))
    if line is None or not _DENIED.search(str(error)):
        return error
    called = _CALL.search(script.splitlines()[int(line[1]) - 1])
    command = called[1].decode().lower() if called else "hset', 'hdel', 'zadd' or 'zrem"
    return TablesRefusedError(f"the user may not run '{command}': {error.detail}")


def _owner(nonce: bytes | None, epoch: bytes | None, offset: bytes | None) -> Owner:
    return Owner(nonce, int(epoch or 0), _int(offset))


def _int(text: bytes | None) -> int | None:
    return None if text is None else int(text)


def _text(number: int | None) -> bytes:
    return b"" if number is None else b"%d" % number
