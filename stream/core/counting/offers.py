"""Offers: the funnel of each offer in each slot, over some days. Shown, declined, accepted; what the acceptance was judged; what is left of it.

    acceptance rate      accepted / shown
    incremental rate     accepted with a verdict upsell, cross_sell or restored / accepted

Rules: everything is a sum over shards and days. A ratio without a denominator has no value; neither has one of an offer that has no place on some day of
some shard (it is counted as `OVERFLOW` there).
"""

from collections.abc import Callable, Iterable, Mapping
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


class Funnel(msgspec.Struct, frozen=True):
    """What became of offers. Amounts are decimal strings in major units by currency."""

    shown: int
    declined: int
    accepted: int
    by_verdict: Mapping[str, int]
    reversed: int
    acceptance_rate: float | None
    incremental_rate: float | None
    gross: Mapping[str, str]
    kept: Mapping[str, str]


class OfferRow(msgspec.Struct, frozen=True):
    """One offer in one slot."""

    offer_id: str
    slot: str
    funnel: Funnel


def offer_rows(
    tallies: Tallies, wanted: Callable[[str, str], bool], is_complete: Callable[[Key], bool]
) -> list[OfferRow]:
    """A row for each (offer, slot) that counted something and is `wanted`, most shown and accepted first. `is_complete` as of `Days`."""
    found = []
    for key, tally in tallies.items():
        if key != OVERFLOW and any(tally.counts):
            offer_id, slot = key
            if wanted(offer_id, slot):
                found.append(OfferRow(offer_id, slot, _funnel([tally], has_rates=is_complete(key))))
    return sorted(found, key=lambda row: (-row.funnel.shown, -row.funnel.accepted, row.offer_id, row.slot))


def beyond(tallies: Tallies) -> Funnel:
    """What lies beyond the bound, of all offers together."""
    return _funnel([tally for key, tally in tallies.items() if key == OVERFLOW], has_rates=True)


def _funnel(tallies: Iterable[Tally], *, has_rates: bool) -> Funnel:
    whole = Tally([0] * _COUNTS, {})
    for tally in tallies:
        whole.add(tally)
    shown, declined, *accepted, was_reversed = whole.counts
    verdicts = dict(zip(VERDICTS, accepted, strict=True))
    total = sum(accepted)
    gains = sum(verdicts[name] for name in _GAINS)
    return Funnel(
        shown,
        declined,
        total,
        {name: verdicts[name] for name in SHOWN_VERDICTS},
        was_reversed,
        _ratio(total, shown) if has_rates else None,
        _ratio(gains, total) if has_rates else None,
        *(
            {currency: plain(own[at], exponent(currency)) for currency, own in sorted(whole.amounts.items())}
            for at in (0, 1)
        ),
    )


def _ratio(above: int, below: int) -> float | None:
    return round(float(Fraction(above, below)), DECIMALS) if below > 0 else None
