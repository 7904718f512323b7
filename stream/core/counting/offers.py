"""Offers: the funnel of each offer in each slot, over some days. Shown, declined, accepted; what the acceptance was judged; what is left of it.

    acceptance rate      accepted / shown
    incremental rate     accepted with a verdict upsell, cross_sell or restored / accepted

Rules: everything is a sum over shards and days. A ratio without a denominator has no value; neither has one of an offer that has no place on some day of
some shard (it is counted as `OVERFLOW` there).
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Final

import msgspec

from stream.core.counting.figures import DECIMALS
from stream.core.entities.offers import VERDICTS
from stream.core.entities.tally import OVERFLOW, Key, Tallies, Tally
from stream.core.money import exponent, plain

SHOWN_VERDICTS: Final = ("upsell", "cross_sell", "downsell", "restored", "nothing", "unknown")
"""Verdicts in the order of the documents."""
_GAINS: Final = ("upsell", "cross_sell", "restored")
_COUNTS: Final = 2 + len(VERDICTS) + 1


class OfferRow(msgspec.Struct, frozen=True):
    """One offer in one slot. Amounts are decimal strings in major units by currency."""

    offer_id: str
    slot: str
    shown: int
    declined: int
    accepted: int
    by_verdict: Mapping[str, int]
    reversed: int
    acceptance_rate: float | None
    incremental_rate: float | None
    gross: Mapping[str, str]
    kept: Mapping[str, str]


def _everything(_: Key) -> bool:
    return True


def offer_rows(
    tallies: Tallies, wanted: Callable[[Key], bool] = _everything, is_complete: Callable[[Key], bool] = _everything
) -> tuple[list[OfferRow], OfferRow | None]:
    """A row for each (offer, slot) that counted something and is `wanted`, most shown and accepted first; and what lies beyond the bound, if anything does.

    `is_complete` as of `stream.core.counting.days.Total`.
    """
    rows = [
        _row(key, tally, has_rates=is_complete(key))
        for key, tally in tallies.items()
        if key != OVERFLOW and any(tally.counts) and wanted(key)
    ]
    rows.sort(key=lambda row: (-row.shown, -row.accepted, row.offer_id, row.slot))
    other = tallies.get(OVERFLOW)
    return rows, None if other is None or not any(other.counts) else _row(("", ""), other, has_rates=True)


def _row(key: Key, tally: Tally, *, has_rates: bool) -> OfferRow:
    offer_id, slot = key
    shown, declined, *accepted, was_reversed = [*tally.counts, *[0] * (_COUNTS - len(tally.counts))]
    verdicts = dict(zip(VERDICTS, accepted, strict=True))
    total = sum(accepted)
    return OfferRow(
        offer_id,
        slot,
        shown,
        declined,
        total,
        {name: verdicts[name] for name in SHOWN_VERDICTS},
        was_reversed,
        _ratio(total, shown) if has_rates else None,
        _ratio(sum(verdicts[name] for name in _GAINS), total) if has_rates else None,
        *(
            {
                currency: plain(own[at], exponent(currency))
                for currency, own in sorted(tally.amounts.items())
                if any(own)
            }
            for at in (0, 1)
        ),
    )


def _ratio(above: int, below: int) -> float | None:
    return round(float(Fraction(above, below)), DECIMALS) if below > 0 else None
