"""docs/how-to/operations.md: its remedies for a halted shard do what they say, and its commands can be typed."""

import asyncio
import re
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from redis import Redis
from support.programs import program_or_skip

from stream.cli.root import cli
from stream.core.shard.write_set import ShardId, WriteSet
from stream.kafka.cursor import Cursor, ShardHaltedError
from stream.kafka.log_identity import LogIdentity, resume
from stream.settings import Settings, load
from stream.tables.interface import Commit, CommitResult, TablesRefusedError
from stream.tables.redis import connect

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "operations.md").read_text(encoding="utf-8")
SHARD = ShardId("checkout-events", 3)
BEGINNING = 500


def shown(language: str) -> list[str]:
    return [line for block in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def commit(claim, start, end):
    changes = WriteSet(b"state", b"summary", b"recent", {}, {}, {}, {}, {}, {}, [], [], None)
    source = LogIdentity("old-cluster", 1).encode()
    return Commit(SHARD, claim.nonce, claim.epoch, b"batch-%r" % end, start, end, source, 0, changes)


@pytest.fixture
async def tables(embedded_valkey, name_prefix):
    tables = connect(load({"redis_url": embedded_valkey.url, "app_id": name_prefix}))
    yield tables
    await tables.close()


@pytest.fixture
def typed(embedded_valkey, name_prefix):
    """Type a remedy as it is shown."""

    def run(command):
        (line,) = (line for line in shown("redis") if line.startswith(command))
        for name, value in (("APP", name_prefix), ("TOPIC", SHARD.topic), ("PARTITION", "3"), (" B", f" {BEGINNING}")):
            line = line.replace(name, value)
        with Redis.from_url(embedded_valkey.url) as redis:
            redis.execute_command(*line.split())

    return run


async def test_what_retention_deleted_is_left_out_on_request(tables, typed):
    claim = await tables.claim(SHARD, b"first")
    assert await tables.commit(commit(claim, None, 100)) is CommitResult.APPLIED
    with pytest.raises(ShardHaltedError, match="400 records were deleted"):
        Cursor(100, verify=True).start(BEGINNING)
    typed("HSET upsell:APP:{TOPIC:PARTITION}:shard offset B")
    claim = await tables.claim(SHARD, b"second")
    assert claim.stored.state == b"state"
    assert Cursor(claim.offset, verify=True).start(BEGINNING) == BEGINNING
    assert await tables.commit(commit(claim, BEGINNING, 600)) is CommitResult.APPLIED


async def test_a_log_made_anew_is_read_from_its_beginning_on_request(tables, typed):
    claim = await tables.claim(SHARD, b"first")
    assert await tables.commit(commit(claim, None, 100)) is CommitResult.APPLIED
    with pytest.raises(ShardHaltedError, match="old-cluster"):
        resume("new-cluster", (await tables.claim(SHARD, b"second")).source)
    typed("HDEL upsell:APP:{TOPIC:PARTITION}:shard offset source")
    claim = await tables.claim(SHARD, b"third")
    assert claim.stored.state == b"state"
    assert resume("new-cluster", claim.source) == LogIdentity("new-cluster")
    assert Cursor(claim.offset, verify=False).start(0) == 0
    assert await tables.commit(commit(claim, None, 10)) is CommitResult.APPLIED


def test_all_keys_of_an_old_application_are_removed_and_no_others(redis_server, name_prefix):
    program_or_skip("redis-cli", "redis-tools")
    (line,) = (line for line in shown("sh") if line.startswith("redis-cli"))
    old = [
        f"upsell:{name_prefix}:{{t:0}}:set:all:{value}"
        for value in ("a b", "it's", 'a "b" c', "a\\b", "a\nb", "a\0b", "zoë")
    ]
    others = [f"upsell:{name_prefix}2:labels", "b"]
    with Redis.from_url(redis_server.url) as redis:
        redis.mset(dict.fromkeys((*old, *others), "1"))
        command = line.replace("APP", name_prefix).replace("redis-cli", f"redis-cli -u {redis_server.url}")
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
        assert redis.exists(*old) == 0, done
        assert redis.delete(*others) == len(others)


@pytest.mark.parametrize("line", [line for line in shown("sh") if line.startswith("upsell-stream")])
def test_a_command_that_is_shown_can_be_typed(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "upsell.toml").touch()
    name, *options = shlex.split(line, comments=True)[1:]
    result = CliRunner().invoke(cli, [name, *options, "--help"])
    assert result.exit_code == 0, result.output
    for option in re.findall(r"--[a-z-]+", line):
        assert option in result.stdout


SECURITY = (Path(__file__).parents[2] / "docs" / "how-to" / "security.md").read_text(encoding="utf-8")


@pytest.fixture
def user(embedded_valkey, name_prefix):
    """Type commands about a user as docs/how-to/security.md shows them; the user's name is that of the prefix."""
    name = f"{name_prefix}user"
    with Redis.from_url(embedded_valkey.url) as redis:

        def run(command, **values):
            (line,) = (line.strip() for line in SECURITY.splitlines() if line.strip().startswith(command))
            for old, new in values.items():
                line = line.replace(old, new)
            verb, sub, _, *rules = line.split()
            redis.execute_command(verb, sub, name, *(rule.replace("~upsell:*", f"~{name_prefix}*") for rule in rules))

        yield SimpleNamespace(name=name, type=run)
        redis.acl_deluser(name)


def asked(url, name_prefix, user, password):
    """What an operator's user gets from Redis."""

    async def ask():
        address = url.replace("redis://", f"redis://{user.name}:{password}@")
        tables = connect(Settings(redis_url=address, redis_prefix=name_prefix, app_id="shop"))
        try:
            await tables.register_topic(SHARD.topic, "checkout", 1)
            claim = await tables.claim(SHARD, b"nonce")
            await tables.commit(commit(claim, claim.offset, 100 if claim.offset is None else claim.offset + 1))
            await tables.application()
            return await tables.retire(SHARD.topic)
        finally:
            await tables.close()

    return asyncio.run(ask())


def test_a_password_of_redis_is_changed_while_both_are_accepted(embedded_valkey, name_prefix, user):
    user.type("ACL SETUSER upsell-operator ", PASSWORD="old")
    user.type("ACL SETUSER upsell >NEW", NEW="new")
    for password in ("old", "new"):
        asked(embedded_valkey.url, name_prefix, user, password)
    user.type("ACL SETUSER upsell <OLD", OLD="old")
    asked(embedded_valkey.url, name_prefix, user, "new")
    with pytest.raises(TablesRefusedError, match="WRONGPASS"):
        asked(embedded_valkey.url, name_prefix, user, "old")


def test_the_rights_of_an_operator_are_enough_to_retire_a_topic(embedded_valkey, name_prefix, user):
    user.type("ACL SETUSER upsell-operator ", PASSWORD="right")
    assert asked(embedded_valkey.url, name_prefix, user, "right") == 1
