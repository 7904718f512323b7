"""Tables of figures on narrow screens, and with unprintable labels."""

from io import StringIO

import pytest
from rich.console import Console

from stream.cli.figures import by_window, columns, headlines, on_screen, rows
from stream.cli.screen import printable
from stream.core.counting.figures import Figures

EMPTY = Figures([]).select("1h", "checkout").plain()
LABELLED = {**Figures([]).select("1h", None, "segment", "vip").plain(), "transactions": 98_765}
RICH = {**EMPTY, "transactions": 98_765, "revenue": {"EUR": {"initial": "1263513.00", "final": "21263513.25"}}}


def shown(table, width):
    file = StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()


def test_numbers_are_never_cut_on_a_narrow_screen():
    windows = dict.fromkeys(("5m", "1h", "24h", "30d", "total"), RICH)
    text = "".join(shown(section, 80) for section in columns("checkout", windows))
    assert text.split().count("21,263,513.25") == 5
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "98,765" in shown(rows("segment", "by segment", {"a segment with a very long name": RICH}), 80)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_word_is_broken_at_any_width(width):
    windows = dict.fromkeys(("5m", "1h", "24h", "30d", "total"), RICH)
    sections = [
        *columns("subscription", windows),
        rows("segment", "by segment, 30d", dict.fromkeys(("vip", "family"), LABELLED)),
    ]
    for section in sections:
        words = set(shown(section, width).split())
        names = {word for name, _ in section.rows for word in name.split()}
        heads = {word for head in section.columns for word in head.replace("_", " ").split()}
        assert names <= words
        assert heads <= words | {part for word in words for part in word.split("_")}


def test_a_label_that_is_longer_than_the_room_is_folded_and_nothing_else_is():
    text = shown(rows("segment", "by segment, 30d", {"x" * 64: LABELLED, "vip": LABELLED}), 80)
    assert "".join(line.split()[0] for line in text.splitlines() if line.startswith("x")) == "x" * 64
    assert text.count("98,765") == 2
    assert max(map(len, text.splitlines())) <= 80


def test_what_does_not_fit_on_the_screen_is_counted():
    console = Console(width=80, height=24, file=StringIO())
    windows = dict.fromkeys(("5m", "1h", "24h", "30d", "total"), EMPTY)
    many = {f"category-{number}": LABELLED for number in range(30)}
    parts = [*by_window(dict.fromkeys(windows, dict.fromkeys(("checkout", "subscription"), EMPTY)), brief=True)]
    head = headlines("2026-01-05T10:00:00Z", {})
    lines = shown(on_screen(console, head, [*parts, rows("category", "by category", many)], "do this"), 80).splitlines()
    assert len(lines) == 24
    assert lines[0] == "as of 2026-01-05T10:00:00Z"
    assert lines[-1] == "30 rows left out: category; do this"
    assert sum(line.startswith("transactions") for line in lines) == 2
    small = Console(width=80, height=12, file=StringIO())
    lines = shown(on_screen(small, head, parts, "do this"), 80).splitlines()
    assert lines[-1] == "11 rows left out: checkout, subscription; do this"
    assert len(lines) == 12


def test_bands_have_a_sign_and_a_colour():
    rates = {"upsell_cross_sell_rate": 0.31, "cross_sell_rate": 0.1, "upsell_revenue_ratio": 1.2, "upsell_ratio": 0.5}
    (section,) = columns("checkout", {"1h": {**EMPTY, "rates": rates}}, brief=True)
    cells = {name: cell for name, (cell,) in section.rows}
    assert [str(cells[name]) for name in rates] == ["▲ 31.0%", "▼ 10.0%", "● 1.20", "50.0%"]
    assert [getattr(cells[name], "style", "") for name in rates] == ["green", "yellow", "cyan", ""]


def test_the_head_says_what_is_wrong_with_the_figures_of_each_journey():
    shards = [f"subscription-events/{number}" for number in (0, 3)]
    reason = {"reason": "topic_recreated", "text": "the topic was created again\x1b[2J", "shards": shards}
    state = {
        "checkout": {"state": "live", "reasons": []},
        "subscription": {"state": "partial", "reasons": [reason, {"reason": "behind", "text": "70 s", "shards": []}]},
    }
    assert [str(line) for line in headlines("2026-01-05T10:00:00Z", state)] == [
        "as of 2026-01-05T10:00:00Z   checkout: live   subscription: partial",
        "subscription: partial, 2 shards (topic_recreated): the topic was created again\\x1b[2J [subscription-events/0, 3]",
        "subscription: partial, behind: 70 s",
    ]
    assert [str(line) for line in headlines(None, {})] == ["as of never"]


def test_control_sequences_in_labels_are_escaped():
    label = "\x1b]0;owned\x07\x1b[2Jweb\n\u202egab"
    assert printable(label) == "\\x1b]0;owned\\x07\\x1b[2Jweb\\n\\u202egab"
    assert printable("Läden, [bold]mit Komma und 🛒") == "Läden, [bold]mit Komma und 🛒"
    text = shown(rows("channel", "by channel", {label: EMPTY}), 200)
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
