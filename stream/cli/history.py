"""`upsell-stream history`: the figures of each hour or day, read from Redis."""

import json
from itertools import dropwhile
from typing import Any, Final

import click
from rich.bar import Bar
from rich.table import Table

from stream.cli.figures import headlines, shown_rate
from stream.cli.options import HISTORY, REDIS, with_settings
from stream.cli.past import answer, query_of
from stream.cli.screen import output, printable
from stream.core.counting.figures import ALL
from stream.core.counting.kpi import KPIS, CustomerKind
from stream.observe.past import csv_of, read_history
from stream.observe.queries import HistoryQuery
from stream.settings import Settings

_KPIS: Final = tuple(kpi.name for kpi in KPIS if not isinstance(kpi.numerator, CustomerKind))
_OF_SEGMENTS: Final = tuple(kpi.name for kpi in KPIS if ALL not in kpi.dimensions)
_COUNTS: Final = ("opportunities", "transactions")
_BAR: Final = 16
"""Columns of the longest bar."""


@click.command(
    epilog="""\b
Examples:
  upsell-stream history --from 12h
  upsell-stream history --step 1d --from 14d --journey checkout
  upsell-stream history --dimension segment --value vip --kpi cross_sell_rate
  upsell-stream history --csv --from 7d > hours.csv
"""
)
@click.option("--journey", metavar="NAME", help="checkout or subscription.  [both]")
@click.option("--dimension", metavar="NAME", help="all, channel or segment.  [all]")
@click.option("--value", metavar="TEXT", help="Only this channel or segment.")
@click.option(
    "--from", "begin", metavar="TIME", help="First moment: `now`, how long ago (6h, 2d), or a time.  [24h; 14d]"
)
@click.option("--to", "end", metavar="TIME", help="First moment after the range, written as for --from.  [now]")
@click.option("--step", metavar="1h|1d", help="By hour or by day.  [1h]")
@click.option("--kpi", type=click.Choice(_KPIS), default=_KPIS[0], show_default=True, help="The KPI in the chart.")
@click.option("--json", "as_json", is_flag=True, help="Print the document of /api/v1/history.")
@click.option("--csv", "as_csv", is_flag=True, help="Print its rows as CSV.")
@with_settings(("app_id", *REDIS, *HISTORY, "behind_seconds"))
def history(settings: Settings, *, kpi: str, as_json: bool, as_csv: bool, **options: str | None) -> None:
    """Show the figures of each hour or day: a chart of one KPI, with its counts.

    Hours are kept for 8 days and days for 35 days, unless the settings say otherwise. An hour or day that is not over is marked with a tilde (~).
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are both given; choose one")
    if kpi in _OF_SEGMENTS and options["dimension"] != "segment":
        raise click.UsageError(f"--kpi {kpi} exists with --dimension segment only; cross_sell_rate is the same for all")
    query = query_of(
        HistoryQuery,
        journey=options["journey"], dimension=options["dimension"], value=options["value"],
        **{"from": options["begin"], "to": options["end"]}, step=options["step"],
    )  # fmt: skip
    document = answer(settings, query, read_history)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    elif as_csv:
        click.echo(csv_of(document), nl=False)
    else:
        show(document, kpi)


def show(document: dict[str, Any], kpi: str) -> None:
    """Print a history as charts of one KPI: one for each journey and value."""
    console = output()
    console.print(*headlines(document["as_of"], document.get("state", {})), sep="\n")
    if document["since"] is not None:
        console.print(f"the history is complete since {document['since']}; rows before are left out")
    charts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in document["rows"]:
        charts.setdefault((row["journey"], row["value"]), []).append(row)
    for (journey, value), rows in sorted(charts.items()):
        if shown := [*dropwhile(_is_empty, rows)]:
            console.print("", _chart(journey, document, value, shown, kpi), sep="\n")
    console.print("", f"times in {document['time_zone']}; ~ not complete", sep="\n")


def _is_empty(row: dict[str, Any]) -> bool:
    return not (row["opportunities"] or row["transactions"])


def _chart(journey: str, document: dict[str, Any], value: str, rows: list[dict[str, Any]], kpi: str) -> Table:
    where = "" if document["dimension"] == ALL else f", {document['dimension']} {printable(value)}"
    table = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), title=f"{journey}{where}: {kpi}", title_justify="left"
    )
    table.add_column("start", no_wrap=True)
    table.add_column("", width=_BAR)
    for name in ("rate", *_COUNTS):
        table.add_column(name, justify="right", no_wrap=True)
    highest = max((row["rates"][kpi] or 0 for row in rows), default=0)
    for row in rows:
        rate = row["rates"][kpi]
        bar = Bar(highest or 1, 0, rate or 0, width=_BAR, color="cyan")
        counts = (f"{row[name]:,}" for name in _COUNTS)
        table.add_row(_start(row, document["step"]), bar, shown_rate(kpi, row), *counts)
    return table


def _start(row: dict[str, Any], step: str) -> str:
    day, _, time = row["start"].partition("T")
    return f"{day}{f' {time[:5]}' if step == '1h' else ''}{'~' if row['partial'] else ''}"
