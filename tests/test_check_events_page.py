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

from stream.cli.root import cli
from stream.events.decode import Decoder, decode_line

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
    whole = event("order.completed")
    decoder = Decoder({"checkout-events": "checkout"}, 0, require_key=True)
    dashed = tuple((name.replace("ce_", "ce-"), value) for name, value in binary(whole).headers)
    for record in (
        binary(whole)._replace(headers=dashed),
        Record(b"\0\0\0\0\x07\x02\xff"),
        Record(encoded(whole), key=None),
    ):
        yield decoder.decode(record).detail
    for sent in (whole["data"], json.dumps(whole), event("order.completed", products=[line(price=1250)])):
        yield decode_line(encoded(sent)).detail


ROWS = re.findall(r"^\| `(.*?)` \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize("row", ROWS)
def test_the_product_says_what_the_table_explains(row, tmp_path, monkeypatch):
    pattern = ".*".join(map(re.escape, row.split("…")))
    assert any(re.search(pattern, message) for message in messages(tmp_path, monkeypatch)), row
