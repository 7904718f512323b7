"""Figures as tables for people, made from the documents that `--json` prints.

Rules: the names are those of the documents. A KPI without a value is a dash. The colour shows the band of a KPI (`stream.core.counting.kpi`) and
nothing else.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stream.cli.screen import printable
from stream.core.counting.figures import JOURNEYS
from stream.core.counting.kpi import KPIS

FigureDocument = Mapping[str, Any]
"""A figure set as JSON values."""

_NONE: Final = Text("-", style="dim")
_COLOURS: Final = ("green", "", "yellow")
"""Colours of the first, second and third band."""
_BRIEF: Final = (("opportunities",), ("transactions",))


def by_window(windows: Mapping[str, Mapping[str, Any]], *, brief: bool = False) -> Iterator[RenderableType]:
    """A table for each journey with a column for each window. `brief`: only KPIs and the most important counts."""
    for journey in JOURNEYS:
        yield columns(journey, {name: sections[journey] for name, sections in windows.items()}, brief=brief)


def by_label(window: str, sections: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A table for each dimension that has values, with a row for each value; both journeys together."""
    for dimension in ("segment", "channel", "category"):
        if sections[dimension]:
            yield rows(f"by {dimension}, {window}", dimension, sections[dimension])


def one_window(window: str, sections: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A table with a column for each journey, then a table for each dimension."""
    yield columns(window, {name: sections[name] for name in (*JOURNEYS, "all")})
    if "segment" in sections:
        yield from by_label(window, sections)


def columns(title: str, figures: Mapping[str, FigureDocument], *, brief: bool = False) -> Table:
    """A table with a column for each figure set and a row for each figure, KPIs first. `brief`: only the counts in `_BRIEF`."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    sets = list(figures.values())
    for kpi in KPIS:
        if any(kpi.name in each["rates"] for each in sets):
            table.add_row(kpi.name, *(_rate(kpi.name, each) for each in sets))
    for path in _BRIEF if brief else _counts(sets):
        table.add_row(" ".join(path), *(_number(each, path) for each in sets))
    return table


def rows(title: str, dimension: str, figures: Mapping[str, FigureDocument]) -> Table:
    """A table with a row for each value of a dimension, most transactions first."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    kpis = [kpi.name for kpi in KPIS if any(kpi.name in each["rates"] for each in figures.values())]
    table.add_column(dimension, overflow="fold")
    for name in ("transactions", *kpis):
        table.add_column(name, justify="right", overflow="fold", min_width=9)
    for value, each in sorted(figures.items(), key=lambda item: (-item[1]["transactions"], item[0])):
        table.add_row(Text(printable(value)), f"{each['transactions']:,}", *(_rate(kpi, each) for kpi in kpis))
    return table


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
                found.update(
                    {(name, key, part): None for part in inner} if isinstance(inner, Mapping) else {(name, key): None}
                )
    yield from found


def _number(figures: FigureDocument, path: tuple[str, ...]) -> str | Text:
    value: Any = figures
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None:
        return _NONE
    return f"{Decimal(value) if isinstance(value, str) else value:,}"


def _rate(name: str, figures: FigureDocument) -> str | Text:
    value = figures["rates"].get(name)
    if value is None:
        return _NONE
    kpi = next(kpi for kpi in KPIS if kpi.name == name)
    band = kpi.band(value)
    names = [each.name for each in kpi.bands]
    shown = f"{value:.1%}" if kpi.unit == "percent" else f"{value:.2f}"
    return Text(shown, style=_COLOURS[names.index(band)] if band in names else "")
