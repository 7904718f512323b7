"""`upsell-stream offers`: what became of each offer in each slot, read from Redis."""

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import click
from rich.console import Console

from stream.cli.figures import NONE, Cell, Section, headlines
from stream.cli.options import HISTORY, REDIS, with_settings
from stream.cli.past import answer, query_of
from stream.cli.screen import output, printable
from stream.observe.queries import OffersQuery
from stream.observe.selling import offers_csv, read_offers
from stream.settings import Settings

_COUNTS: Final = ("shown", "declined", "accepted")
_RATES: Final = ("acceptance_rate", "incremental_rate")
_MONEY: Final = ("gross", "kept")


@click.command(
    epilog="""\b
Examples:
  upsell-stream offers
  upsell-stream offers --journey checkout --from 30d
  upsell-stream offers --offer-id cart-banner --step 1d
  upsell-stream offers --csv --step 1d --from 35d > offers.csv
"""
)
@click.option("--journey", metavar="NAME", help="checkout or subscription.  [both]")
@click.option("--offer-id", metavar="TEXT", help="Only this offer.")
@click.option("--slot", metavar="TEXT", help="Only this slot.")
@click.option(
    "--from",
    "begin",
    metavar="TIME",
    help="Any moment of the first day: `now`, how long ago (6h, 2d), or a time.  [7 days with the running one]",
)
@click.option("--to", "end", metavar="TIME", help="First moment after the range, written as for --from.  [now]")
@click.option("--step", metavar="all|1d", help="The sum of all days, or each day.  [all]")
@click.option("--json", "as_json", is_flag=True, help="Print the document of /api/v1/offers.")
@click.option("--csv", "as_csv", is_flag=True, help="Print its rows as CSV.")
@with_settings(("app_id", *REDIS, *HISTORY, "behind_seconds"))
def offers(settings: Settings, *, as_json: bool, as_csv: bool, **options: str | None) -> None:
    """Show what became of offers: shown, declined, accepted, what the acceptance brought, and what refunds left of it.

    "acceptance rate": accepted / shown. "incremental rate": the accepted ones that brought more (upsell, cross_sell, restored) / accepted. Days are kept for
    35 days, unless the settings say otherwise. --json and --csv say what the accepted ones were judged.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are both given; choose one")
    names = {"from": options.pop("begin"), "to": options.pop("end")}
    query = query_of(OffersQuery, **names, **options)
    document = answer(settings, query, read_offers)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    elif as_csv:
        click.echo(offers_csv(document), nl=False)
    else:
        show(document)


def show(document: Mapping[str, Any]) -> None:
    """Print offers: a table for each journey and, by day, for each day."""
    console = output()
    opening(console, document)
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for row in document["rows"]:
        tables.setdefault(_title(document, row), []).append(row)
    for title, rows in tables.items():
        console.print("", _section(title, rows), sep="\n")
    if not document["rows"]:
        console.print("", "no such offer was counted on these days", sep="\n")
    for each in document["other"]:
        where = _title(document, each)
        console.print(
            "",
            f"{where}, beyond the bound of a day: {each['shown']:,} shown, {each['declined']:,} declined, {each['accepted']:,} accepted; "
            "offers that are in part there have no rates",
            sep="\n",
        )


def opening(console: Console, document: Mapping[str, Any]) -> None:
    """Print whether the figures are current, and which days they are from."""
    console.print(*headlines(document["as_of"], document.get("state", {})), sep="\n")
    partial = ", not complete" if document["partial"] else ""
    console.print(f"{document['from'][:16]} to {document['to'][:16]} ({document['time_zone']}){partial}")
    if document["since"] is not None:
        console.print(f"the counts are complete since {document['since']}")


def _title(document: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    """The journey of a row, and its day; a day that is not complete with a tilde."""
    return (
        str(row["journey"])
        if document["step"] == "all"
        else f"{row['journey']}, {row['start'][:10]}{'~' * row['partial']}"
    )


def _section(title: str, rows: Sequence[Mapping[str, Any]]) -> Section:
    money = [(name, currency) for name in _MONEY for currency in sorted({each for row in rows for each in row[name]})]
    return Section(
        title,
        title,
        (*_COUNTS, *_RATES, "reversed", *(f"{name} {currency}" for name, currency in money)),
        tuple(
            (
                printable(f"{row['offer_id']}, {row['slot']}"),
                (
                    *(f"{row[name]:,}" for name in _COUNTS),
                    *(NONE if row[name] is None else f"{row[name]:.1%}" for name in _RATES),
                    f"{row['reversed']:,}",
                    *amounts((row[name], currency) for name, currency in money),
                ),
            )
            for row in rows
        ),
        foldable=True,
    )


def amounts(places: Iterable[tuple[Mapping[str, str], str]]) -> Iterable[Cell]:
    """Amounts in currencies, as cells."""
    return (f"{Decimal(money[currency]):,}" if currency in money else NONE for money, currency in places)
