"""The rules of a subscription, as stories: events in order, and what each one of them leads to.

The outcome of an event is written as `+` for an opportunity, then its result where it is not `applied`, then its transaction as
`intent | verdicts | initial -> final`, then `lost:` and what was reversed of it. The outcomes are those after the last event of the story.
Events are an hour apart where no time is given.
"""

import itertools
import random

import pytest
from support.carts import item
from support.stories import Story

DAY = 24


def p(q, price="10"):
    """Seats of the base plan."""
    return [item("P1", q, price, base=True)]


PRO = [item("Q1", 1, "80", base=True, product="P")]
OTHER = [item("Z1", 1, "20", base=True)]
FREE = [item("F1", 1, "0", base=True)]
ADDON = item("A1", 1, "7")
KEPT = "+ known |  | 50.00 -> 50.00"
"""A transaction of five seats without verdict."""


def ev(type, items=None, expected="", *, at=None, **more):
    """An event and its outcome."""
    return type, items, expected, at, more


CREATED = ev("created", p(5), KEPT)
CANCELED = ev("canceled")
TRIAL = ev("created", p(5), "+", trialing=True)

FIRST_PLAN = {
    "one opportunity and one transaction": [CREATED],
    "a second one while active changes nothing": [
        CREATED,
        ev("created", PRO),
        ev("changed", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00"),
    ],
    "a second one in a trial changes nothing": [TRIAL, ev("created", PRO)],
    "a first one after other events counts": [
        ev("changed", p(5), "+ unknown |  | 0.00 -> 50.00"),
        ev("created", p(6), "+ known |  | 60.00 -> 60.00"),
    ],
    "without items it counts": [ev("created", [], "+ known |  | 0.00 -> 0.00")],
    "with an explicit intent it is judged against that, and so are later ones": [
        ev("created", p(5), "+ known | upsell quantity 20.00 | 30.00 -> 50.00", intent=p(3)),
        ev("changed", p(2), "+ known | downsell quantity 30.00 | 50.00 -> 20.00"),
        ev("changed", p(5), "+ known | upsell quantity 20.00, restored restored 10.00 | 20.00 -> 50.00"),
    ],
    "an explicit intent without items is a known, empty one": [
        ev("created", p(5), "+ known | cross_sell addon 50.00 | 0.00 -> 50.00", intent=[])
    ],
    "an explicit intent holds from its event on, and the first one stays": [
        CREATED,
        ev("changed", p(2), "+ known | downsell quantity 30.00 | 50.00 -> 20.00", intent=p(2)),
        ev("changed", p(5), "+ known | upsell quantity 30.00 | 20.00 -> 50.00", intent=p(5)),
    ],
    "an explicit intent goes before previous": [
        ev("created", p(5), "+ known | upsell quantity 10.00 | 40.00 -> 50.00", intent=p(4), previous=p(3))
    ],
    "with previous it is judged as a change from that, and so are later ones": [
        ev("created", p(5), "+ known | upsell quantity 20.00 | 30.00 -> 50.00", previous=p(3)),
        ev("changed", p(2), "+ known | downsell quantity 30.00 | 50.00 -> 20.00"),
        ev("changed", p(5), "+ known | upsell quantity 20.00, restored restored 10.00 | 20.00 -> 50.00"),
    ],
    "an empty previous is absent": [ev("created", p(5), KEPT, previous=[])],
    "an explicit intent of an earlier event": [
        ev("change_scheduled", p(5), intent=p(3)),
        ev("created", p(5), "+ known | upsell quantity 20.00 | 30.00 -> 50.00"),
    ],
}

CHECKOUTS = {
    "sold in a checkout it has neither opportunity nor transaction": [
        ev("created", p(5), in_checkout=True),
        ev("changed", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00"),
    ],
    "its first payment is no conversion": [ev("created", p(5), in_checkout=True), ev("trial_converted", p(6))],
    "the conversion of a trial that was sold in a checkout counts": [
        ev("created", p(5), in_checkout=True, trialing=True),
        ev("trial_converted", p(6), "known | upsell quantity 10.00 | 50.00 -> 60.00"),
    ],
    "a refund finds no transaction": [ev("created", p(5), in_checkout=True), ev("refunded", None, "unmatched")],
    "a first plan that continues another is no transaction either": [
        ev("created", p(5), in_checkout=True, previous=p(8)),
        ev("changed", p(8), "+ known | restored restored 30.00 | 50.00 -> 80.00"),
    ],
}

TRIALS = {
    "the first plan is the opportunity, the conversion the transaction": [
        TRIAL,
        ev("changed", p(7)),
        ev("trial_converted", p(7), "known | upsell quantity 20.00 | 50.00 -> 70.00"),
    ],
    "the conversion is judged against an explicit intent": [
        ev("created", p(5), "+", trialing=True, intent=p(4)),
        ev("trial_converted", p(5), "known | upsell quantity 10.00 | 40.00 -> 50.00"),
    ],
    "an intent of the conversion itself": [
        TRIAL,
        ev("trial_converted", p(5), "known | upsell quantity 20.00 | 30.00 -> 50.00", intent=p(3)),
    ],
    "without created the first items are the initial ones": [
        ev("changed", p(4), trialing=True),
        ev("changed", p(9)),
        ev("trial_converted", p(5), "known | upsell quantity 10.00 | 40.00 -> 50.00"),
    ],
    "a conversion as first event knows its previous items": [
        ev("trial_converted", p(5), "known | upsell quantity 10.00 | 40.00 -> 50.00", previous=p(4))
    ],
    "a conversion as first event without previous items has no known intent": [
        ev("change_scheduled", PRO),
        ev("trial_converted", p(5), "unknown |  | 0.00 -> 50.00"),
    ],
    "what is paid is not converted": [CREATED, ev("trial_converted", PRO)],
    "a second conversion changes nothing": [
        TRIAL,
        ev("trial_converted", p(5), "known |  | 50.00 -> 50.00"),
        ev("trial_converted", p(9)),
    ],
    "a change that changes nothing is unchanged in a trial, too": [TRIAL, ev("changed", p(5, "12"), "unchanged")],
    "a renewal ends it": [
        TRIAL,
        ev("renewed", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00"),
        ev("trial_converted", p(9)),
    ],
    "a change to none is a change of items": [
        TRIAL,
        ev("changed", []),
        ev("created", p(9)),
        ev("trial_converted", p(5), "known |  | 50.00 -> 50.00"),
    ],
    "a conversion to none ends it without a transaction": [
        TRIAL,
        ev("trial_converted", []),
        ev("canceled"),
        ev("changed", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00"),
    ],
    "a conversion after it was canceled is still one": [
        TRIAL,
        CANCELED,
        ev("trial_converted", p(6), "known | upsell quantity 10.00 | 50.00 -> 60.00"),
    ],
    "canceled and created again it is an opportunity again": [TRIAL, CANCELED, TRIAL],
    "a conversion to none after it was canceled changes nothing": [
        TRIAL,
        CANCELED,
        ev("trial_converted", [], at=20),
        ev("changed", p(6), "+ known |  | 60.00 -> 60.00", at=30),
    ],
    "a conversion as first event is what the customer came for": [
        ev("trial_converted", p(5), "unknown |  | 0.00 -> 50.00"),
        ev("changed", p(2), "+ known | downsell quantity 30.00 | 50.00 -> 20.00"),
        ev("changed", p(5), "+ known | restored restored 30.00 | 20.00 -> 50.00"),
    ],
}

CHANGES = {
    "one opportunity and one transaction": [
        CREATED,
        ev("changed", [*p(5), ADDON], "+ known | cross_sell addon 7.00 | 50.00 -> 57.00"),
    ],
    "counted nowhere until it happens": [
        CREATED,
        ev("change_scheduled", PRO),
        ev("changed", PRO, "+ known | upsell plan 30.00 | 50.00 -> 80.00"),
    ],
    "back to the initial items is restored, above them an upsell": [
        CREATED,
        ev("changed", p(2), "+ known | downsell quantity 30.00 | 50.00 -> 20.00"),
        ev("changed", p(5), "+ known | restored restored 30.00 | 20.00 -> 50.00"),
        ev("changed", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00"),
    ],
    "a first event has its previous items": [
        ev("changed", PRO, "+ known | upsell plan 30.00 | 50.00 -> 80.00", previous=p(5)),
        ev("changed", p(5), "+ known | downsell plan 30.00 | 80.00 -> 50.00", previous=p(9)),
    ],
    "without state and previous items the intent is unknown": [
        ev("changed", PRO, "+ unknown |  | 0.00 -> 80.00"),
        ev("changed", p(5), "+ known | downsell plan 30.00 | 80.00 -> 50.00"),
    ],
    "to a paid plan from a free one": [
        ev("created", FREE, "+ known |  | 0.00 -> 0.00"),
        ev("changed", p(5), "+ known | upsell plan 50.00 | 0.00 -> 50.00"),
    ],
    "what was removed and not replaced": [
        ev("created", [*p(5), ADDON], "+ known |  | 57.00 -> 57.00"),
        ev("changed", p(5), "+ known | downsell removed 7.00 | 57.00 -> 50.00"),
    ],
}

UNCHANGED = {
    "the same plans, quantities and currency": [CREATED, ev("changed", p(5), "unchanged")],
    "the same plan in two items": [CREATED, ev("changed", [*p(2), *p(3)], "unchanged")],
    "prices are taken over": [
        CREATED,
        ev("changed", p(5, "12"), "unchanged"),
        ev("changed", p(6, "12"), "+ known | upsell quantity 12.00 | 60.00 -> 72.00"),
    ],
    "an explicit intent is taken over": [
        CREATED,
        ev("changed", p(5), "unchanged", intent=p(9)),
        ev("changed", p(8), "+ known | restored restored 30.00 | 50.00 -> 80.00"),
    ],
    "the items before a first event are its previous ones": [
        ev("changed", p(5), "unchanged", previous=p(5, "9")),
        ev("changed", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00"),
    ],
    "another currency is a change": [CREATED, ev("changed", p(5), "+ incomparable |  | 0.00 -> 50.00", currency="USD")],
    "from none to none": [ev("created", [], "+ known |  | 0.00 -> 0.00"), ev("changed", [], "unchanged")],
}

RENEWALS = {
    "without items": [CREATED, ev("renewed", None, KEPT, at=30 * DAY)],
    "an empty list is absent": [CREATED, ev("renewed", [], KEPT, at=30 * DAY)],
    "with the same plans at another price": [
        CREATED,
        ev("renewed", p(5, "12"), "+ known |  | 50.00 -> 60.00", at=30 * DAY),
    ],
    "with other quantities it is judged as a change, once": [
        CREATED,
        ev("renewed", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00", at=30 * DAY),
        ev("changed", p(6), "unchanged", at=30 * DAY + 1),
    ],
    "as first event": [ev("renewed", None, "+ unknown |  | 0.00 -> 0.00")],
    "as first event with its previous items": [ev("renewed", None, KEPT, previous=p(5))],
}

ENDS = {
    "a cancellation is no transaction, and a second one changes nothing": [CREATED, CANCELED, CANCELED],
    "a change to no items is one": [CREATED, ev("changed", []), CANCELED],
    "a change to a price of 0 is one": [CREATED, ev("changed", p(5, "0")), CANCELED],
    "a change to a free plan is one": [CREATED, ev("changed", FREE), CANCELED],
    "a renewal to none is one": [CREATED, ev("renewed", p(5, "0")), CANCELED],
    "of the previous items of a first event": [ev("changed", FREE, previous=p(5)), ev("renewed", None, KEPT)],
    "the previous items of a first event are what the customer came for": [
        ev("changed", FREE, previous=p(5)),
        ev("changed", p(8), "+ known | upsell quantity 30.00 | 50.00 -> 80.00"),
    ],
    "to none after it changes nothing": [CREATED, CANCELED, ev("changed", []), ev("renewed", FREE)],
    "the items of the event that ends are not those that come back": [
        CREATED,
        ev("changed", FREE),
        ev("renewed", None, KEPT),
    ],
    "from none to none is no end": [
        ev("created", FREE, "+ known |  | 0.00 -> 0.00"),
        ev("changed", [item("G1", 1, "0", base=True)], "+ known |  | 0.00 -> 0.00"),
        ev("created", p(5)),
    ],
}

RETURNS = {
    "within 24 hours, a change from what was canceled": [
        CREATED,
        CANCELED,
        ev("changed", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00", at=25),
    ],
    "within 24 hours, restored": [
        CREATED,
        ev("changed", p(2), "+ known | downsell quantity 30.00 | 50.00 -> 20.00"),
        CANCELED,
        ev("renewed", p(5), "+ known | restored restored 30.00 | 20.00 -> 50.00"),
    ],
    "within 24 hours, nothing else than before": [
        CREATED,
        ev("changed", []),
        ev("changed", p(5), "unchanged"),
        ev("created", PRO),
    ],
    "within 24 hours, renewed without items": [CREATED, CANCELED, ev("renewed", None, KEPT), ev("created", PRO)],
    "within 24 hours, created": [
        CREATED,
        CANCELED,
        ev("created", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00"),
    ],
    "within 24 hours, created with an explicit intent": [
        CREATED,
        CANCELED,
        ev("created", p(6), "+ known | upsell quantity 20.00 | 40.00 -> 60.00", intent=p(4)),
    ],
    "within 24 hours, created with previous: what was canceled is known": [
        CREATED,
        CANCELED,
        ev("created", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00", previous=p(1)),
    ],
    "within 24 hours, as a trial: the change is judged at the conversion": [
        CREATED,
        CANCELED,
        ev("created", p(6), "+", trialing=True),
        ev("trial_converted", p(6), "known | upsell quantity 10.00 | 50.00 -> 60.00", at=80),
    ],
    "within 24 hours, in another currency": [
        CREATED,
        CANCELED,
        ev("renewed", p(6), "+ incomparable |  | 0.00 -> 60.00", currency="USD"),
    ],
    "within 24 hours, and not a second more": [
        CREATED,
        CANCELED,
        ev("created", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00", at=25),
    ],
    "within 24 hours, created with another explicit intent": [
        ev("created", p(5), "+ known | upsell quantity 20.00 | 30.00 -> 50.00", intent=p(3)),
        CANCELED,
        ev("created", p(6), "+ known | upsell quantity 20.00 | 40.00 -> 60.00", intent=p(4)),
    ],
    "within 24 hours, created, and an older explicit intent": [
        ev("created", p(5), "+ known | upsell quantity 20.00 | 30.00 -> 50.00", intent=p(3)),
        CANCELED,
        ev("created", p(6), "+ known | upsell quantity 10.00 | 50.00 -> 60.00"),
    ],
    "within 24 hours, as a trial, and the customer came for more": [
        CREATED,
        ev("changed", p(2), "+ known | downsell quantity 30.00 | 50.00 -> 20.00"),
        CANCELED,
        ev("created", p(6), "+", trialing=True),
        ev("trial_converted", p(6), "known | upsell quantity 10.00, restored restored 30.00 | 20.00 -> 60.00"),
    ],
    "within 24 hours of a first event, what comes is what the customer came for": [
        CANCELED,
        ev("created", p(5), "+ unknown |  | 0.00 -> 50.00"),
        ev("changed", p(2), "+ known | downsell quantity 30.00 | 50.00 -> 20.00"),
        ev("changed", p(5), "+ known | restored restored 30.00 | 20.00 -> 50.00"),
    ],
    "within 24 hours of a first event with previous items": [
        ev("canceled", previous=p(4)),
        ev("created", p(5), "+ known | upsell quantity 10.00 | 40.00 -> 50.00"),
    ],
    "within 24 hours of a first event with items and previous ones": [
        ev("canceled", p(4), previous=p(3)),
        ev("changed", p(1), "+ known | downsell quantity 30.00 | 40.00 -> 10.00"),
        ev("changed", p(4), "+ known | upsell quantity 10.00, restored restored 20.00 | 10.00 -> 40.00"),
    ],
    "within 24 hours of a cancellation that is the first event": [
        CANCELED,
        ev("created", p(5), "+ unknown |  | 0.00 -> 50.00"),
    ],
    "within 24 hours of a cancellation that is the first event and has items": [
        ev("canceled", p(4)),
        ev("created", p(5), "+ known | upsell quantity 10.00 | 40.00 -> 50.00"),
    ],
    "later, without verdict; it starts again": [
        CREATED,
        CANCELED,
        ev("changed", p(9), "+ known |  | 90.00 -> 90.00", at=25.01),
        ev("changed", p(5), "+ known | downsell quantity 40.00 | 90.00 -> 50.00", at=26),
        ev("changed", p(9), "+ known | restored restored 40.00 | 50.00 -> 90.00", at=27),
    ],
    "later, with what was canceled: no verdict either, and not unchanged": [
        CREATED,
        ev("changed", FREE),
        ev("changed", p(5), KEPT, at=30),
    ],
    "later, renewed without items": [CREATED, CANCELED, ev("renewed", None, KEPT, at=30)],
    "later, created": [CREATED, CANCELED, ev("created", p(9), "+ known |  | 90.00 -> 90.00", at=30)],
    "later, in another currency": [
        CREATED,
        CANCELED,
        ev("created", p(9), "+ known |  | 90.00 -> 90.00", at=30, currency="USD"),
    ],
    "later, with an explicit intent": [
        ev("created", p(5), "+ known | upsell quantity 20.00 | 30.00 -> 50.00", intent=p(3)),
        CANCELED,
        ev("created", p(9), "+ known | upsell quantity 10.00 | 80.00 -> 90.00", at=30, intent=p(8)),
    ],
    "later, the old explicit intent no longer holds": [
        ev("created", p(5), "+ known | upsell quantity 20.00 | 30.00 -> 50.00", intent=p(3)),
        CANCELED,
        ev("created", p(9), "+ known |  | 90.00 -> 90.00", at=30),
    ],
    "later, as a trial": [
        CREATED,
        CANCELED,
        ev("created", p(8), "+", at=30, trialing=True),
        ev("trial_converted", p(9), "known | upsell quantity 10.00 | 80.00 -> 90.00", at=31),
    ],
    "a second cancellation does not begin the 24 hours again": [
        CREATED,
        CANCELED,
        ev("canceled", at=20),
        ev("changed", p(9), "+ known |  | 90.00 -> 90.00", at=30),
    ],
}

CURRENCIES = {
    "incomparable; current and initial start again": [
        CREATED,
        ev("changed", PRO, "+ incomparable |  | 0.00 -> 80.00", currency="USD"),
        ev("changed", p(5), "+ known | downsell plan 30.00 | 80.00 -> 50.00", currency="USD"),
        ev("changed", PRO, "+ known | restored restored 30.00 | 50.00 -> 80.00", currency="USD"),
    ],
    "an explicit intent no longer holds": [
        ev("created", p(5), "+ known | upsell quantity 20.00 | 30.00 -> 50.00", intent=p(3)),
        ev("renewed", p(5), "+ incomparable |  | 0.00 -> 50.00", currency="USD"),
        ev("changed", p(2), "+ known | downsell quantity 30.00 | 50.00 -> 20.00", currency="USD"),
        ev("changed", p(5), "+ known | restored restored 30.00 | 20.00 -> 50.00", currency="USD"),
    ],
    "of a conversion": [TRIAL, ev("trial_converted", p(6), "incomparable |  | 0.00 -> 60.00", currency="USD")],
    "of a created event after others": [
        ev("change_scheduled", p(5)),
        ev("changed", p(5), "+ unknown |  | 0.00 -> 50.00"),
        ev("created", p(6), "+ incomparable |  | 0.00 -> 60.00", currency="USD"),
    ],
    "to none it is a cancellation": [CREATED, ev("changed", [], currency="USD"), ev("renewed", None, KEPT)],
}

UP = "+ known | upsell quantity 10.00 | 50.00 -> 60.00"
REFUNDS = {
    "all of the newest transaction": [
        CREATED,
        ev("changed", p(6), f"{UP} lost: transaction upsell final=60.00 upsell=10.00"),
        ev("refunded"),
    ],
    "it is about the newest transaction before it": [
        ev("created", p(5), f"{KEPT} lost: transaction final=50.00"),
        ev("refunded"),
        ev("changed", p(6), UP),
    ],
    "a share of it": [
        CREATED,
        ev("changed", p(6), f"{UP} lost: final=15.00 upsell=2.50"),
        ev("refunded", refund=("r", "0.25")),
    ],
    "shares add up": [
        CREATED,
        ev("changed", p(6), f"{UP} lost: final=45.00 upsell=7.50"),
        ev("refunded", refund=("r", "0.25")),
        ev("refunded", refund=("s", "0.5")),
    ],
    "at 1 it is reversed": [
        CREATED,
        ev("changed", p(6), f"{UP} lost: transaction upsell final=60.00 upsell=10.00"),
        ev("refunded", refund=("r", "0.4")),
        ev("refunded", refund=("s", "0.6")),
    ],
    "and not by more than that": [
        CREATED,
        ev("changed", p(6), f"{UP} lost: transaction upsell final=60.00 upsell=10.00"),
        ev("refunded", refund=("r", "0.7")),
        ev("refunded", refund=("s", "1")),
    ],
    "of one refund id the first counts": [
        CREATED,
        ev("changed", p(6), f"{UP} lost: final=6.00 upsell=1.00"),
        ev("refunded", refund=("r", "0.1")),
        ev("refunded", refund=("r", "0.9")),
    ],
    "without a refund id the event's id stands for it": [
        CREATED,
        ev("changed", p(6), f"{UP} lost: final=30.00 upsell=5.00"),
        ev("refunded", refund=(None, "0.25"), id="r"),
        ev("refunded", refund=(None, "0.25"), id="s"),
        ev("refunded", refund=("s", "0.25")),
    ],
    "one refund id is one refund, also of another transaction": [
        ev("created", p(5), f"{KEPT} lost: final=25.00"),
        ev("refunded", refund=("r", "0.5")),
        ev("changed", p(6), UP),
        ev("refunded", refund=("r", "0.5")),
    ],
    "nothing": [CREATED, ev("refunded", refund=("r", "0"))],
    "before any transaction": [ev("refunded", None, "unmatched"), ev("created", p(5), KEPT)],
    "before any transaction: the refund id may come again": [
        ev("refunded", None, "unmatched", refund=("r", "0.5")),
        ev("created", p(5), f"{KEPT} lost: final=12.50"),
        ev("refunded", refund=("r", "0.25")),
    ],
    "a share is of the exact amount, and rounded once": [
        # 10 a week is 43.333… a month, a half 21.666…; half of the rounded 43.33 would be 21.66
        ev(
            "created",
            [item("W1", 1, "10", interval="week", base=True)],
            "+ known |  | 43.33 -> 43.33 lost: final=21.67",
        ),
        ev("refunded", refund=("r", "0.5")),
    ],
    "restored and downsell": [
        ev("created", [*p(5), ADDON], "+ known |  | 57.00 -> 57.00"),
        ev("changed", [*p(2), ADDON], "+ known | downsell quantity 30.00 | 57.00 -> 27.00 lost: final=13.50 downsell=15.00"),
        ev("refunded", refund=("r", "0.5")),
        ev("changed", [*p(4), ADDON], "+ known | restored restored 20.00 | 27.00 -> 47.00 lost: final=23.50 restored=10.00"),
        ev("refunded", refund=("s", "0.5")),
    ],
    "it is no cancellation": [
        ev("created", p(5), f"{KEPT} lost: transaction final=50.00"),
        ev("refunded"),
        ev("renewed", None, KEPT),
    ],
}  # fmt: skip

OF_ONE = {
    f"{rule}: {name}": steps
    for rule, stories in (
        ("first plan", FIRST_PLAN),
        ("sold in a checkout", CHECKOUTS),
        ("trial", TRIALS),
        ("change", CHANGES),
        ("unchanged", UNCHANGED),
        ("renewal", RENEWALS),
        ("end", ENDS),
        ("return", RETURNS),
        ("currency", CURRENCIES),
        ("refund", REFUNDS),
    )
    for name, steps in stories.items()
}

S2 = {"subscription": "s2"}
S3 = {"subscription": "s3"}
PLAIN = "+ known |  | 80.00 -> 80.00"
SWAPPED = "+ known | upsell plan 30.00 | 50.00 -> 80.00"
SAME_PRODUCT = "+ known | upsell quantity 80.00 | 0.00 -> 80.00"
OTHER_PRODUCT = "+ known | cross_sell additional_product 20.00 | 0.00 -> 20.00"

SWAPS = {
    "a change from what the customer has just canceled": [CREATED, CANCELED, ev("created", PRO, SWAPPED, at=25, **S2)],
    "later than 24 hours it is none": [CREATED, CANCELED, ev("created", PRO, PLAIN, at=25.01, **S2)],
    "initial from then on is what the customer came for": [
        ev("created", p(8), PLAIN),
        ev("changed", p(5), "+ known | downsell quantity 30.00 | 80.00 -> 50.00"),
        CANCELED,
        ev("created", p(6), "+ known | restored restored 10.00 | 50.00 -> 60.00", **S2),
        ev("changed", p(9), "+ known | upsell quantity 10.00, restored restored 20.00 | 60.00 -> 90.00", **S2),
    ],
    "of all that were canceled, together": [
        CREATED,
        ev("created", OTHER, OTHER_PRODUCT, **S2),
        ev("canceled", **S2),
        CANCELED,
        ev("created", PRO, "+ known | upsell plan 10.00 | 70.00 -> 80.00", **S3),
    ],
    "used up once": [
        CREATED,
        CANCELED,
        ev("created", PRO, SWAPPED, **S2),
        ev("created", PRO, SAME_PRODUCT, **S3),
    ],
    "used up by a trial": [
        CREATED,
        CANCELED,
        ev("created", PRO, "+", trialing=True, **S2),
        ev("created", PRO, PLAIN, **S3),
    ],
    "used up by one with previous": [
        CREATED,
        CANCELED,
        ev("created", PRO, "+", previous=p(5), trialing=True, **S2),
        ev("created", PRO, PLAIN, **S3),
    ],
    "used up by one that was sold in a checkout": [
        CREATED,
        CANCELED,
        ev("created", PRO, in_checkout=True, **S2),
        ev("changed", p(5), "+ known | downsell plan 30.00 | 80.00 -> 50.00", **S2),
        ev("created", PRO, SAME_PRODUCT, **S3),
    ],
    "canceled again it can be continued again": [
        CREATED,
        CANCELED,
        ev("created", PRO, "+", trialing=True, **S2),
        ev("renewed", None, KEPT),
        CANCELED,
        ev("created", PRO, SWAPPED, **S3),
    ],
    "an explicit intent uses nothing up": [
        CREATED,
        CANCELED,
        ev("created", PRO, PLAIN, intent=PRO, **S2),
        ev("created", PRO, SWAPPED, **S3),
    ],
    "another currency uses nothing up": [
        CREATED,
        CANCELED,
        ev("created", PRO, "+", currency="USD", trialing=True, **S2),
        ev("created", PRO, SWAPPED, **S3),
    ],
    "a trial is judged at its conversion": [
        CREATED,
        CANCELED,
        ev("created", PRO, "+", trialing=True, **S2),
        ev("trial_converted", PRO, SWAPPED.removeprefix("+ "), at=14 * DAY, **S2),
    ],
    "a trial that an explicit intent comes to is judged against that": [
        CREATED,
        CANCELED,
        ev("created", PRO, "+", trialing=True, **S2),
        ev("trial_converted", PRO, "known |  | 80.00 -> 80.00", intent=PRO, **S2),
    ],
    "a trial that was canceled is none": [TRIAL, CANCELED, ev("created", PRO, PLAIN, **S2)],
    "a trial that was canceled is none, also where it was sold in a checkout": [
        ev("created", p(5), in_checkout=True, trialing=True),
        CANCELED,
        ev("created", PRO, PLAIN, **S2),
    ],
    "what had no transaction is none": [
        ev("changed", p(5), "unchanged", previous=p(5)),
        CANCELED,
        ev("created", PRO, PLAIN, **S2),
    ],
    "a trial that was canceled in between is judged against what the customer came for": [
        ev("created", p(8), PLAIN),
        ev("changed", p(5), "+ known | downsell quantity 30.00 | 80.00 -> 50.00"),
        CANCELED,
        ev("created", PRO, "+", trialing=True, **S2),
        ev("canceled", **S2),
        ev("trial_converted", PRO, "known |  | 80.00 -> 80.00", **S2),
    ],
    "a trial that went to another currency is judged in that": [
        CREATED,
        CANCELED,
        ev("created", PRO, "+", trialing=True, **S2),
        ev("changed", p(6), currency="USD", **S2),
        ev("trial_converted", p(7), "known | upsell quantity 10.00 | 60.00 -> 70.00", currency="USD", **S2),
    ],
    "what was no swap when it arrived does not become one": [
        CREATED,
        ev("changed", PRO, "+ unknown |  | 0.00 -> 80.00", currency="USD", **S2),
        CANCELED,
        ev("created", PRO, PLAIN, **S2),  # another currency, until the next event puts one in between
        ev("changed", PRO, "+ incomparable |  | 0.00 -> 80.00", at=2.5, **S2),
        ev("created", PRO, SWAPPED, **S3),
    ],
    "a free plan that was canceled is none": [
        ev("created", FREE, "+ known |  | 0.00 -> 0.00"),
        CANCELED,
        ev("created", PRO, PLAIN, **S2),
    ],
    "what was sold in a checkout is one": [
        ev("created", p(5), in_checkout=True),
        CANCELED,
        ev("created", PRO, SWAPPED, **S2),
    ],
    "a cancellation by emptying is one": [CREATED, ev("changed", FREE), ev("created", PRO, SWAPPED, **S2)],
    "a created event that changes nothing uses nothing up": [
        ev("created", OTHER, "+ known |  | 20.00 -> 20.00", **S2),
        ev("created", p(5), "+ known | cross_sell additional_product 50.00 | 0.00 -> 50.00"),
        CANCELED,
        ev("created", PRO, **S2),
        ev("created", PRO, SWAPPED, **S3),
    ],
    "what came back is none": [
        CREATED,
        CANCELED,
        ev("renewed", None, KEPT),
        ev("created", PRO, SAME_PRODUCT, **S2),
    ],
    "of another customer it is none": [CREATED, CANCELED, ev("created", PRO, PLAIN, customer="bert", **S2)],
    "what came back under another customer is none": [
        CREATED,
        CANCELED,
        ev("renewed", None, KEPT, customer="bert"),
        ev("created", PRO, PLAIN, **S2),
        ev("created", PRO, SAME_PRODUCT, customer="bert", **S3),
    ],
    "it is of the customer of the newest event": [
        CREATED,
        CANCELED,
        ev("change_scheduled", p(9), customer="bert"),
        ev("created", PRO, PLAIN, **S2),
        ev("created", PRO, SWAPPED, customer="bert", **S3),
    ],
    "used up it stays so under another customer": [
        CREATED,
        CANCELED,
        ev("created", PRO, "+", trialing=True, **S2),
        ev("change_scheduled", p(9), customer="bert"),
        ev("created", PRO, PLAIN, customer="bert", **S3),
    ],
    "where the new one comes before the cancellation it is none": [
        CREATED,
        ev("created", PRO, SAME_PRODUCT, **S2),
        CANCELED,
    ],
    "where the new one comes before the cancellation, previous says it": [
        CREATED,
        ev("created", PRO, SWAPPED, previous=p(5), **S2),
        CANCELED,
    ],
    "it is read once: a cancellation that arrives later changes nothing": [
        CREATED,
        ev("created", PRO, SAME_PRODUCT, at=5, **S2),
        ev("canceled", at=1),
    ],
    "it is read once: a change of the other subscription changes nothing": [
        CREATED,
        ev("canceled", at=10),
        ev("created", PRO, SWAPPED, at=11, **S2),
        ev("changed", p(6), UP, at=5),
    ],
    "a cancellation later than the new one is none, whatever arrived first": [
        CREATED,
        ev("canceled", at=5),
        ev("created", PRO, PLAIN, at=4, **S2),
    ],
    "a return goes before it": [
        CREATED,
        ev("created", OTHER, OTHER_PRODUCT, **S2),
        CANCELED,
        ev("canceled", **S2),
        ev("created", p(6), UP),
    ],
}

ADDITIONAL = {
    "of another product": [CREATED, ev("created", OTHER, OTHER_PRODUCT, **S2)],
    "of the same product": [CREATED, ev("created", PRO, SAME_PRODUCT, **S2)],
    "of the product of one of several": [
        CREATED,
        ev("created", OTHER, OTHER_PRODUCT, **S2),
        ev("created", PRO, SAME_PRODUCT, **S3),
    ],
    "at the conversion of a trial": [
        CREATED,
        ev("created", OTHER, "+", trialing=True, **S2),
        ev("trial_converted", OTHER, OTHER_PRODUCT.removeprefix("+ "), **S2),
    ],
    "the other one was sold in a checkout": [
        ev("created", p(5), in_checkout=True),
        ev("created", OTHER, OTHER_PRODUCT, **S2),
    ],
    "the other one is in another currency": [
        ev("created", p(5), KEPT, currency="USD"),
        ev("created", OTHER, OTHER_PRODUCT, **S2),
    ],
    "no other one is paid: a trial": [TRIAL, ev("created", OTHER, "+ known |  | 20.00 -> 20.00", **S2)],
    "no other one is paid: a free plan": [
        ev("created", FREE, "+ known |  | 0.00 -> 0.00"),
        ev("created", OTHER, "+ known |  | 20.00 -> 20.00", **S2),
    ],
    "no other one is active": [
        CREATED,
        CANCELED,
        ev("created", OTHER, "+ known |  | 20.00 -> 20.00", at=2 * DAY, **S2),
    ],
    "of another customer": [CREATED, ev("created", OTHER, "+ known |  | 20.00 -> 20.00", customer="bert", **S2)],
    "with an explicit intent": [CREATED, ev("created", OTHER, "+ known |  | 20.00 -> 20.00", intent=OTHER, **S2)],
    "only its first transaction": [
        CREATED,
        ev("created", OTHER, OTHER_PRODUCT, **S2),
        ev("changed", [item("Z1", 2, "20", base=True)], "+ known | upsell quantity 20.00 | 20.00 -> 40.00", **S2),
    ],
    "a created event after a transaction is none": [
        CREATED,
        ev("changed", OTHER, "+ unknown |  | 0.00 -> 20.00", **S2),
        ev("created", [item("Z1", 2, "20", base=True)], "+ known |  | 40.00 -> 40.00", **S2),
    ],
    "the conversion of a trial that was sold in a checkout is none": [
        CREATED,
        ev("created", OTHER, in_checkout=True, trialing=True, **S2),
        ev("trial_converted", OTHER, "known |  | 20.00 -> 20.00", **S2),
    ],
    "a conversion with an explicit intent is none": [
        CREATED,
        ev("created", OTHER, "+", trialing=True, intent=OTHER, **S2),
        ev("trial_converted", OTHER, "known |  | 20.00 -> 20.00", **S2),
    ],
    "no other one is paid: no transaction": [
        ev("changed", p(5), "unchanged", previous=p(5)),
        ev("created", OTHER, "+ known |  | 20.00 -> 20.00", **S2),
    ],
    "it is read once: what the other one does later, or late, changes nothing": [
        CREATED,
        ev("created", OTHER, OTHER_PRODUCT, at=2, **S2),
        ev("canceled", at=1),
        ev("changed", [item("Z1", 2, "20", base=True)], "+ known | upsell quantity 20.00 | 20.00 -> 40.00", **S2),
    ],
    "free it has no verdict": [CREATED, ev("created", FREE, "+ known |  | 0.00 -> 0.00", **S2)],
}

OF_SEVERAL = {
    f"{rule}: {name}": steps
    for rule, stories in (("swap", SWAPS), ("additional product", ADDITIONAL))
    for name, steps in stories.items()
}
ALL = OF_ONE | OF_SEVERAL


def told(steps, order=None):
    """The story after its events arrived in an order, and the outcome of each."""
    story, begun = Story(), {}
    for number in order if order is not None else range(len(steps)):
        kind, items, _, at, more = steps[number]
        before = story.counts("subscription")["opportunities"]
        time = number if at is None else at
        story.subscription(kind, items, **{"at": time, "id": f"e{number}"} | more)
        begun[number] = story.counts("subscription")["opportunities"] > before, story.results[-1]
    return story, [
        _outcome(story, *begun[number], steps[number][4].get("id", f"e{number}")) for number in range(len(steps))
    ]


def _outcome(story, opportunity, result, id):
    parts = ["+"] if opportunity else []
    if result != "applied":
        parts.append(result)
    if id in story.sales:
        parts.append(story.judgement(id))
        if lost := story.reversal(id):
            parts.append(f"lost: {lost}")
    return " ".join(parts)


@pytest.mark.parametrize("steps", ALL.values(), ids=ALL)
def test_what_each_event_leads_to(steps):
    story, outcomes = told(steps)
    assert outcomes == [expected for _, _, expected, _, _ in steps]
    counts = story.counts("subscription")
    assert counts["opportunities"] == sum(outcome.startswith("+") for outcome in outcomes)
    assert counts["transactions"] == len(story.sales)


WITHIN_LATENESS = {
    name: steps
    for name, steps in OF_ONE.items()
    if len(steps) > 1 and all(at is None or at <= 72 for _, _, _, at, _ in steps)
}


@pytest.mark.parametrize("steps", WITHIN_LATENESS.values(), ids=WITHIN_LATENESS)
def test_the_order_of_arrival_changes_nothing_of_one_subscription(steps):
    ends = set()
    orders = [*itertools.permutations(range(len(steps)))]
    for order in random.Random(1).sample(orders, min(len(orders), 12)):
        story, _ = told(steps, order)
        transactions = sorted((name, story.judgement(name), story.reversal(name)) for name in story.sales)
        ends.add((repr(transactions), repr(story.counts("subscription"))))
    assert len(ends) == 1
