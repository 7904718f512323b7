"""What only Redis can do to a commit: fill up, restart, lose a reply, refuse the password."""

import asyncio
import re
import subprocess
from pathlib import Path

import pytest
from redis._parsers.base import BaseParser
from redis.crc import key_slot
from redis.exceptions import DataError
from support.programs import program_or_skip
from support.redis_server import RedisServer
from support.servers import started
from support.tables import SHARD, RedisBackend, applied, commit, expired, loaded
from support.tcp_proxy import TcpProxy

from stream.embedded.server import HOST, free_port
from stream.embedded.valkey import EmbeddedValkey
from stream.settings import Settings
from stream.tables.interface import (
    CommitResult,
    Halt,
    IncompatibleStateError,
    Owner,
    TablesRefusedError,
    TablesUnavailableError,
)
from stream.tables.keys import Keys, member, shard_of
from stream.tables.redis import LAYOUT, _explained, connect


@pytest.fixture
async def backend(redis_server, name_prefix):
    made = RedisBackend(redis_server.url, name_prefix)
    yield made
    await made.flush()
    await made.close()


@pytest.fixture(
    params=[
        pytest.param(EmbeddedValkey, marks=pytest.mark.embedded),
        pytest.param(RedisServer, marks=pytest.mark.redis),
    ]
)
async def own_server(request):
    """A server for one test alone, and a backend on it."""
    with started(request.param()) as server:
        made = RedisBackend(server.url, "upsell:")
        yield server, made
        await made.close()


@pytest.fixture
async def proxied(redis_server, name_prefix):
    """A backend, a proxy before its server, and tables that go through it."""
    direct = RedisBackend(redis_server.url, name_prefix)
    async with TcpProxy(redis_server.port) as proxy:
        yield direct, proxy, direct.tables(redis_url=f"redis://{HOST}:{proxy.port}/0")
        await direct.flush()
        await direct.close()


async def refused(call) -> TablesUnavailableError:
    with pytest.raises(TablesUnavailableError) as caught:
        await call
    return caught.value


async def eventually(call):
    """Retry as a worker does."""
    while True:
        try:
            return await call()
        except TablesUnavailableError:
            await asyncio.sleep(0.01)


async def test_a_full_server_refuses_a_commit_whole(own_server):
    _, backend = own_server
    tables = backend.tables()
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 1, entities={b"e": b"1"}, panes={b"p": b"1"})
    before = await backend.copy()
    limit = (await backend.raw.info("memory"))["used_memory"] // 2
    await backend.raw.config_set("maxmemory", limit)
    # It deletes first, which a full server allows.
    large = commit(claim, 1, 2, panes={b"p": None}, entities={b"%d" % key: b"x" * 400 for key in range(1000)})
    assert (await refused(tables.commit(large))).reason == "full"
    assert (await refused(tables.claim(SHARD, b"b"))).reason == "full"
    assert (await refused(tables.register_labels([("channel", "web")], {"channel": 8}))).reason == "full"
    assert await backend.copy() == before
    # Reading still works.
    assert await loaded(tables, [b"e"], []) == ([b"1"], [])
    assert await tables.owners([SHARD]) == [Owner(b"a", 1, 1)]
    assert len(await tables.summaries()) == 1
    assert await tables.register_labels([], {}) == {}
    await backend.raw.config_set("maxmemory", 0)
    assert await tables.commit(large) is CommitResult.APPLIED
    assert await loaded(tables, [b"999"], []) == ([b"x" * 400], [])


async def test_a_commit_that_began_goes_on_where_it_fills_the_server(own_server):
    _, backend = own_server
    tables = backend.tables()
    claim = await tables.claim(SHARD, b"a")
    times = {b"%d" % key: key for key in range(40_000)}
    # Room for the argument, which counts as used, but not for the sorted set, which takes five times as much.
    limit = (await backend.raw.info("memory"))["used_memory"] + 2_500_000
    await backend.raw.config_set("maxmemory", limit)
    await applied(tables, claim, None, 1, scores={b"all": times}, counted=[b"all"], bounds=[(-1, 40_000)])
    assert (await tables.summaries())[0].customers == {b"all": (40_000,)}
    assert (await refused(tables.commit(commit(claim, 1, 2)))).reason == "full"


@pytest.mark.redis
@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_restart_keeps_what_was_committed(end):
    with started(RedisServer("--appendfsync", "always", append_only=True)) as server:
        backend = RedisBackend(server.url, "upsell:")
        tables = backend.tables()
        claim = await tables.claim(SHARD, b"a")
        first = await applied(tables, claim, None, 5, entities={b"e": b"1"})
        # Several connections are idle when the server goes.
        await asyncio.gather(*(tables.now() for _ in range(8)))
        getattr(server, end)()
        assert (await refused(tables.commit(commit(claim, 5, 6)))).reason == "connection"
        server.start()
        assert await eventually(lambda: tables.commit(first)) is CommitResult.REPEATED
        await asyncio.gather(*(tables.now() for _ in range(8)))
        await applied(tables, claim, 5, 6)
        assert await loaded(tables, [b"e"], []) == ([b"1"], [])
        await backend.close()


@pytest.mark.embedded
async def test_a_restart_that_nobody_noticed_is_no_error():
    with started(EmbeddedValkey()) as server:
        backend = RedisBackend(server.url, "upsell:")
        tables = backend.tables()
        claim = await tables.claim(SHARD, b"a")
        await asyncio.gather(*(tables.now() for _ in range(8)))
        server.stop()
        server.start()
        assert await eventually(lambda: tables.commit(commit(claim, None, 1))) is CommitResult.REWOUND
        await asyncio.gather(*(tables.now() for _ in range(8)))
        await backend.close()


async def test_scripts_that_the_server_forgot_run_all_the_same(backend):
    tables = backend.tables()
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 1)
    await backend.raw.script_flush()
    await applied(tables, claim, 1, 2)
    assert (await tables.claim(SHARD, b"b")).offset == 2


async def test_a_reply_lost_after_the_commit_was_applied(proxied):
    _, proxy, tables = proxied
    claim = await tables.claim(SHARD, b"a")
    first = commit(claim, None, 5, entities={b"e": b"1"})
    proxy.hold()
    sent = asyncio.create_task(tables.commit(first))
    await proxy.held()
    await proxy.cut()
    assert (await refused(sent)).reason == "connection"
    proxy.release()
    assert await tables.commit(first) is CommitResult.REPEATED
    await applied(tables, claim, 5, 6)
    assert await loaded(tables, [b"e"], []) == ([b"1"], [])


async def test_a_reply_lost_after_the_claim(proxied):
    _, proxy, tables = proxied
    proxy.hold()
    sent = asyncio.create_task(tables.claim(SHARD, b"a"))
    await proxy.held()
    await proxy.cut()
    assert (await refused(sent)).reason == "connection"
    proxy.release()
    claim = await tables.claim(SHARD, b"a")
    assert claim.epoch == 1
    await applied(tables, claim, None, 1)


async def test_a_cancelled_call_leaves_no_reply_to_the_next(proxied):
    direct, proxy, tables = proxied
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 5, entities={b"e": b"1", b"f": b"2"})
    for call in (
        lambda: tables.commit(commit(claim, 5, 6)),
        lambda: tables.load(SHARD, [b"e"], []),
        lambda: tables.owners([SHARD, SHARD]),
        tables.now,
    ):
        proxy.hold()
        sent = asyncio.create_task(call())
        await proxy.held()
        sent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sent
        proxy.release()
        assert await loaded(tables, [b"f"], []) == ([b"2"], [])
        assert await tables.owners([SHARD]) == await direct.tables().owners([SHARD])


async def test_a_call_cancelled_at_any_point_leaves_connections_that_work(redis_server, name_prefix):
    # A database other than 0 makes the handshake longer.
    backend = RedisBackend(redis_server.url.replace("/0", "/1"), name_prefix)
    claim = await backend.tables().claim(SHARD, b"a")
    await applied(backend.tables(), claim, None, 5)
    expected = await backend.copy()
    done = False
    turns = 0
    while not done:
        tables = backend.tables()
        sent = asyncio.create_task(tables.owners([SHARD]))
        for _ in range(turns):
            await asyncio.sleep(0)
        done = sent.done()
        sent.cancel()
        await asyncio.gather(sent, return_exceptions=True)
        assert done or sent.cancelled()
        assert await tables.owners([SHARD]) == [Owner(b"a", 1, 5)]
        assert await loaded(tables, [b"e"], []) == ([None], [])
        await tables.close()
        turns += 1
    assert turns > 5
    assert await backend.copy() == expected
    await backend.flush()
    await backend.close()


async def test_a_server_that_does_not_answer_is_waited_for_so_long_and_no_longer(own_server):
    server, backend = own_server
    tables = backend.tables(redis_timeout=0.2)
    await asyncio.gather(*(tables.now() for _ in range(3)))
    server.pause()
    assert (await refused(tables.now())).reason == "timeout"
    assert (await refused(tables.owners([SHARD]))).reason == "timeout"
    server.resume()
    assert await eventually(tables.now) > 0


async def test_one_call_without_answer_gives_up_the_idle_connections_too(proxied):
    direct, proxy, _ = proxied
    tables = direct.tables(redis_url=f"redis://{HOST}:{proxy.port}/0", redis_timeout=0.2)
    await asyncio.gather(*(tables.now() for _ in range(3)))
    connections = tables._pool._available_connections
    assert [connection.is_connected for connection in connections] == [True] * 3
    proxy.hold()
    assert (await refused(tables.now())).reason == "timeout"
    assert [connection.is_connected for connection in connections] == [False] * 3
    proxy.release()
    assert await eventually(tables.now) > 0


async def test_nobody_there_is_no_error_for_good():
    tables = connect(Settings(redis_url=f"redis://{HOST}:{free_port()}/0"))
    assert (await refused(tables.now())).reason == "connection"
    assert (await refused(tables.owners([SHARD]))).reason == "connection"
    await tables.close()


async def test_a_newer_layout_is_left_alone(backend):
    tables = backend.tables()
    claim = await tables.claim(SHARD, b"a")
    await applied(tables, claim, None, 1)
    for key in await backend.keys():
        if await backend.raw.type(key) == b"hash" and await backend.raw.hexists(key, "layout"):
            await backend.raw.hset(key, "layout", LAYOUT + 1)
    before = await backend.copy()
    with pytest.raises(
        IncompatibleStateError, match=f"checkout-events partition 3 .* newer upsell-stream .layout {LAYOUT + 1}"
    ):
        await tables.claim(SHARD, b"b")
    with pytest.raises(IncompatibleStateError, match="newer upsell-stream"):
        await tables.summaries()
    assert await backend.copy() == before


async def test_all_keys_of_a_shard_lie_in_one_slot_and_below_the_prefix(backend, name_prefix):
    tables = backend.tables()
    claim = await tables.claim(SHARD, b"a")
    one = {b"k": b"1"}
    due = {b"k": 1}
    await applied(
        tables,
        claim,
        None,
        1,
        panes=one,
        entities=one,
        customers=one,
        entity_expiry=due,
        customer_expiry=due,
        scores={b"{a}": due, b"}": due},
        history={"h:1": one, "d:2": one},
    )
    await tables.register_labels([("channel", "web")], {"channel": 8})
    keys = await backend.keys()
    root = f"{name_prefix}shop:".encode()
    assert {key.removeprefix(root) for key in keys} >= {b"labels", b"shards", b"{checkout-events:3}:set:{a}"}
    slots = {key_slot(key) for key in keys if b"{" in key}
    assert slots == {key_slot(b"checkout-events:3")}
    assert len(keys) == 2 + 7 + 2 + 2


def test_a_shard_as_a_member_is_read_back():
    assert shard_of(member(SHARD)) == SHARD
    assert Keys("p:", "a").shard(SHARD).view == b"p:a:{checkout-events:3}:view"


async def test_the_password_decides(own_server, tmp_path, monkeypatch):
    server, backend = own_server
    await backend.raw.config_set("requirepass", "right")
    file = tmp_path / "password"
    file.write_text("right\n")
    no_password = backend.tables()
    wrong = backend.tables(redis_url=f"redis://:wrong@{server.address}/0")
    from_file = backend.tables(redis_url=f"redis://:wrong@{server.address}/0", redis_password_file=file)
    given = backend.tables(redis_password="right")
    for tables in (no_password, wrong):
        with pytest.raises(TablesRefusedError, match="redis_password_file"):
            await tables.claim(SHARD, b"a")
        with pytest.raises(TablesRefusedError, match="redis_password_file"):
            await tables.owners([SHARD])
    assert (await from_file.claim(SHARD, b"a")).epoch == 1
    assert (await given.claim(SHARD, b"b")).epoch == 2
    await backend.raw.config_set("requirepass", "")


async def test_a_user_without_rights_is_told_so(own_server):
    server, backend = own_server
    await backend.raw.acl_setuser("reader", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@connection"])
    tables = backend.tables(redis_url=f"redis://reader:secret@{server.address}/0")
    with pytest.raises(TablesRefusedError, match="grant"):
        await tables.owners([SHARD])
    with pytest.raises(TablesRefusedError, match="grant"):
        await tables.claim(SHARD, b"a")


async def test_a_user_with_the_documented_rights_can_do_everything(own_server):
    server, backend = own_server
    decision = (Path(__file__).parents[2] / "docs/decisions/0003-tables.md").read_text()
    rights = re.findall(r"`(\w+)`", decision.partition("The user needs, on P`*`:")[2].partition(".\n")[0])
    await backend.raw.acl_setuser(
        "worker",
        enabled=True,
        passwords=["+secret"],
        keys=["upsell:shop:*"],
        commands=[f"+{right}" for right in rights],
    )
    tables = backend.tables(redis_url=f"redis://worker:secret@{server.address}/1")
    claim = await tables.claim(SHARD, b"a")
    one, due, none = {b"k": b"1"}, {b"k": 1}, {b"k": None}
    records = {"panes": one, "entities": one, "customers": one, "entity_expiry": due, "customer_expiry": due}
    counted = {"counted": [b"all"], "bounds": [(0, 1)], "trim": 0}
    written = {"scores": {b"all": due}, "history": {"h:1": one, "h:2": one}}
    deleted = {"scores": {b"all": none}, "history": {"h:1": none}, "dropped": ["h:2"]}
    await applied(tables, claim, None, 1, **records, **written, **counted)
    assert await tables.load_history(SHARD, {"h:1": [b"k"]}) == {"h:1": [b"1"]}
    await applied(tables, claim, 1, 2, **dict.fromkeys(records, none), **deleted, **counted)
    assert (await tables.history([SHARD], ["h:1", "h:2"], 100))[0].records == {}
    assert await expired(tables, 2, 2) == (set(), set())
    assert await loaded(tables, [b"k"], []) == ([None], [])
    assert await tables.register_labels([("channel", "web")], {"channel": 1}) == await tables.register_labels([], {})
    assert len(await tables.summaries()) == len(await tables.owners([SHARD])) == 1
    assert await tables.now() > 0
    halt = Halt("defect", "text", 1)
    assert await tables.halt(SHARD, claim.nonce, halt)
    assert (await tables.register_topic(SHARD.topic, "checkout", 4)).partitions == 4
    assert (await tables.register_topic(SHARD.topic, "checkout", 5, replace=True)).partitions == 5
    assert (await tables.application()).halts == {SHARD: halt}
    with pytest.raises(TablesRefusedError, match="'srem'"):
        await tables.retire(SHARD.topic)
    assert await tables.server_memory() is None, "INFO is not among them"
    # And no right more than that.
    used = {name for name, each in (await backend.raw.info("commandstats")).items() if each["calls"]}
    assert {f"cmdstat_{right}" for right in rights} <= used


@pytest.fixture
def certificate(tmp_path):
    """A certificate of the loopback address, signed by itself, and its key."""
    openssl = program_or_skip("openssl", "openssl")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=redis"]
    command += ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.mark.redis
async def test_tls_is_checked_against_the_certificates_of_the_settings(certificate):
    certificate, key = certificate
    port = free_port()
    files = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate)]
    with started(RedisServer("--tls-port", str(port), "--tls-auth-clients", "no", *files)):
        url = f"rediss://{HOST}:{port}/0"
        trusting = connect(Settings(redis_url=url, redis_ca_file=certificate))
        assert (await trusting.claim(SHARD, b"a")).epoch == 1
        await trusting.close()
        doubting = connect(Settings(redis_url=url))
        failure = await refused(doubting.now())
        assert (failure.reason, "certificate verify failed" in str(failure)) == ("connection", True)
        await doubting.close()


@pytest.mark.redis
async def test_a_unix_socket_and_a_database_of_its_own(tmp_path):
    path = tmp_path / "redis.sock"
    with started(RedisServer("--unixsocket", str(path))) as server:
        backend = RedisBackend(server.url.replace("/0", "/3"), "upsell:")
        tables = backend.tables(redis_url=f"unix://{path}?db=3")
        await applied(tables, await tables.claim(SHARD, b"a"), None, 5)
        assert await backend.tables().owners([SHARD]) == [Owner(b"a", 1, 5)]
        await backend.close()


def test_options_in_the_url_are_refused_by_name():
    with pytest.raises(IncompatibleStateError, match=r"redis_url: retry_on_timeout, socket_timeout"):
        connect(Settings(redis_url="redis://localhost/0?socket_timeout=1&retry_on_timeout=yes"))


def test_a_file_without_certificates_is_named(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    with pytest.raises(IncompatibleStateError, match=f"^redis_ca_file: {file} .*PEM"):
        connect(Settings(redis_url="rediss://localhost/0", redis_ca_file=file))


@pytest.mark.parametrize("given", [["redis_cert_file"], ["redis_cert_file", "redis_key_file"]])
def test_a_file_without_the_clients_certificate_is_an_error_that_names_the_settings(tmp_path, given):
    file = tmp_path / "some.pem"
    file.write_text("no certificate")
    with pytest.raises(IncompatibleStateError, match=f"^redis_cert_file, redis_key_file: {file} .*PEM"):
        connect(Settings(redis_url="rediss://localhost/0", **dict.fromkeys(given, file)))


def test_a_password_file_that_went_away_is_named(tmp_path):
    file = tmp_path / "password"
    file.write_text("secret")
    settings = Settings(redis_password_file=file)
    file.unlink()
    with pytest.raises(IncompatibleStateError, match=r"redis_password_file: .*No such file"):
        connect(settings)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "full"),
        (
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            "persistence",
        ),
        ("NOREPLICAS Not enough good replicas to write.", "persistence"),
        ("READONLY You can't write against a read only replica.", "readonly"),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "busy"),
        ("LOADING Redis is loading the dataset in memory", "loading"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "cluster"),
        ("CLUSTERDOWN The cluster is down", "cluster"),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", "cluster"),
        ("ASK 3999 127.0.0.1:6381", "cluster"),
        ("ERR max number of clients reached", "connection"),
    ],
)
def test_what_passes_is_retried(reply, reason):
    explained = _explained(BaseParser.parse_error(reply))
    assert isinstance(explained, TablesUnavailableError)
    assert explained.reason == reason


@pytest.mark.parametrize(
    "reply",
    [
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "NOPERM this user has no permissions to run the 'eval' command",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "MOVED 3999 127.0.0.1:6381",
        "ERR Error compiling script (new function): user_script:1: unexpected symbol near '#'",
    ],
)
def test_what_redis_refuses_is_retried_slowly_with_its_own_words(reply):
    explained = _explained(BaseParser.parse_error(reply))
    assert isinstance(explained, TablesRefusedError)
    assert explained.reason == "refused"
    assert explained.retry_after >= 5
    assert reply.partition(" ")[2] in str(explained)


@pytest.mark.parametrize(
    "reply", ["NOAUTH Authentication required.", "ERR Protocol error: unauthenticated multibulk length"]
)
def test_a_user_that_is_gone_is_named_whatever_the_length_of_the_command(reply):
    explained = str(_explained(BaseParser.parse_error(reply)))
    assert "(NOAUTH " in explained
    assert "set the user in redis_url and its password" in explained


def test_a_mistake_of_ours_is_not_retried():
    mistake = DataError("Invalid input of type: 'NoneType'")
    assert _explained(mistake) is mistake
