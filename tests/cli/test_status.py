"""What `status` prints, from what was found."""

import io

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console, Group

from stream.cli import status as module
from stream.cli.inspection import (
    Inspection,
    Members,
    Memory,
    Shard,
    about_journeys,
    about_members,
    about_topics,
    members_of,
)
from stream.cli.root import cli
from stream.cli.screen import output
from stream.core.shard.write_set import ShardId
from stream.observe.state import JourneyState, Reason
from stream.settings import load
from stream.tables.interface import Application, KnownTopic, ShardSummary

MIB = 1024 * 1024


def shard(partition, state="working", reason=None):
    return Shard("checkout-events", partition, state, reason, reason and "text", 1.0, 0.0, 5)


WELL = Inspection(
    "shop", [], {"checkout": JourneyState("live")}, ["10.0.0.7", "10.0.0.7", "10.0.0.8"], [],
    [shard(0), shard(1)], 1234, {}, 0, Memory(12 * MIB, 1024 * MIB),
)  # fmt: skip
ILL = Inspection(
    "shop", ["checkout is partial: the topic was deleted (checkout-events/1)", "second"],
    {"checkout": JourneyState("partial", [Reason("topic_recreated", "the topic was deleted", ["checkout-events/1"])])},
    None, None, [shard(0), shard(1, "halted", "topic_recreated")], None, {"invalid": 37, "no_key": 1}, 60, None,
)  # fmt: skip


def printed(found, height=40):
    console = Console(file=io.StringIO(), width=80, height=height, force_terminal=False)
    console.print(Group(*module._report(found)))
    return console.file.getvalue()


def test_an_application_that_works_is_one_look_and_nothing_to_do():
    lines = printed(WELL).splitlines()
    assert [line.split(maxsplit=1)[1].strip() for line in lines[:4]] == [
        "live",
        "3 at 10.0.0.7 (2), 10.0.0.8",
        "2: 2 working",
        "1,234 records",
    ]
    assert "12 MiB of 1,024 MiB (1%)" in printed(WELL)
    assert "Nothing to do." in printed(WELL)


def test_what_somebody_should_do_is_listed():
    text = printed(ILL)
    for part in (
        "2: 1 working, 1 halted (topic_recreated)",
        "unknown: Kafka does not describe the consumer group",
        "38 in the last hour: invalid 37, no_key 1",
        "60 in the last hour",
        "unknown: Redis does not say",
        "- checkout is partial: the topic was deleted (checkout-events/1)",
    ):
        assert part in text


def test_a_broker_that_names_no_hosts_still_has_workers():
    shown = printed(msgspec.structs.replace(WELL, workers=["", ""]))
    assert shown.splitlines()[1].split() == ["workers", "2"]


@pytest.mark.parametrize(("found", "code"), [(WELL, 0), (ILL, 1)])
def test_the_exit_status_says_whether_somebody_should_act(monkeypatch, found, code):
    async def inspect(settings, limit):
        return found

    monkeypatch.setattr(module, "inspect", inspect)
    result = CliRunner().invoke(cli, ["status", "--json"])
    assert result.exit_code == code
    assert ("topic_recreated" in result.stdout) == bool(code)


def test_a_small_terminal_shows_that_there_is_more():
    console = Console(file=io.StringIO(), width=80, height=8)
    shown = module._on_screen(console, [*module._report(ILL)])
    assert len(console.render_lines(shown, pad=False)) <= 8
    console.print(shown)
    assert "there is more" in console.file.getvalue()


def test_servers_that_do_not_answer_are_something_to_do():
    result = CliRunner().invoke(
        cli, ["status", "--bootstrap-servers", "127.0.0.1:1", "--redis-url", "redis://127.0.0.1:1", "--timeout", "5"]
    )
    assert result.exit_code == 1
    assert "cannot connect to Kafka" in result.stdout
    assert "Redis cannot be reached" in result.stdout
    assert "there are no figures" in result.stdout.replace("\n  ", " ").replace("\n", " ")


NOWHERE = ["status", "--bootstrap-servers", "127.0.0.1:1", "--timeout", "5"]


def test_what_only_a_server_that_is_down_knows_is_unknown_and_not_none():
    result = CliRunner().invoke(cli, [*NOWHERE, "--redis-url", "redis://127.0.0.1:1"])
    rows = [" ".join(line.split()) for line in result.stdout.split("To do:")[0].splitlines() if line.strip()]
    assert rows == [
        "journeys unknown: Redis does not answer",
        "workers unknown: Kafka does not answer",
        "shards unknown: Redis does not answer",
        "lag unknown: Redis does not answer",
        "dead letters unknown: Redis does not answer",
        "without a key unknown: Redis does not answer",
        "Redis memory unknown: Redis does not answer",
    ]


def test_a_redis_that_refuses_is_the_cause_and_json_has_null_for_what_it_knows(embedded_valkey, monkeypatch):
    monkeypatch.setenv("UPSELL_REDIS_PASSWORD", "wrong")
    result = CliRunner().invoke(cli, [*NOWHERE, "--redis-url", embedded_valkey.url, "--json"])
    found = msgspec.json.decode(result.stdout)
    assert result.exit_code == 1
    assert (found["redis_problem"], found["kafka_problem"]) == ("Redis refuses the request", "Kafka does not answer")
    unknown = ("journeys", "workers", "others", "shards", "lag", "dead_letters", "without_key", "redis")
    assert {name: found[name] for name in unknown} == dict.fromkeys(unknown)


def test_where_only_kafka_is_down_the_lag_and_the_workers_are_unknown_and_the_rest_is_known(
    embedded_valkey, name_prefix
):
    result = CliRunner().invoke(cli, [*NOWHERE, "--redis-url", embedded_valkey.url, "--app-id", f"{name_prefix}app"])
    shown = " ".join(result.stdout.split())
    assert "workers unknown: Kafka does not answer" in shown
    assert "lag unknown: Kafka does not answer" in shown
    assert "dead letters none in the last hour" in shown


def test_silent_shards_of_workers_that_run_send_people_to_readyz_after_the_causes():
    states = {
        "checkout": JourneyState(
            "stopped",
            [Reason("silent", "no commit for 31 s: start a worker", ["c/0"]), Reason("codec", "why", ["c/1"])],
        ),
        "subscription": JourneyState("partial", [Reason("unclaimed", "no commit yet; start a worker", ["s/0"])]),
    }
    causes, silences = about_journeys(states, ["10.0.0.7", "10.0.0.8"])
    assert causes == ["checkout is stopped: why (c/1)"]
    although = "although 2 workers run (10.0.0.7, 10.0.0.8): /readyz of each says why"
    assert silences == [
        f"checkout is stopped: no commit for 31 s, {although} (c/0)",
        f"subscription is partial: no commit yet, {although} (s/0)",
    ]
    for nobody in ([], None):
        assert "checkout is stopped: no commit for 31 s: start a worker (c/0)" in about_journeys(states, nobody)[1]


def test_another_program_in_the_consumer_group_is_named_and_is_no_worker():
    mixed = members_of("consumer", [("upsell-stream", "10.0.0.7"), ("kafka-console", "10.0.0.9")])
    assert mixed == Members(["10.0.0.7"], ["client id kafka-console at 10.0.0.9"])
    connect = members_of("connect", [("upsell-stream", "10.0.0.9")])
    assert connect.workers == []
    for members in (mixed, connect):
        (line,) = about_members(members, "shop")
        assert "another program is a member of the consumer group 'shop'" in line
        assert members.others[0] in line
    assert [*about_members(Members([], []), "shop")] == ["no worker is a member of the consumer group: start one"]
    assert not [*about_members(Members(["10.0.0.7"], []), "shop")]
    assert members_of("", [("", "")]) == Members([""], []), "a broker that does not say who its members are"


@pytest.mark.parametrize(("age", "reported"), [(10, True), (3600, False)])
def test_settings_with_topics_that_the_application_does_not_read_are_named(age, reported):
    now = 10_000 * 1_000_000
    read = ShardSummary(ShardId("orders", 0), b"", b"", now - age * 1_000_000, {})
    application = Application([read], {}, {"orders": KnownTopic("checkout", 1, 0)})
    settings = load({"app_id": "shop", "subscription_topic": ""})
    lines = [*about_topics(application, now, settings)]
    assert len(lines) == reported
    for line in lines:
        assert "these settings name topic checkout-events, but the application 'shop' reads orders: another" in line
    assert not [
        *about_topics(application, now, load({"app_id": "shop", "checkout_topic": "orders", "subscription_topic": ""}))
    ]


def test_the_lines_of_a_piped_table_end_with_their_text(capfd):
    wide = msgspec.structs.replace(ILL, to_do=["x" * 300])
    output().print(*module._report(wide), sep="\n")
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line != line.rstrip()] == []
    assert lines[-1] == "- " + "x" * 300
    assert "" in lines
