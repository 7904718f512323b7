"""docs/how-to/find-out-why-a-rate-fell.md and docs/reference/history.md: the walk's commands print what it shows, and the answers look as they are shown."""

import json
import re
from pathlib import Path

import pytest
from support.in_process import blocks, lines_missing, printed_without_redis
from support.in_process import printed_by_line as run

DOCS = Path(__file__).parents[1] / "docs"
WALK = (DOCS / "how-to" / "find-out-why-a-rate-fell.md").read_text(encoding="utf-8")
REFERENCE = (DOCS / "reference" / "history.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """The walk's commands, and what each of them prints; the last two again with --json."""
    directory = tmp_path_factory.mktemp("walk")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        simulate, history, explain, _ = blocks(WALK, "sh")
        run(simulate)
        return [run(history), run(explain), *(json.loads(run(f"{command} --json")) for command in (history, explain))]


def test_the_walk_prints_what_it_shows(printed):
    rows, parts = blocks(WALK, "text")
    for page, output in ((rows, printed[0]), (parts, printed[1])):
        missing = lines_missing(page, output)
        assert not missing, "another simulated shop? Then show in the page, and in the reference, what it prints now"


def test_the_walk_finds_what_was_broken(printed):
    explained = printed[3]
    [command, *_] = blocks(WALK, "sh")
    channel, segment, *_ = command.partition("--incident ")[2].split()[0].split(",")
    assert explained["main"][0] == {"channel": channel, "segment": segment}
    (part,) = [part for part in explained["parts"] if (part["channel"], part["segment"]) == (channel, segment)]
    assert part["rate"] < 5 * -abs(part["mix"])


def test_every_command_for_a_worker_can_be_typed():
    *_, commands = blocks(WALK, "sh")
    for command in commands.splitlines():
        assert "Redis cannot be reached" in printed_without_redis(command), command


@pytest.mark.parametrize("name", ["history", "explain"])
def test_the_reference_shows_an_answer(printed, name):
    example = json.loads(re.search(rf"<!-- {name} -->\n```json\n(.*?)^```$", REFERENCE, re.MULTILINE | re.DOTALL)[1])
    answer = printed[2 if name == "history" else 3]
    del example["state"]
    assert example.keys() == answer.keys()
    if name == "explain":
        assert example == answer | {"parts": answer["parts"][:1]}
        return
    (row,) = example["rows"]
    assert row in answer["rows"]
