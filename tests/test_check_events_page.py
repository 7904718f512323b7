"""docs/how-to/check-events.md: its commands print what it shows, and its messages are those of the product."""

import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.sent_events import Record, binary, encoded, event, line

from stream.cli.redaction import redacted_error
from stream.cli.root import cli
from stream.events.decode import Decoder, Rejected, decode_line
from stream.events.names import REFUNDS_ELSEWHERE, TYPES_ELSEWHERE

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "how-to" / "check-events.md").read_text(encoding="utf-8")


def shown(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def run(directory, monkeypatch, events):
    (directory / "events.jsonl").write_text(events, encoding="utf-8")
    monkeypatch.chdir(directory)
    [command] = shown("sh")
    result = CliRunner().invoke(cli, shlex.split(command)[1:])
    return result.exit_code, [line.rstrip() for line in result.output.splitlines()]


def corrected(events):
    for wrong, right in (
        ("customerId", "customer_id"),
        ("productId", "product_id"),
        ('"items"', '"products"'),
        ('"order.completed"', '"commerce.order.completed.v1"'),
        ("1850", '"18.50"'),
    ):
        assert wrong in events
        events = events.replace(wrong, right)
    return events


def test_the_command_finds_what_the_page_says(tmp_path, monkeypatch):
    [events] = shown("jsonl")
    assert run(tmp_path, monkeypatch, events) == (1, shown("text")[0].splitlines())


def test_the_corrected_events_are_judged_as_the_page_says(tmp_path, monkeypatch):
    [events] = shown("jsonl")
    assert run(tmp_path, monkeypatch, corrected(events)) == (0, shown("text")[1].splitlines())


def test_the_strict_schemas_find_the_same_events(tmp_path, monkeypatch):
    [events], [code] = shown("jsonl"), shown("python")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    found = []
    for text in (events, corrected(events)):
        (tmp_path / "events.jsonl").write_text(text, encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, "check-events.md", "exec"), {})
        found.append({line.split()[0] for line in printed.getvalue().splitlines()})
    assert found == [{"2", "3", "4"}, set()]


def messages(directory, monkeypatch):
    """Messages of the product for each mistake of the page's table."""
    _, lines = run(directory, monkeypatch, shown("jsonl")[0])
    yield from lines
    yield from run(directory, monkeypatch, json.dumps(event("checkout.started", products=[line(price="1250")])))[1]
    started, completed = event("checkout.started"), event("order.completed")
    yield from run(directory, monkeypatch, f"{json.dumps(started)}\n{json.dumps(completed)}")[1]
    for rejected in rejections():
        yield rejected.detail


def rejections():
    """What a worker says of each mistake of the page's table."""
    for text in shown("jsonl")[0].splitlines():
        if isinstance(made := decode_line(text.encode()), Rejected):
            yield made
    whole = event("order.completed")
    decoder = Decoder({"checkout-events": "checkout"}, 0, require_key=True)
    dashed = tuple((name.replace("ce_", "ce-"), value) for name, value in binary(whole).headers)
    for record in (
        binary(whole)._replace(headers=dashed),
        Record(b"\0\0\0\0\x07\x02\xff"),
        Record(encoded(whole), key=None),
    ):
        yield decoder.decode(record)
    for sent in (whole["data"], json.dumps(whole), event("order.completed", products=[line(price=1250)])):
        yield decode_line(encoded(sent))


ROWS = re.findall(r"^\| `(.*?)` \|", PAGE[PAGE.index("## What the messages mean") :], re.MULTILINE)


@pytest.mark.parametrize(
    ("others", "verdict"),
    [([], "upsell +50.00  substitute"), ([line(sku="GRINDER", price="500.00")], "cross-sell +249.00")],
)
def test_without_product_ids_a_larger_variant_is_judged_as_the_page_says(others, verdict, tmp_path, monkeypatch):
    carts = [[line(sku="BREW-S", price="199.00"), *others], [line(sku="BREW-L", price="249.00"), *others]]
    sent = [
        event(name, products=cart) | {"id": name}
        for name, cart in zip(("checkout.started", "order.completed"), carts, strict=True)
    ]
    _, printed = run(tmp_path, monkeypatch, "\n".join(map(json.dumps, sent)))
    assert re.search(verdict, "\n".join(printed)), printed


def test_what_events_are_called_elsewhere_is_what_the_product_knows():
    start, end = PAGE.index("## What is your event called here?"), PAGE.index("## What the messages mean")
    rows = [re.findall(r"`(.*?)`", row) for row in PAGE[start:end].splitlines() if row.startswith("| `")]
    told = {here: tuple(elsewhere) for *elsewhere, here in rows[:-1]}
    assert told == TYPES_ELSEWHERE
    assert rows[-1] == [*REFUNDS_ELSEWHERE, "commerce.order.refunded.v1", "commerce.subscription.refunded.v1"]


@pytest.mark.parametrize("row", ROWS)
def test_the_product_says_what_the_table_explains(row, tmp_path, monkeypatch):
    assert any(says(row, message) for message in messages(tmp_path, monkeypatch)), row


def says(row, message):
    return re.search(".*".join(map(re.escape, row.split("…"))), message)


NEVER_IN_DEAD_LETTERS = ("unknown field", "check the prices", "… has the same source and id")


@pytest.mark.parametrize("row", [row for row in ROWS if not row.startswith(NEVER_IN_DEAD_LETTERS)])
def test_dead_letters_says_what_the_table_explains_without_being_asked_for_values(row):
    assert any(says(row, redacted_error(made.detail, made.path)) for made in rejections()), row
