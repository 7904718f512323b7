"""Tables of figures on narrow screens, and with unprintable labels."""

from io import StringIO

from rich.console import Console

from stream.cli.figures import columns, rows
from stream.cli.screen import printable
from stream.core.counting.figures import Figures

EMPTY = Figures([]).select("total", "checkout").plain()
RICH = {**EMPTY, "transactions": 98_765, "revenue": {"EUR": {"initial": "1263513.00", "final": "21263513.25"}}}


def shown(table, width):
    file = StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()


def test_numbers_are_never_cut_on_a_narrow_screen():
    windows = dict.fromkeys(("5m", "1h", "24h", "30d", "total"), RICH)
    lines = shown(columns("checkout", windows), 80).splitlines()
    assert ["21,263,513.25"] * 5 in [line.split()[-5:] for line in lines]
    assert "…" not in "".join(lines[1:])
    assert "98,765" in shown(rows("by segment", "segment", {"a segment with a very long name": RICH}), 80)


def test_control_sequences_in_labels_are_escaped():
    label = "\x1b]0;owned\x07\x1b[2Jweb\n\u202egab"
    assert printable(label) == "\\x1b]0;owned\\x07\\x1b[2Jweb\\n\\u202egab"
    assert printable("Läden, [bold]mit Komma und 🛒") == "Läden, [bold]mit Komma und 🛒"
    text = shown(rows("by channel", "channel", {label: EMPTY}), 200)
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
