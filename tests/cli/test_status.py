"""What `status` prints, from what was found."""

import io

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console, Group

from stream.cli import status as module
from stream.cli.inspection import Inspection, Memory, Shard
from stream.cli.root import cli
from stream.observe.state import JourneyState, Reason

MIB = 1024 * 1024


def shard(partition, state="working", reason=None):
    return Shard("checkout-events", partition, state, reason, reason and "text", 1.0, 0.0, 5)


WELL = Inspection(
    "shop", [], {"checkout": JourneyState("live")}, ["10.0.0.7", "10.0.0.7", "10.0.0.8"],
    [shard(0), shard(1)], 1234, {}, 0, Memory(12 * MIB, 1024 * MIB),
)  # fmt: skip
ILL = Inspection(
    "shop", ["checkout is partial: the topic was deleted (checkout-events/1)", "second"],
    {"checkout": JourneyState("partial", [Reason("topic_recreated", "the topic was deleted", ["checkout-events/1"])])},
    None, [shard(0), shard(1, "halted", "topic_recreated")], None, {"invalid": 37, "no_key": 1}, 60, None,
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
