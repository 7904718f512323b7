"""`upsell-stream explain`: what changed a rate, for somebody on call without a browser."""

import json
from typing import Any, Final

import click
from rich.table import Table

from stream.cli.figures import headlines
from stream.cli.options import HISTORY, REDIS, with_settings
from stream.cli.past import answer, query_of
from stream.cli.screen import output, printable
from stream.core.counting.explain import explainable
from stream.core.counting.kpi import KPIS
from stream.observe.past import read_explanation
from stream.observe.queries import ExplainQuery
from stream.settings import Settings

_AGAINST: Final = {
    "yesterday": "the same hours yesterday",
    "last_week": "the same hours a week ago",
    "previous": "the hours just before",
}
_SHOWN: Final = 12
"""Parts in the table, at most."""


@click.command(
    epilog="""\b
Examples:
  upsell-stream explain
  upsell-stream explain --kpi cross_sell_rate --against last_week
  upsell-stream explain --dimension segment --value vip --from 3h
  upsell-stream explain --from 2026-01-31T10:00:00Z --to 2026-01-31T12:00:00Z --json
"""
)
@click.option(
    "--kpi", type=click.Choice(explainable()), default=explainable()[0], show_default=True, help="The rate to explain."
)
@click.option("--journey", metavar="NAME", default="checkout", show_default=True, help="checkout or subscription.")
@click.option("--dimension", metavar="NAME", help="all, channel or segment.  [all]")
@click.option("--value", metavar="TEXT", help="Only within this channel or segment.")
@click.option(
    "--from",
    "begin",
    metavar="TIME",
    help="First moment: `now`, how long ago (6h, 2d), or a time.  [the last full hour]",
)
@click.option(
    "--to", "end", metavar="TIME", help="First moment after; `now` takes the running hour, too.  [the last full hour]"
)
@click.option(
    "--against", metavar="PERIOD", default="yesterday", show_default=True, help="yesterday, last_week or previous."
)
@click.option("--json", "as_json", is_flag=True, help="Print the document of /api/v1/explain.")
@with_settings(("app_id", *REDIS, *HISTORY, "behind_seconds"))
def explain(settings: Settings, *, as_json: bool, begin: str | None, end: str | None, **options: str | None) -> None:
    """Say which channels and segments changed a rate, and whether by their own rate or by their share of the whole.

    "its rate": customers of the channel and segment bought more or less often than before. "the mix": there were more or fewer of them than before, compared
    with all others, and their rate differs from the average. All parts together are the whole change.
    """
    query = query_of(ExplainQuery, **{"from": begin, "to": end}, **options)
    document = answer(settings, query, read_explanation)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        show(document)


def show(document: dict[str, Any]) -> None:
    """Print an explanation."""
    console = output()
    before, after = document["before"], document["after"]
    where = "" if document["value"] == "all" else f", {document['dimension']} {printable(document['value'])}"
    console.print(*headlines(document["as_of"], document.get("state", {})), sep="\n")
    console.print("", f"{document['kpi']}, {document['journey']}{where}: {document['formula']}", sep="\n")
    for name, period in (("now", after), ("before", before)):
        divided = f"({period['numerator']:,} of {period['denominator']:,})"
        partial = "  not complete" if period["partial"] else ""
        console.print(f"  {name:8}{_shown(document, period['value']):>9}  {divided}  {_hours(period)}{partial}")
    if document["since"] is not None:
        console.print(f"  the history is complete since {document['since']}: the comparison lacks what came before")
    if document["change"] is None:
        console.print("", "one of the two has no rate, so there is nothing to compare", sep="\n")
        return
    console.print(f"  {'change':8}{_change(document, document['change']):>9}  against {_AGAINST[document['against']]}")
    if document["main"] is None:
        console.print("", "the rate did not change", sep="\n")
        return
    main = [(each["channel"], each["segment"]) for each in document["main"]]
    parts = [part for part in document["parts"] if (part["channel"], part["segment"]) in main]
    console.print("", f"at least four fifths of it {'is' if len(parts) == 1 else 'are'}:", sep="\n")
    for part in parts:
        console.print(*_sentences(document, part), sep="\n", soft_wrap=False)
    largest = document["parts"][0]
    if largest not in parts:
        # A small cell may fall while the whole rises by chance: it still is what somebody should look at.
        console.print("", "the largest part of all, against the change of the whole:", sep="\n")
        console.print(*_sentences(document, largest), sep="\n", soft_wrap=False)
    console.print("", _table(document), sep="\n")
    if len(document["parts"]) > _SHOWN:
        console.print(f"{len(document['parts']) - _SHOWN} smaller ones are left out; see --json")


def _sentences(document: dict[str, Any], part: dict[str, Any]) -> list[str]:
    before, after = part["before"], part["after"]
    lines = [f"  {_change(document, part['change'])}  {_cell(part)}"]
    reasons = {
        "rate": f"its rate: {_shown(document, before['value'])} before, {_shown(document, after['value'])} now",
        "mix": f"the mix: {before['share']:.1%} of the whole before, {after['share']:.1%} now",
    }
    lines += [
        f"      {_change(document, part[name])}  {reasons[name]}"
        for name in sorted(reasons, key=lambda name: -abs(part[name]))
        if part[name]
    ]
    return lines


def _table(document: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True)
    table.add_column("channel, segment", overflow="fold")
    for name in ("part", "its rate", "the mix", "before", "now"):
        table.add_column(name, justify="right", no_wrap=True)
    for part in document["parts"][:_SHOWN]:
        changes = (_change(document, part[name]) for name in ("change", "rate", "mix"))
        table.add_row(_cell(part), *changes, *(_shown(document, part[name]["value"]) for name in ("before", "after")))
    return table


def _cell(part: dict[str, Any]) -> str:
    return f"{printable(part['channel'])}, {printable(part['segment'])}"


def _hours(period: dict[str, Any]) -> str:
    begin, end = period["from"], period["to"]
    return f"{begin[:10]} {begin[11:16]} to {end[11:16] if begin[:10] == end[:10] else f'{end[:10]} {end[11:16]}'}"


def _is_percent(document: dict[str, Any]) -> bool:
    return next(kpi.unit for kpi in KPIS if kpi.name == document["kpi"]) == "percent"


def _shown(document: dict[str, Any], value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if _is_percent(document) else f"{value:.3f}"


def _change(document: dict[str, Any], value: float) -> str:
    """In percentage points of a rate, or plain."""
    if not value:
        return "0"
    return f"{100 * value:+.2f}pp" if _is_percent(document) else f"{value:+.3f}"
