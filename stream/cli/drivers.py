"""`upsell-stream drivers`: which products sell, and what leads to what, read from Redis."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from stream.cli.figures import NONE, Cell, Section
from stream.cli.offers import amounts, opening
from stream.cli.options import HISTORY, REDIS, with_settings
from stream.cli.past import answer, query_of
from stream.cli.screen import output, printable
from stream.observe.queries import DriversQuery
from stream.observe.selling import drivers_csv, read_drivers
from stream.settings import Settings

_TITLES: Final = {
    "paths": "upsells: from → to (reason)",
    "pairs": "pairs: intent + cross-sell",
    "products": "products",
}
_RATIOS: Final = ("support", "confidence", "lift")
SHOWN: Final = 12
"""Rows of each table without `--limit`."""


@click.command(
    epilog="""\b
Examples:
  upsell-stream drivers
  upsell-stream drivers --kind pairs --from 30d --limit 50
  upsell-stream drivers --product running-shoes
  upsell-stream drivers --csv --kind pairs --limit 10000 > pairs.csv
"""
)
@click.option("--journey", metavar="NAME", default="checkout", show_default=True, help="checkout or subscription.")
@click.option("--kind", metavar="NAME", help="paths, pairs or products.  [all three]")
@click.option("--product", metavar="TEXT", help="Only rows that name this product.")
@click.option("--limit", metavar="NUMBER", help=f"Rows of each kind, 1 to 10000.  [{SHOWN}; JSON and CSV: 100]")
@click.option(
    "--from",
    "begin",
    metavar="TIME",
    help="Any moment of the first day: `now`, how long ago (6h, 2d), or a time.  [7 days with the running one]",
)
@click.option("--to", "end", metavar="TIME", help="First moment after the range, written as for --from.  [now]")
@click.option("--json", "as_json", is_flag=True, help="Print the document of /api/v1/drivers.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the rows of one kind as CSV.")
@with_settings(("app_id", *REDIS, *HISTORY, "behind_seconds"))
def drivers(settings: Settings, *, as_json: bool, as_csv: bool, **options: str | None) -> None:
    """Show what sells: upsells from product to product, pairs of what was intended and what was bought besides, products.

    Of the transactions with known intent, "support" is the share that has the pair; "confidence" is the share of those with the first product in the intent
    that have the second one as a cross-sell; "lift" is how many times as often that is as by chance.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv are both given; choose one")
    names = {"from": options.pop("begin"), "to": options.pop("end"), "format": "csv" if as_csv else None}
    query = query_of(DriversQuery, **names, **options)
    document = answer(settings, query, read_drivers)
    if as_json:
        click.echo(json.dumps(document, indent=2))
    elif as_csv:
        click.echo(drivers_csv(document), nl=False)
    else:
        show(document, most=SHOWN if options["limit"] is None else query.limit)


def show(document: Mapping[str, Any], most: int = SHOWN) -> None:
    """Print drivers: a table for each kind, with at most so many rows."""
    console = output()
    opening(console, document)
    console.print(
        f"{document['journey']}: {document['transactions']:,} transactions, {document['known']:,} with known intent, {document['reversed']:,} reversed"
    )
    for kind, beyond_limit in document["left_out"].items():
        rows, other = document[kind], document["other"][kind]
        left_out = beyond_limit + max(0, len(rows) - most)
        if rows:
            console.print("", _section(kind, rows[:most]), sep="\n")
        else:
            console.print("", f"{_TITLES[kind]}: none", sep="\n")
        if left_out:
            console.print(f"{left_out:,} more {'is' if left_out == 1 else 'are'} left out; see --limit and --json")
        if other["transactions"]:
            console.print(f"beyond the bound of a day, without their names: {other['transactions']:,}")


def _section(kind: str, rows: Sequence[Mapping[str, Any]]) -> Section:
    ratios = _RATIOS if kind == "pairs" else ()
    currencies = sorted({currency for row in rows for currency in row["amounts"]})
    return Section(
        kind,
        _TITLES[kind],
        ("transactions", *ratios, "reversed", *currencies),
        tuple(
            (
                printable(_name(kind, row)),
                (
                    f"{row['transactions']:,}",
                    *(_ratio(name, row[name]) for name in ratios),
                    f"{row['reversed']:,}",
                    *amounts((row["amounts"], currency) for currency in currencies),
                ),
            )
            for row in rows
        ),
        foldable=True,
    )


def _name(kind: str, row: Mapping[str, Any]) -> str:
    if kind == "paths":
        return f"{row['intent']} → {row['product']} ({row['reason']})"
    return f"{row['intent']} + {row['cross_sell']}" if kind == "pairs" else str(row["product"])


def _ratio(name: str, value: float | None) -> Cell:
    if value is None:
        return NONE
    return f"{value:.2f}" if name == "lift" else f"{value:.1%}"
