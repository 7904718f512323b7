"""Figures as tables for people, made from the documents that `--json` prints.

Rules: the names are those of the documents. A KPI without a value is a dash. A sign and a colour, which the live page has too, show the band of a KPI
(`stream.core.counting.kpi`) and nothing else. No word and no number is broken on a narrow terminal: a table that is too wide has its columns in several
tables. Only label values from events may be folded.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final, Literal, Self

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from stream.cli.screen import printable
from stream.core.counting.figures import JOURNEYS, TOTAL
from stream.core.counting.kpi import KPIS

FigureDocument = Mapping[str, Any]
"""A figure set as JSON values."""
Label = Literal["segment", "channel", "category"]
LABELS: Final[tuple[Label, ...]] = ("segment", "channel", "category")
"""The dimensions that have tables of their own, in this order."""

LEGEND: Final = "▲ above typical, strong  ● typical, moderate  ▼ below typical, weak"
_SIGNS: Final = ("▲", "●", "▼")
_COLOURS: Final = ("green", "cyan", "yellow")
"""Signs and colours of the first, second and third band."""
_STATES: Final[Mapping[str, str]] = {"live": "green", "empty": "dim", "behind": "yellow"}
"""Colours of the states of figures; the others mean that figures are missing."""
Cell = str | Text
NONE: Final[Cell] = Text("-", style="dim")
"""A value that there is not."""
_FIRST: Final = (("opportunities",), ("transactions",))
"""Counts that stand next to the KPIs."""
_GAP: Final = 2
"""Spaces between two columns."""
_HEAD: Final = 10
"""Columns of a column's name on several lines, unless a word is longer."""
_NARROWEST: Final = 16
"""Columns of a folded label value, at least."""


@dataclass(frozen=True)
class Section:
    """A table: a name and cells for each row. Printed, it is as many tables as the width demands."""

    about: str
    """What it is about, in one word: a journey, a dimension, a window."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    foldable: bool = False
    """Whether the names of rows are texts from events, which may be long."""
    name_width: int | None = None
    """Columns for the names of rows, where they must be folded."""

    def fitted(self, width: int) -> list[Self]:
        """The same rows in sections that are at most this wide."""
        names = max(cell_len(name) for name in (self.title, *(name for name, _ in self.rows)))
        stacked = self
        if names + sum(self.widths()) > width:
            stacked = replace(self, columns=tuple(map(_stacked, self.columns)))
        widths = stacked.widths()
        if self.foldable and names + sum(widths) > width:
            least, rest = max(_NARROWEST, cell_len(self.title)), width - sum(widths)
            names = min(names, rest if rest >= least else max(least, width // 3))
            stacked = replace(stacked, name_width=names)
        sections, begin = [], 0
        while begin < len(widths):
            end = begin + 1
            while end < len(widths) and names + sum(widths[begin : end + 1]) <= width:
                end += 1
            sections.append(
                replace(
                    stacked,
                    columns=stacked.columns[begin:end],
                    rows=tuple((name, cells[begin:end]) for name, cells in stacked.rows),
                )
            )
            begin = end
        return sections

    def widths(self) -> list[int]:
        """The width of each column with the gap before it."""
        return [
            _GAP + max(cell_len(line) for line in (*head.split("\n"), *(str(cells[place]) for _, cells in self.rows)))
            for place, head in enumerate(self.columns)
        ]

    def table(self) -> Table:
        """The table, whatever its width."""
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), collapse_padding=True)
        table.add_column(self.title, overflow="fold", vertical="bottom", width=self.name_width)
        for name in self.columns:
            table.add_column(name, justify="right", no_wrap=True, vertical="bottom")
        for name, cells in self.rows:
            table.add_row(Text(name), *cells)
        return table

    def first(self, count: int) -> Self:
        """Its first rows."""
        return replace(self, rows=self.rows[:count])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for section in self.fitted(options.max_width):
            yield section.table()


def headlines(as_of: str | None, state: Mapping[str, Any]) -> list[Text]:
    """Lines that say whether the figures are current: the state of each journey, then what is wrong.

    `state` is that of the rates document: journey -> `{"state", "reasons": [{"reason", "text", "shards"}]}`.
    """
    first = Text(f"as of {as_of or 'never'}")
    lines = [first]
    for journey, each in state.items():
        colour = _STATES.get(each["state"], "bold red")
        first.append("   ").append(f"{journey}: ").append(each["state"], style=colour)
        for reason in each["reasons"]:
            lines.append(Text(f"{journey}: "))
            lines[-1].append(each["state"], style=colour).append(f", {_cause(reason)}")
    return lines


def _cause(reason: Mapping[str, Any]) -> str:
    shards = reason["shards"]
    names: dict[str, list[str]] = {}
    for shard in shards:
        topic, _, partition = shard.rpartition("/")
        names.setdefault(topic, []).append(partition)
    where = "; ".join(f"{topic}/{', '.join(partitions)}" for topic, partitions in names.items())
    count = f"{len(shards)} shard{'s' if len(shards) > 1 else ''} ({reason['reason']})" if shards else reason["reason"]
    return printable(f"{count}: {reason['text']}{f' [{where}]' if where else ''}")


def by_window(windows: Mapping[str, Mapping[str, Any]], *, brief: bool = False) -> Iterator[Section]:
    """Tables for each journey with a column for each window. `brief`: only KPIs and the most important counts."""
    for journey in JOURNEYS:
        yield from columns(journey, {name: sections[journey] for name, sections in windows.items()}, brief=brief)


def by_label(window: str, sections: Mapping[str, Any], dimensions: Sequence[Label] = LABELS) -> Iterator[Section]:
    """A table for each of these dimensions that has values, with a row for each value; both journeys together."""
    for dimension in dimensions:
        if sections[dimension]:
            yield rows(dimension, f"by {dimension}, {window}", sections[dimension])


def one_window(window: str, sections: Mapping[str, Any], *, brief: bool = False) -> Iterator[Section]:
    """Tables with a column for each journey, then a table for each dimension. `brief` as for `by_window`."""
    yield from columns(window, {name: sections[name] for name in (*JOURNEYS, "all")}, brief=brief)
    if "segment" in sections:
        yield from by_label(window, sections)


def longest(windows: Iterable[str]) -> str:
    """The last of the windows, which are sorted by length; the total if there is no other."""
    return next((name for name in reversed(list(windows)) if name != TOTAL), TOTAL)


def columns(title: str, figures: Mapping[str, FigureDocument], *, brief: bool = False) -> Iterator[Section]:
    """Tables with a column for each figure set: KPIs and the counts in `_FIRST`; unless `brief`, other counts, revenue by currency, KPIs of money.

    `brief` leaves out KPIs for which there is no target, so that both journeys fit on 24 lines.
    """
    sets, names = list(figures.values()), tuple(figures)
    kpis = [
        kpi.name for kpi in KPIS if (kpi.has_target or not brief) and any(kpi.name in each["rates"] for each in sets)
    ]
    yield Section(
        title,
        title,
        names,
        (
            *((kpi, tuple(shown_rate(kpi, each) for each in sets)) for kpi in kpis),
            *((" ".join(path), tuple(_number(each, path) for each in sets)) for path in _FIRST),
        ),
    )
    if brief:
        return
    others: dict[str, list[tuple[str, ...]]] = {}
    for path in _counts(sets):
        if path not in _FIRST:
            name = {"revenue": path[1], "amounts": "money"}.get(path[0], "counts")
            others.setdefault(name, []).append(path)
    for name, paths in others.items():
        shown = ((path[-1:] if path[0] in ("revenue", "amounts") else path, path) for path in paths)
        yield Section(
            title,
            f"{title} {name}",
            names,
            tuple((" ".join(own), tuple(_number(each, path) for each in sets)) for own, path in shown),
        )


def rows(dimension: str, title: str, figures: Mapping[str, FigureDocument]) -> Section:
    """A table with a row for each value of a dimension, most transactions first."""
    kpis = [kpi.name for kpi in KPIS if any(kpi.name in each["rates"] for each in figures.values())]
    return Section(
        dimension,
        title,
        ("transactions", *kpis),
        tuple(
            (printable(value), (f"{each['transactions']:,}", *(shown_rate(kpi, each) for kpi in kpis)))
            for value, each in sorted(figures.items(), key=lambda item: (-item[1]["transactions"], item[0]))
        ),
        foldable=True,
    )


def on_screen(console: Console, head: Sequence[Text], sections: Sequence[Section], how: str) -> RenderableType:
    """As much as fits on the terminal. If rows must be left out, the last line says how many, of which tables, and `how` to see them."""
    width, height = console.size
    parts = [part for section in sections for part in section.fitted(width)]

    def lines(*renderables: RenderableType) -> int:
        return len(console.render_lines(Group(*renderables)))

    spaced: list[RenderableType] = [
        *head,
        *(piece for part in parts for piece in ("", part.table())),
        "",
        Text(LEGEND, no_wrap=True),
    ]
    if lines(*spaced) <= height:
        return Group(*spaced)
    dense: list[RenderableType] = [*head, *(part.table() for part in parts)]
    if lines(*dense) <= height:
        return Group(*dense)
    reserved = 1
    while True:
        room = height - lines(*head) - reserved
        shown: list[Table] = []
        left_out: dict[str, int] = {}
        for part in parts:
            # What comes after a table that does not fit is less important than it.
            count = 0 if left_out else len(part.rows)
            while count and lines(part.first(count).table()) > room:
                count -= 1
            if count:
                shown.append(part.first(count).table())
                room -= lines(shown[-1])
            if count < len(part.rows):
                left_out[part.about] = left_out.get(part.about, 0) + len(part.rows) - count
        note = Text(f"{sum(left_out.values()):,} rows left out: {', '.join(left_out)}; {how}", style="bold")
        if lines(note) <= reserved:
            return Group(*head, *shown, note)
        reserved += 1


def _stacked(name: str) -> str:
    return "\n".join(textwrap.wrap(name.replace("_", " "), _HEAD, break_long_words=False))


def _counts(sets: list[FigureDocument]) -> Iterator[tuple[str, ...]]:
    """The paths of all counts and amounts in any of the sets, in the order of the documents."""
    found: dict[tuple[str, ...], None] = {}
    for each in sets:
        for name, value in each.items():
            if name == "rates":
                continue
            if not isinstance(value, Mapping):
                found[name,] = None
                continue
            for key, inner in value.items():
                found.update({(name, key, part): None for part in inner} if name == "revenue" else {(name, key): None})
    yield from found


def _number(figures: FigureDocument, path: tuple[str, ...]) -> Cell:
    value: Any = figures
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None:
        return NONE
    if isinstance(value, Mapping):
        return f"{Decimal(value['value']):,} {value['currency']}"
    return f"{Decimal(value) if isinstance(value, str) else value:,}"


def shown_rate(name: str, figures: FigureDocument) -> Cell:
    """A KPI of a figure set, with the sign and the colour of its band."""
    value = figures["rates"].get(name)
    if value is None:
        return NONE
    kpi = next(kpi for kpi in KPIS if kpi.name == name)
    shown = f"{value:.1%}" if kpi.unit == "percent" else f"{value:.2f}"
    names = [each.name for each in kpi.bands]
    band = kpi.band(value)
    if band not in names:
        return shown
    place = names.index(band)
    return Text(f"{_SIGNS[place]} {shown}", style=_COLOURS[place])
