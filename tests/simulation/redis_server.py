"""A Redis that runs the product's scripts, as they are, in Lua 5.1; and what can go wrong with it and on the way to it.

Rules: a command is applied whole and at once. A request that is on its way is applied even if nobody waits for it any more. Requests of one connection keep
their order. Every answer to a commit is judged by rules of its own (`Judge`), not only the figures in the end.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass
from struct import Struct
from typing import TYPE_CHECKING, Any

import msgspec
from lupa import lua51
from redis._parsers.base import BaseParser
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from simulation.world import MICROSECONDS, World

from stream.core.counting import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EPOCH = 1_767_607_200
"""When the world begins: 2026-01-05T10:00:00Z."""

_lua = lua51.LuaRuntime(encoding=None, unpack_returned_tuples=False)
_compiled: dict[bytes, Any] = {}
_running: list[Redis] = []
"""Whose script is running. Lua keeps what it is given for good, so it is given this and no server: one would keep its whole world."""


class _BrokenOffError(Exception):
    """The server ends in the midst of a script."""


def _compile(source: bytes) -> Any:
    script = _compiled.get(source)
    if script is None:
        first, _, body = source.partition(b"\n")
        assert first.startswith(b"#!lua")
        script = _compiled[source] = _lua.execute(b"return function(KEYS, ARGV, redis, cmsgpack)\n" + body + b"\nend")
    return script


def _from_lua(value: Any) -> Any:
    """A script's answer as a client sees it: false is nil, a table ends at its first nil."""
    if value is False:
        return None
    if lua51.lua_type(value) == "table":
        return [_from_lua(value[index]) for index in range(1, len(value) + 1)]
    return value


def _to_lua(value: Any) -> Any:
    if isinstance(value, list):
        return _lua.table_from([_to_lua(item) for item in value])
    return False if value is None else value


def _pack(value: Any) -> bytes:
    """`cmsgpack.pack` of what the scripts give it: a list of integers, or a map of names to lists of integers."""
    plain = {}
    for key, item in value.items():
        plain[key.decode() if isinstance(key, bytes) else key] = (
            [item[index] for index in range(1, len(item) + 1)] if lua51.lua_type(item) == "table" else item
        )
    if not any(isinstance(key, str) for key in plain):
        return msgspec.msgpack.encode([plain[index] for index in range(1, len(plain) + 1)])
    return msgspec.msgpack.encode(dict(sorted(plain.items())))


def _unpack(data: bytes) -> Any:
    """`cmsgpack.unpack` of the headers that `stream.tables.packing` writes, and of what `_pack` made."""
    if data[:1] != b"\xdd":
        return _lua.table_from(
            {name.encode(): _lua.table_from(counts) for name, counts in msgspec.msgpack.decode(data).items()}
        )
    at, end = 0, len(data)
    items: list[Any] = []
    open_arrays: list[tuple[list[Any], int]] = []
    """Arrays around the present one, and how long the present one will be."""
    length = 1
    while at < end:
        sort = data[at]
        at += 5
        if sort == _RAW:
            begin, at = at, at + _size(data, at - 4)[0]
            items.append(data[begin:at])
        elif sort == _INTEGER:
            items.append(_integer(data, at - 4)[0])
            at += 4
        else:
            assert sort == _ARRAY, sort
            open_arrays.append((items, length))
            items, length = [], _size(data, at - 4)[0]
        while len(items) == length and open_arrays:
            whole = _lua.table_from(items)
            items, length = open_arrays.pop()
            items.append(whole)
    return items[0]


_RAW, _INTEGER, _ARRAY = 0xDB, 0xD3, 0xDD
_size, _integer = Struct(">I").unpack_from, Struct(">q").unpack_from


def _least(text: bytes) -> float:
    """The least whole number in a range of scores, which all are whole."""
    return int(text[1:]) + 1 if text[:1] == b"(" else float(text)


def _most(text: bytes) -> float:
    return int(text[1:]) - 1 if text[:1] == b"(" else float(text)


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else b"%d" % value


class Store:
    """What is stored, and the commands that the product uses."""

    def __init__(self) -> None:
        self.keys: dict[bytes, Any] = {}

    def copy(self) -> dict[bytes, Any]:
        return {key: copy.copy(value) for key, value in self.keys.items()}

    def command(self, name: bytes, *arguments: Any) -> Any:
        return getattr(self, f"_{name.decode().lower()}")(*arguments)

    def _changed(self, key: bytes, value: Any) -> None:
        if value:
            self.keys[key] = value
        else:
            self.keys.pop(key, None)

    def _exists(self, *keys: bytes) -> int:
        return sum(key in self.keys for key in keys)

    def _sadd(self, key: bytes, member: bytes) -> int:
        self.keys.setdefault(key, {})[member] = None
        return 1

    def _smembers(self, key: bytes) -> list[bytes]:
        return list(self.keys.get(key, ()))

    def _rpush(self, key: bytes, value: bytes) -> int:
        self.keys[key] = [*self.keys.get(key, ()), value]
        return len(self.keys[key])

    def _lrange(self, key: bytes, *_: bytes) -> list[bytes]:
        return list(self.keys.get(key, ()))

    def _hget(self, key: bytes, field: bytes) -> bytes | None:
        return self.keys.get(key, {}).get(field)

    def _hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        stored = self.keys.get(key, {})
        return [stored.get(field) for field in fields]

    def _hgetall(self, key: bytes) -> list[bytes]:
        return [part for pair in self.keys.get(key, {}).items() for part in pair]

    def _hset(self, key: bytes, *pairs: Any) -> int:
        self.keys.setdefault(key, {}).update(zip(pairs[::2], map(_text, pairs[1::2]), strict=True))
        return len(pairs) // 2

    def _hdel(self, key: bytes, *fields: bytes) -> int:
        stored = self.keys.get(key, {})
        for field in fields:
            stored.pop(field, None)
        self._changed(key, stored)
        return len(fields)

    def _hinccells(self, key: bytes, *pairs: bytes) -> int:
        """No command of Redis: for the mutation that adds up panes in the server."""
        stored = self.keys.setdefault(key, {})
        for field, data in zip(pairs[::2], pairs[1::2], strict=True):
            pane = cells.decode(stored[field]) if field in stored else {}
            cells.merge(pane, cells.decode(data))
            stored[field] = cells.encode(pane)
        return len(pairs) // 2

    def _zadd(self, key: bytes, *pairs: Any) -> int:
        self.keys.setdefault(key, {}).update(zip(pairs[1::2], map(int, pairs[::2]), strict=True))
        return len(pairs) // 2

    _zrem = _hdel

    def _between(self, key: bytes, least: Any, most: Any) -> list[bytes]:
        stored = self.keys.get(key)
        if not stored:
            return []
        low, high = _least(least), _most(most)
        return [member for member, score in stored.items() if low <= score <= high]

    def _zcount(self, key: bytes, least: bytes, most: bytes) -> int:
        return len(self._between(key, least, most))

    def _zremrangebyscore(self, key: bytes, least: bytes, most: bytes) -> int:
        return self._hdel(key, *self._between(key, least, most))

    def _zrangebyscore(self, key: bytes, least: bytes, most: bytes, *limit: bytes) -> list[bytes]:
        stored = self.keys.get(key, {})
        return sorted(self._between(key, least, most), key=lambda member: (stored[member], member))[: int(limit[2])]


_WRITES = {b"SADD"}
_LUA_WRITES = {b"HSET", b"HDEL", b"ZADD", b"ZREM", b"ZREMRANGEBYSCORE", b"RPUSH", b"HINCCELLS"}


class Judge:
    """What must hold for every commit that is applied."""

    def on_commit(self, shard: bytes, start: int | None, end: int | None) -> None:
        """A commit was applied."""


class Redis:
    """The server."""

    def __init__(self, world: World, judge: Judge, haste: float = 1.0) -> None:
        """`haste`: how much faster than the world's its clock is; above 1 it jumps, every two of the world's seconds."""
        self.store = Store()
        self.skew = 0.0
        """Seconds by which its clock is wrong."""
        self.stands_at: int | None = None
        """Where its clock stands still, microseconds."""
        self.latest = 0
        """The latest time that it ever returned."""
        self.down = False
        self.frozen = False
        self.error: bytes | None = None
        """Its answer to every command that would write."""
        self.error_to_reads = False
        self.losing = 0.0
        """The share of answers that are lost once the command was applied."""
        self.slow = 0.0
        """Seconds that a request takes to arrive, at most."""
        self.commits = 0
        self._world = world
        self._judge = judge
        self._haste = haste
        self._sessions: dict[Session, None] = {}
        self._waiting: list[Callable[[], None]] = []
        self._calls = 0
        self._break_after: int | None = None

    def now(self) -> int:
        if self.stands_at is not None:
            return self.stands_at
        passed = self._world.now + self.skew - 1000
        if self._haste != 1.0:
            passed = passed // 2 * 2 * self._haste
        now = int((EPOCH + passed) * MICROSECONDS)
        self.latest = max(self.latest, now)
        return now

    def cut(self) -> None:
        """Break all connections."""
        for session in list(self._sessions):
            session.break_off()

    def thaw(self) -> None:
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        for act in waiting:
            act()

    def open(self, session: Session) -> None:
        self._sessions[session] = None

    def closed(self, session: Session) -> None:
        self._sessions.pop(session, None)

    def arrive(self, session: Session, commands: Sequence[Sequence[bytes]]) -> None:
        """A request is here."""
        if self.frozen:
            self._waiting.append(lambda: self.arrive(session, commands))
            return
        if self.down:
            session.break_off()
            return
        answers = [self.execute(*command) for command in commands]
        if self.losing and self._world.random.random() < self.losing:
            self._world.note(f"redis: answer lost: {commands[0][0].decode()}")
            session.break_off()
        else:
            session.answer(answers)

    def execute(self, name: bytes, *arguments: bytes) -> Any:
        source = arguments[0] if name == b"EVAL" else b""
        writes = (name == b"EVAL" and b"no-writes" not in source.partition(b"\n")[0]) or name in _WRITES
        if self.error is not None and (writes or self.error_to_reads):
            return BaseParser.parse_error(self.error.decode())
        if name == b"TIME":
            seconds, microseconds = divmod(self.now(), MICROSECONDS)
            return [b"%d" % seconds, b"%d" % microseconds]
        if name != b"EVAL":
            answer = self.store.command(name, *arguments)
            return list(answer) if isinstance(answer, list) else answer
        number = int(arguments[1])
        keys, values = arguments[2 : 2 + number], arguments[2 + number :]
        if b"-- Write one commit of one shard" in source:
            return self._commit(source, keys, values)
        return self._run(source, keys, values)

    def _run(self, source: bytes, keys: Sequence[bytes], values: Sequence[bytes]) -> Any:
        self._calls = 0
        script = _compile(source)
        _running.append(self)
        try:
            return _from_lua(script(_lua.table_from(list(keys)), _lua.table_from(list(values)), _API, _CMSGPACK))
        finally:
            _running.pop()

    def call(self, name: bytes, *arguments: Any) -> Any:
        """A command in a script."""
        if name in _LUA_WRITES:
            if self._calls == self._break_after:
                raise _BrokenOffError
            self._calls += 1
        return _to_lua(self.store.command(name, *arguments))

    def _commit(self, source: bytes, keys: Sequence[bytes], values: Sequence[bytes]) -> Any:
        nonce, _, batch, start, end = values[:5]
        owner, offset = self.store.command(b"HMGET", keys[0], b"nonce", b"offset")
        before = {key: copy.copy(self.store.keys.get(key)) for key in keys} if self.commits % 12 == 0 else None
        answer = self._run(source, keys, values)
        self._world.note(
            f"redis: commit {keys[0].decode()} {start.decode() or '-'}..{end.decode() or '-'} "
            f"of {nonce.hex()[:6]} batch {batch.hex()[:6]}: {answer.decode()}"
        )
        if answer != b"applied":
            return answer
        self.commits += 1
        where = keys[0].decode()
        if nonce != owner:
            self._world.problem(
                f"{where}: a commit of {nonce.hex()[:6]} was applied, but the owner is {owner and owner.hex()[:6]}"
            )
        if start != (offset or b""):
            self._world.problem(f"{where}: a commit from {start!r} was applied, but {offset!r} was stored")
        if before is not None:
            self._check_absolute(source, keys, values, before)
        self._judge.on_commit(keys[0], _int(start), _int(end))
        return answer

    def _check_absolute(
        self, source: bytes, keys: Sequence[bytes], values: Sequence[bytes], before: dict[bytes, Any]
    ) -> None:
        """A commit that was broken off anywhere and is sent again must be the same as one that was not."""
        applied = {key: copy.copy(self.store.keys.get(key)) for key in keys}
        for key in keys:
            self.store._changed(key, copy.copy(before[key]))
        calls = self._calls
        self._break_after = self._world.random.randrange(calls)
        try:
            self._run(source, keys, values)
        except _BrokenOffError:
            pass
        finally:
            self._break_after = None
        self._run(source, keys, values)
        if {key: self.store.keys.get(key) for key in keys} != applied:
            self._world.problem(
                f"{keys[0].decode()}: a commit that was broken off and sent again is not the same as one that was not"
            )


def _int(text: bytes) -> int | None:
    return int(text) if text else None


class Session:
    """One connection, as the server and the network see it."""

    def __init__(self, server: Redis, world: World, loop: asyncio.AbstractEventLoop) -> None:
        self.inbox: deque[Any] = deque()
        self.broken = False
        self.waiter: asyncio.Future[None] | None = None
        self._server, self._world, self._loop = server, world, loop
        self._last_arrival = 0.0
        server.open(self)

    def send(self, commands: Sequence[Sequence[bytes]]) -> None:
        world = self._world
        delay = world.random.uniform(0.0001, 0.002)
        if self._server.slow:
            delay += world.random.uniform(0.0, self._server.slow)
        arrival = max(world.now + delay, self._last_arrival)
        self._last_arrival = arrival
        world.after(arrival - world.now, lambda: self._server.arrive(self, commands))

    def answer(self, answers: Sequence[Any]) -> None:
        self._world.after(self._world.random.uniform(0.0001, 0.002), lambda: self._deliver(answers))

    def break_off(self) -> None:
        self._world.after(0.0005, lambda: self._deliver(None))

    def close(self) -> None:
        self.broken = True
        self._server.closed(self)

    def _deliver(self, answers: Sequence[Any] | None) -> None:
        if self._loop.is_closed():
            return
        if answers is None:
            self._server.closed(self)
        self._loop.call_soon(self._receive, answers)

    def _receive(self, answers: Sequence[Any] | None) -> None:
        if answers is None:
            self.broken = True
        else:
            self.inbox.extend(answers)
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Link:
    """The way of one worker to the server."""

    def __init__(self, world: World, server: Redis) -> None:
        self.is_cut = False
        self.world, self.server = world, server
        self._sessions: list[Session] = []

    def open(self) -> Session:
        session = Session(self.server, self.world, asyncio.get_running_loop())
        self._sessions.append(session)
        return session

    def cut(self) -> None:
        """The server can be reached no more, nor through what was opened before."""
        self.is_cut = True
        for session in self._sessions:
            session.break_off()
        self._sessions.clear()

    def restore(self) -> None:
        self.is_cut = False


@dataclass
class Call:
    """A call of a script by the tables."""

    name: str
    sent: int = 0


CALL: ContextVar[Call] = ContextVar("call")
"""What the running task is calling."""


class SimulatedConnection(Connection):
    """redis-py's connection, above the protocol: commands go out as they are, answers come in as they are."""

    def __init__(self, *, link: Link, **options: Any) -> None:
        super().__init__(**options)
        self._link = link
        self._session: Session | None = None

    @property
    def is_connected(self) -> bool:
        return self._session is not None

    async def connect(self) -> None:
        if self._session is not None:
            return
        await asyncio.sleep(self._link.world.random.uniform(0.0001, 0.002))
        if self._link.server.frozen:
            await asyncio.Event().wait()
        if self._link.server.down or self._link.is_cut:
            raise RedisConnectionError("refused")
        self._session = self._link.open()

    async def disconnect(self, *_: Any, **__: Any) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    async def can_read(self) -> bool:
        assert self._session is not None
        return bool(self._session.inbox) or self._session.broken

    def pack_command(self, *arguments: Any) -> Any:
        return [arguments]

    def pack_commands(self, commands: Any) -> Any:
        return list(commands)

    async def send_packed_command(self, command: Any, *_: Any, **__: Any) -> None:
        if self._session is None:
            await self.connect()
        assert self._session is not None
        if command[0][0] == b"EVAL":
            call = CALL.get()
            call.sent += 1
            if call.sent > 1:
                self._link.world.problem(f"the client repeated a call of {call.name} by itself")
        self._session.send(command)

    async def read_response(self, *_: Any, **__: Any) -> Any:
        session = self._session
        assert session is not None
        while not session.inbox:
            if session.broken:
                await self.disconnect()
                raise RedisConnectionError("connection closed by server")
            session.waiter = asyncio.get_running_loop().create_future()
            try:
                await session.waiter
            except BaseException:
                await self.disconnect()
                raise
        answer = session.inbox.popleft()
        if isinstance(answer, RedisConnectionError):
            await self.disconnect()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _call(name: bytes, *arguments: Any) -> Any:
    return _running[-1].call(name, *arguments)


_API = _lua.table_from({b"call": _call})
_CMSGPACK = _lua.table_from({b"pack": _pack, b"unpack": _unpack})
