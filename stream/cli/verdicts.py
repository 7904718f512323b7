"""Judged transactions for people: a heading for each, and a line for each verdict. Fits 80 columns; breaks between words only."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from stream.cli.screen import printable
from stream.core.result import Judged, JudgedLine

_STYLES: Final = {"upsell": "green", "cross-sell": "green", "downsell": "red", "restored": "cyan", "reversed": "red"}
_INDENT: Final = (0, 0, 0, 2)
_KIND_WIDTH: Final = max(map(len, _STYLES))
_WHY_NONE: Final = {
    "known": "nothing beyond the intent",
    "unknown": "the intent is unknown: no {} came before",
    "incomparable": "the intent is incomparable: it is in another currency",
}
"""Why a transaction has no verdict, by its intent."""


def verdicts(transactions: Sequence[Judged]) -> Iterator[RenderableType]:
    """What to print for the transactions, in their order."""
    rows = [[*_rows(transaction)] for transaction in transactions]
    width = max((len(amount) for each in rows for _, amount, _ in each), default=0)
    for judged, each in zip(transactions, rows, strict=True):
        yield Text.assemble(
            (printable(judged.subject), "bold"), f"  {judged.time[:16].replace('T', ' ')} UTC", overflow="fold"
        )
        yield Padding(Text(_sale(judged)), _INDENT, expand=False)
        if each:
            yield Padding(_table(each, width), _INDENT, expand=False)
        yield ""


def _sale(judged: Judged) -> str:
    """What the customer came for and what was paid; why there is no verdict, if there is none."""
    came_for = f"{_shown(judged.initial)} → " if judged.intent == "known" else ""
    unit, intended = (" a month", "plan") if judged.journey == "subscription" else ("", "cart")
    none = "" if judged.lines else f": no verdict, {_WHY_NONE[judged.intent].format(intended)}"
    return f"{came_for}{_shown(judged.final)} {judged.currency}{unit}{none}"


def _rows(judged: Judged) -> Iterator[tuple[str, str, str]]:
    for line in judged.lines:
        yield line.kind.replace("_", "-"), _shown(line.amount), _because(line)
    back = judged.reversed.amounts["final"]
    if judged.reversed.transaction:
        yield "reversed", _shown(back), "nothing is left of the sale"
    elif Decimal(back):
        yield "reversed", _shown(back), "part of the sale was given back"


def _because(line: JudgedLine) -> str:
    """The reason, the line of the intent and that of the sale (by sku or plan, else by product), and the offer."""
    named = [line.intent_sku or line.intent_product_id, line.sku or line.product_id]
    items = " → ".join(dict.fromkeys(name for name in named if name))
    offer = f"(offer {line.offer_id})" if line.offer_id else ""
    return printable(" ".join(part for part in (f"{line.reason.replace('_', ' ')}:", items, offer) if part))


def _table(rows: list[tuple[str, str, str]], amount_width: int) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for kind, amount, because in rows:
        table.add_row(Text(f"{kind:{_KIND_WIDTH}}", style=_STYLES[kind]), f"{amount:>{amount_width}}", Text(because))
    return table


def _shown(amount: str) -> str:
    return f"{Decimal(amount):,}"
