"""What the pages name exists, what they show can be typed, and what they promise is tested."""

import ast
import asyncio
import functools
import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import click
import pytest
from aiokafka import AIOKafkaConsumer
from click.testing import CliRunner

from stream.cli.root import cli
from stream.core.config import CoreConfig
from stream.core.counting.kpi import AMOUNT_KPIS, KPIS
from stream.core.event import CheckoutEvent
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.events.decode import Decoder, decode_line
from stream.kafka.topics import Topic, create_topics
from stream.worker.shard_task import TRANSITIONS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def pages():
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    named = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in named.split("\0") if name and (ROOT / name).is_file())


def without_fences(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def without_code(text):
    return re.sub(r"^```.*?^```$|`[^`\n]+`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_fences(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(page, head):
    """Cells of all tables with these column names, without the head."""
    text = text_of(page)
    wanted = re.escape(f"| {' | '.join(head)} |\n")
    tables = re.findall(rf"^{wanted}\|[ |-]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert tables, f"{page} has no table of {head}"
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for table in tables for line in table.splitlines()]


def shown(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(page))):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target


def test_the_index_has_every_page():
    linked = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)\)", text_of("docs/README.md"))}
    readers = [path for room in ("", "how-to", "reference", "explanation") for path in (DOCS / room).glob("*.md")]
    assert {path for path in readers if path != DOCS / "README.md"} <= linked
    listed = set(re.findall(r"\]\((\d{4}[^)]*)\)", text_of("docs/decisions/README.md")))
    assert listed == {path.name for path in (DOCS / "decisions").glob("[0-9]*.md")}


@pytest.mark.parametrize("page", ["README.md", "docs/reference/kpis.md"])
def test_the_kpis_are_those_of_the_code(page):
    told = [(name.strip("`"), formula) for name, formula, *_ in rows(page, ("KPI", "formula", "meaning"))]
    assert told == [(kpi.name, kpi.formula) for kpi in (*KPIS, *AMOUNT_KPIS)]


def test_the_commands_are_those_there_are():
    told = {name.strip("`").split()[1] for name, _ in rows("README.md", ("command", "does"))}
    assert told == set(cli.list_commands(click.Context(cli)))


LINES = sorted(
    {
        line.partition(" | ")[0].removeprefix(".venv/bin/")
        for page in pages()
        for block in shown(page, "sh")
        for line in block.splitlines()
        if line.removeprefix(".venv/bin/").startswith("upsell-stream ")
    }
)


@pytest.mark.parametrize("line", LINES)
def test_a_command_that_is_shown_can_be_typed(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "upsell.toml").touch()
    arguments = shlex.split(line, comments=True)[1:]
    result = CliRunner().invoke(cli, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    for option in re.findall(r"--[a-z-]+", line):
        assert option in result.stdout


def test_the_two_events_become_the_upsell_that_is_shown(tmp_path):
    [events], [verdict] = shown("README.md", "jsonl"), json.loads(f"[{','.join(shown('README.md', 'json'))}]")
    (tmp_path / "sale.jsonl").write_text(events)
    result = CliRunner().invoke(cli, ["classify", "--strict", str(tmp_path / "sale.jsonl")])
    assert result.stderr == ""
    judged = json.loads(result.stdout)
    for line, whole in zip(verdict["lines"], judged["lines"], strict=True):
        assert line.items() <= whole.items()
    assert {**verdict, "lines": judged["lines"]}.items() <= judged.items()


def test_the_python_example_sends_an_event(embedded_broker, name_prefix):
    [code] = shown("README.md", "python")
    topic = f"{name_prefix}checkout-events"
    code = code.replace("localhost:9092", embedded_broker.bootstrap_servers).replace('"checkout-events"', repr(topic))
    asyncio.run(create_topics(embedded_broker.bootstrap_servers, [Topic(topic, 1)], replication_factor=1))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    record = asyncio.run(first_record(embedded_broker.bootstrap_servers, topic))
    assert isinstance(Decoder({topic: "checkout"}, future=600_000_000).decode(record), CheckoutEvent)


async def first_record(bootstrap_servers, topic):
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest") as consumer:
        return await asyncio.wait_for(consumer.getone(), 120)


CELL = 200
"""Characters of a table's cell, at most: about two lines. What is longer is a section or a list."""


@pytest.mark.parametrize("page", pages())
def test_no_cell_of_a_table_is_long(page):
    for line in without_fences(text_of(page)).splitlines():
        for cell in re.split(r"(?<!\\)\|", line) if line.startswith("|") else ():
            assert len(re.sub(r"\]\([^)]*\)", "]", cell)) <= CELL, cell


def names_in(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_messages_of_a_halted_shard_are_those_of_the_code():
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "stream").rglob("*.py")))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # a message of several lines is one
    section = text_of("docs/how-to/operations.md").partition("\n## A halted shard")[2].partition("\n## ")[0]
    messages = re.findall(r'\*\*"(.*?)"\*\*', section.replace("\n", " "))
    assert messages
    for message in messages:
        for part in re.split(r"\b[A-Z]\b|…", message):
            assert part.strip() in source, part


ARCHITECTURE = "docs/explanation/architecture.md"


def spans(page):
    return re.findall(r"`([^`\n]+)`", without_fences(text_of(page)))


def resolved(name):
    """What a dotted name below `stream` means: a module, a class, a function."""
    module, rest = importlib.import_module("stream"), name.split(".")
    while rest and importlib.util.find_spec(f"{module.__name__}.{rest[0]}"):
        module = importlib.import_module(f"{module.__name__}.{rest.pop(0)}")
        if not hasattr(module, "__path__"):
            break
    return functools.reduce(getattr, rest, module)


NAME = r"`((?:app|cli|consumer|core|embedded|events|kafka|observe|simulate|tables|worker)(?:\.\w+)+)`"


@pytest.mark.parametrize("name", sorted(set(re.findall(NAME, text_of(ARCHITECTURE)))))
def test_what_the_walk_names_is_there(name):
    assert resolved(name)


@pytest.mark.parametrize("page", pages())
def test_a_module_or_file_that_is_named_is_there(page):
    for span in spans(page):
        if re.fullmatch(r"stream(\.\w+)+", span):
            assert resolved(span.removeprefix("stream.")), span
        if re.fullmatch(r"(stream|tests|bench|docs|deploy|locks)/[\w./-]+", span):
            assert (ROOT / span).exists(), span


def test_the_states_of_a_shard_are_those_of_its_task():
    table = {state: re.sub(r"\(.*?\)", "", after) for state, _, after in rows(ARCHITECTURE, ("state", "means", "next"))}
    told = {state: {name.strip() for name in after.split(",")} - {"none"} for state, after in table.items()}
    assert told == {state.value: {other.value for other in after} for state, after in TRANSITIONS.items()}


def test_every_step_of_the_walk_names_what_is_called():
    walk = text_of(ARCHITECTURE).partition("## The walk")[2].partition("\n## ")[0]
    steps = re.findall(r"^(\d+)\. ((?:.*\n)(?:   .*\n)*)", walk, re.MULTILINE)
    assert [number for number, _ in steps] == [str(number + 1) for number in range(len(steps))]
    for number, step in steps:
        assert re.search(NAME, step), number


@pytest.mark.parametrize("page", [page for page in pages() if "::test_" in text_of(page)])
def test_a_test_that_is_named_is_there(page):
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text_of(page)):
        assert name in names_in(ROOT / path), f"{path}::{name}"


def test_every_promise_names_its_proof():
    promises = re.findall(r"^### (\d+)\. .*\n((?:(?!#).*\n)*)", text_of("docs/reference/guarantees.md"), re.MULTILINE)
    assert [number for number, _ in promises] == [str(number + 1) for number in range(len(promises))]
    for number, section in promises:
        promise, _, proof = section.partition("\nHeld by:\n\n")
        assert promise.strip(), number
        assert re.fullmatch(r"(- `tests/[\w/]+\.py::test_\w+`\n)+\n?", proof), number


def test_the_dependencies_are_those_of_the_project():
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    direct = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in direct} - {project["name"]}
    told = rows("docs/decisions/0000-dependencies.md", ("dependency", "field", "upkeep", "licence", "why"))
    assert sorted(name.strip("`") for name, *_ in told) == sorted(names)
    for name, _, _, licence, _ in told:
        stated = metadata(name.strip("`"))["License-Expression"]
        assert stated is None or licence == stated, name


def test_the_example_by_hand_is_what_the_core_computes():
    offline = Offline(CoreConfig(), LabelRegistry())
    judged = {}
    for number, customer, wanted, paid, _ in rows(
        "docs/reference/kpis.md", ("checkout", "customer", "came for", "paid for", "verdict")
    ):
        for minute, (name, cart) in enumerate((("checkout.started", wanted), ("order.completed", paid))):
            lines = [
                {"sku": sku, "quantity": int(units), "price": price}
                for sku, units, price in re.findall(r"(\w) (\d) \S ([\d.]+)", cart)
            ]
            event = {
                "specversion": "1.0",
                "id": name,
                "source": "shop",
                "type": f"commerce.{name}.v1",
                "time": f"2026-01-05T10:0{minute}:00Z",
                "subject": f"checkout/{number}",
                "data": {"checkout_id": number, "customer_id": customer, "currency": "EUR", "products": lines},
            }
            if lines:
                for version in offline.apply(decode_line(json.dumps(event).encode())).versions:
                    judged[number] = [
                        f"{line.kind.replace('_', '-')} of {line.amount}" for line in version.judged.lines
                    ]
    told = rows("docs/reference/kpis.md", ("checkout", "customer", "came for", "paid for", "verdict"))
    assert {number: ", ".join(judged.get(number, ())) or "none" for number, *_ in told} == {
        number: verdict.partition(":")[0] for number, *_, verdict in told
    }
    figures = offline.figures().summary()["checkout"]
    amounts = {name: f"{found['currency']} {found['value']}" for name, found in figures["amounts"].items()}
    values = {name.strip("`"): value for name, _, value in rows("docs/reference/kpis.md", ("KPI", "by hand", "value"))}
    assert {name: str(value) for name, value in figures["rates"].items()} | amounts == values
