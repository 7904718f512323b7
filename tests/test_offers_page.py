"""docs/how-to/which-offers-work.md and docs/reference/offers-and-drivers.md: the commands print what the walk shows, and answers look as they are shown."""

import json
import re
from pathlib import Path

import pytest
from support.in_process import blocks, lines_missing, printed_without_redis
from support.in_process import printed_by_line as run

DOCS = Path(__file__).parents[1] / "docs"
WALK = (DOCS / "how-to" / "which-offers-work.md").read_text(encoding="utf-8")
REFERENCE = (DOCS / "reference" / "offers-and-drivers.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """The walk's commands, and what each of them prints; and again with --json."""
    directory = tmp_path_factory.mktemp("walk")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        simulate, *commands, _ = blocks(WALK, "sh")
        run(f"{simulate.strip()} --truth truth.json")
        texts, documents = ([run(f"{command.strip()}{more}") for command in commands] for more in ("", " --json"))
        return texts, [json.loads(text) for text in documents], json.loads((directory / "truth.json").read_text())


def test_the_walk_prints_what_it_shows(printed):
    for page, output in zip(blocks(WALK, "text"), printed[0], strict=True):
        missing = lines_missing(page, output)
        assert not missing, "another simulated shop? Then show in the page, and in the reference, what it prints now"


def test_the_walk_reads_its_figures_right(printed):
    rows = {(row["offer_id"], row["slot"]): row for row in printed[1][0]["rows"]}
    for place, brought in ((("last-minute", "checkout-page"), 5), (("larger-model", "cart"), 17)):
        rates = rows[place]["acceptance_rate"] * rows[place]["incremental_rate"]
        assert round(100 * rates) == brought
        assert f" {brought} " in WALK.partition("So compare offers")[2].partition("##")[0]
    hasty = rows["last-minute", "checkout-page"]
    assert hasty["shown"] == max(row["shown"] for row in rows.values())
    assert hasty["by_verdict"]["nothing"] > 0.9 * (1 - hasty["incremental_rate"]) * hasty["accepted"]


def test_the_offers_are_those_that_were_planted(printed):
    _, (offers, _), truth = printed
    planted = {}
    for rows in truth["offers"]["checkout"].values():
        for row in rows:
            counts = planted.setdefault((row["offer_id"], row["slot"]), [0, 0, 0])
            planted[row["offer_id"], row["slot"]] = [
                one + row[name] for one, name in zip(counts, ("shown", "declined", "accepted"), strict=True)
            ]
    assert planted == {
        (row["offer_id"], row["slot"]): [row[name] for name in ("shown", "declined", "accepted")]
        for row in offers["rows"]
    }


def test_the_pairs_of_highest_lift_are_those_that_were_planted(printed):
    _, (_, drivers), truth = printed
    planted = {(pair["intent"], pair["cross_sell"]) for pair in truth["pairs"]["planted"]}
    many = [pair for pair in drivers["pairs"] if pair["transactions"] >= 15]
    assert {(pair["intent"], pair["cross_sell"]) for pair in many} <= planted
    assert many


def test_every_command_for_a_worker_can_be_typed():
    *_, commands = blocks(WALK, "sh")
    for command in commands.splitlines():
        assert "Redis cannot be reached" in printed_without_redis(command), command


@pytest.mark.parametrize(("name", "place"), [("offers", 0), ("drivers", 1)])
def test_the_reference_shows_an_answer(printed, name, place):
    example = json.loads(re.search(rf"<!-- {name} -->\n```json\n(.*?)^```$", REFERENCE, re.MULTILINE | re.DOTALL)[1])
    answer = printed[1][place]
    del example["state"]
    assert [*example] == [*answer]
    for kind in ("rows", "paths", "pairs", "products"):
        if kind in example:
            (row,) = example.pop(kind)
            assert row in answer.pop(kind)
    assert example == answer
