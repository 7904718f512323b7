"""A checkout from its facts: intent, orders, final lines, labels and reversals, in any order of arrival."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.carts import line
from support.stories import Story

from stream.core.entities import checkout as module
from stream.core.entities import reversal
from stream.core.entities.checkout import ORDERS, Checkout, apply, opportunity_time
from stream.core.event import CheckoutEvent, CheckoutType, Refund
from stream.core.judging.cart import lines_of

CART = [line("P", "a")]
MORE = [line("P", "a", 2), line("Q", "b", price="5")]
UP = "known | upsell quantity 10.00, cross_sell addition 5.00 | 10.00 -> 25.00"


def test_the_intent_is_the_first_cart_and_the_sale_the_completed_lines():
    story = Story()
    story.checkout("started", CART)
    story.checkout("updated", MORE, at=1)
    story.checkout("completed", MORE, at=2)
    assert story.judgement() == UP
    assert story.sale().kinds == ["cross_sell", "upsell"]
    counts = story.counts("checkout")
    assert counts["opportunities"] == counts["transactions"] == 1
    assert counts["kind_transactions"] == {"upsell": 1, "cross_sell": 1, "downsell": 0, "restored": 0, "any": 1}
    assert counts["revenue"]["EUR"]["initial"] == "10.00"
    assert counts["revenue"]["EUR"]["upsell"] == "10.00"


def test_a_first_cart_that_is_empty_is_no_intent():
    story = Story()
    story.checkout("started", [])
    story.checkout("updated", CART, at=1)
    story.checkout("updated", MORE, at=2)
    story.checkout("completed", MORE, at=3)
    assert story.judgement() == UP


def test_without_any_cart_the_intent_is_unknown():
    story = Story()
    story.checkout("completed", MORE)
    assert story.judgement() == "unknown |  | 0.00 -> 25.00"
    counts = story.counts("checkout")
    assert counts["opportunities"] == 1
    assert counts["intents"] == {"known": 0, "unknown": 1, "incomparable": 0}
    assert counts["revenue"]["EUR"]["final"] == "0.00"
    assert counts["revenue"]["EUR"]["total"] == "25.00"


def test_another_currency_than_the_intent_s_is_incomparable():
    story = Story()
    story.checkout("started", CART, currency="USD")
    story.checkout("completed", MORE, at=1)
    assert story.judgement() == "incomparable |  | 0.00 -> 25.00"
    assert set(story.counts("checkout")["revenue"]) == {"EUR"}


@pytest.mark.parametrize(
    ("started", "completed", "expected"),
    [
        (None, [], "known | cross_sell addition 20.00, cross_sell addition 5.00 | 0.00 -> 25.00"),
        (CART, None, UP),
        (MORE, None, "known |  | 25.00 -> 25.00"),
        (MORE, CART, UP),
    ],
)
def test_an_explicit_intent_precedes_carts_and_that_of_completed_precedes_that_of_started(started, completed, expected):
    story = Story()
    story.checkout("started", [line("Z", "z")], intent=started)
    story.checkout("completed", MORE, at=1, intent=completed)
    assert story.judgement() == expected


def test_an_order_update_gives_the_final_lines_of_the_same_transaction():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", CART, at=1)
    assert story.sale().kinds == []
    step = story.checkout("order_updated", MORE, at=2)
    assert story.judgement() == UP
    assert [each.judged.version for each in step.versions if each.publish] == [2]
    step = story.checkout("order_updated", CART, at=3)
    assert [(each.judged.version, each.judged.kinds) for each in step.versions if each.publish] == [
        (3, [])
    ]  # the version before it had kinds
    assert story.counts("checkout")["transactions"] == 1


def test_a_version_without_kinds_is_not_published_until_there_were_some():
    story = Story()
    story.checkout("started", CART)
    step = story.checkout("completed", CART, at=1)
    assert [each.publish for each in step.versions] == [False]


def test_labels_are_the_newest_non_empty_ones_for_opportunity_and_sale_alike():
    story = Story()
    story.checkout("started", CART, channel="web", segment="new")
    story.checkout("completed", CART, at=1, segment="vip")
    story.checkout("order_updated", CART, at=2, channel="phone")
    assert (story.sale().channel, story.sale().segment) == ("phone", "vip")
    sets = story.offline.figures().slice("total", "checkout").sets
    assert {section for section in sets if section[0] != "all"} == {("channel", "phone"), ("segment", "vip")}
    assert sets["channel", "phone"].plain()["opportunities"] == 1


FACTS = [
    ("started", CART, {"channel": "web"}),
    ("updated", MORE, {"segment": "x"}),
    ("completed", MORE, {"order": "o1", "segment": "y"}),
    ("order_updated", [*MORE, line("R", "c", price="3")], {"order": "o1"}),
    ("completed", [line("S", "d", 2, "40")], {"order": "o2", "customer": "bert"}),
    ("order_updated", [line("P", "a", 9)], {"order": "o3", "channel": "phone"}),
    ("refunded", (), {"refund": ("r", [line("Q", "b")], None)}),
    ("refunded", (), {"refund": ("r", [line("P", "a")], None)}),
    ("refunded", (), {"order": "o2", "refund": ("r", [line("S")], None)}),
    ("refunded", (), {"order": "o2", "refund": ("s", None, "10")}),
    ("completed", [line("T", "t")], {"order": "o4"}),
    ("canceled", (), {"order": "o4"}),
]
"""Of three orders, one of them canceled, and of one that is never completed. The last fact of each kind of field is not the last to arrive."""


def test_any_order_of_arrival_ends_in_the_same_figures():
    ends, orders = set(), random.Random(3)
    for _ in range(150):
        story = Story()
        for number in orders.sample(range(len(FACTS)), len(FACTS)):
            kind, lines, more = FACTS[number]
            story.checkout(kind, lines, at=number, id=str(number), **more)
        judged = story.sale()
        labels = (judged.customer, judged.channel, judged.segment, judged.time)
        ends.add((repr(story.counts("checkout")), story.judgement(), story.reversal(), *labels))
    ((_, judgement, lost, *labels),) = ends
    # Left are 2 P and R (23) of o1 and one S (40) of o2. The 10 are 10/63 of that.
    assert judgement == (
        "known | upsell quantity 10.00, cross_sell addition 5.00, cross_sell addition 3.00, cross_sell addition 80.00, "
        "cross_sell addition 10.00 | 10.00 -> 118.00"
    )
    assert lost == "final=65.00 upsell=1.59 cross_sell=61.83"
    assert labels == ["anna", "phone", "y", "2025-06-15T15:08:40Z"]


def test_equal_times_are_ordered_by_entityversion_then_type_then_id():
    story = Story()
    story.checkout("started", CART, id="9")
    story.checkout("completed", CART, id="5")
    story.checkout("order_updated", MORE, id="4", version=2)
    story.checkout("order_updated", CART, id="7", version=1)
    assert story.judgement() == UP


def test_a_second_event_with_the_same_identity_changes_nothing():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", MORE, at=1, id="same")
    story.checkout("completed", CART, at=2, id="same")
    assert story.results == ["applied", "applied", "duplicate"]
    assert story.judgement() == UP


def test_identities_do_not_match_across_their_bytes():
    story = Story()
    for number in range(300):
        assert story.checkout("updated", CART, at=number, id=f"u{number}").result == "applied"
    for number in range(300):
        assert story.checkout("updated", CART, at=number, id=f"u{number}").result == "duplicate"


def test_an_event_that_needs_an_order_is_unmatched_until_the_order_arrives():
    story = Story()
    story.checkout("refunded", at=5, refund=("r", None, None))
    story.checkout("order_updated", MORE, at=4)
    assert story.results == ["unmatched", "unmatched"]
    assert story.counts("checkout")["opportunities"] == 0
    story.checkout("started", CART, at=1)
    story.checkout("completed", CART, at=2)
    assert story.judgement() == UP
    assert story.reversal() == "transaction cross_sell upsell final=25.00 upsell=10.00 cross_sell=5.00"


def test_a_test_event_is_counted_and_changes_nothing():
    story = Story()
    assert story.checkout("completed", CART, livemode=False).result == "test"
    assert story.counts()["transactions"] == 0


def test_a_checkout_expires_30_days_after_its_newest_fact():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", CART, at=30 * 24 * 60)
    assert story.counts()["transactions"] == 1
    story.checkout("completed", CART, at=61 * 24 * 60)
    assert story.counts()["transactions"] == 2


@pytest.mark.parametrize(
    ("facts", "time"),
    [
        ([("updated", 3), ("started", 5), ("started", 7), ("completed", 1)], 5),
        ([("updated", 3), ("completed", 4)], 3),
        ([("updated", 3), ("completed", 2), ("completed", 6)], 2),
        ([("order_updated", 1), ("refunded", 2), ("canceled", 3)], None),
        ([("order_updated", 1), ("completed", 2)], 2),
    ],
    ids=["first started", "first updated", "first completed", "none", "no order-updated"],
)
def test_the_opportunity_is_at_the_first_started_fact_else_at_the_first_updated_or_completed_one(facts, time):
    for arrival in (facts, facts[::-1]):
        record = Checkout(b"", 0)
        for kind, at in arrival:
            refund = Refund("r") if kind == "refunded" else None
            event = CheckoutEvent(
                CheckoutType[kind.upper()], "shop", f"{kind}{at}", at, 0, "c1", "anna", "EUR", refund=refund
            )
            apply(record, event, bytes(8))
        assert opportunity_time(record) == time


# Several orders


def fact(kind, lines=(), **more):
    return kind, lines, more


STARTED = fact("started", CART)
O1 = fact("completed", CART, order="o1")
O2 = fact("completed", [line("Q", "b", price="5")], order="o2")
BOTH = "known | cross_sell addition 5.00 | 10.00 -> 15.00"
ALONE = "known |  | 10.00 -> 10.00"
EDITED = fact("order_updated", MORE)

ORDERED = {
    "their lines add up": ([STARTED, O1, O2], BOTH),
    "each has the lines of its own last fact": (
        [STARTED, O1, O2, fact("order_updated", MORE, order="o2"), fact("order_updated", CART, order="o2")],
        "known | upsell quantity 10.00 | 10.00 -> 20.00",
    ),
    "a fact without an id belongs to the order of the first completed fact": ([STARTED, O1, EDITED], UP),
    "a later completed fact without an id, too": ([STARTED, O1, fact("completed", MORE)], UP),
    "also where it is not the first order to be named": (
        [STARTED, fact("refunded", order="o2", refund=("r", [], None)), O1, O2, EDITED],
        "known | upsell quantity 10.00, cross_sell addition 10.00 | 10.00 -> 30.00",
    ),
    "two completed facts without an id are one order": (
        [STARTED, fact("completed", [line("Z", "z")]), fact("completed", MORE)],
        UP,
    ),
    "an order with an id after one without is a second one": ([STARTED, fact("completed", CART), O2], BOTH),
    "an id that no completed fact has belongs to the order without an id": (
        [STARTED, fact("completed", CART), fact("order_updated", MORE, order="o9")],
        UP,
    ),
    "an id that no completed fact has belongs to no order where all have ids": (
        [STARTED, O1, fact("order_updated", MORE, order="o9")],
        ALONE,
    ),
    "until a completed fact has it": (
        [STARTED, O1, fact("completed", [], order="o9"), fact("order_updated", MORE, order="o9")],
        "known | upsell quantity 20.00, cross_sell addition 5.00 | 10.00 -> 35.00",
    ),
    "an order without an id that was not the first is part of the first one": (
        [STARTED, O1, fact("completed", MORE), O2],
        "known | upsell quantity 10.00, cross_sell addition 10.00 | 10.00 -> 30.00",
    ),
    "the explicit intent is that of the first completed fact that has one": (
        [STARTED, O1, fact("completed", [line("Q", "b", price="5")], order="o2", intent=[line("Q", "b", price="5")])],
        "known | cross_sell addition 10.00 | 5.00 -> 15.00",
    ),
    "an order in another currency: incomparable, and its lines are in no amount": (
        [STARTED, O1, fact("completed", MORE, order="o2", currency="USD")],
        "incomparable |  | 0.00 -> 10.00",
    ),
    "an order in another currency without a known intent": (
        [O1, fact("completed", MORE, order="o2", currency="USD")],
        "unknown |  | 0.00 -> 10.00",
    ),
    "the currency of an order is that of its lines": (
        [STARTED, O1, fact("order_updated", MORE, order="o1", currency="USD")],
        "incomparable |  | 0.00 -> 0.00",
    ),
    "an order that comes back to the currency": (
        [STARTED, O1, fact("order_updated", MORE, currency="USD"), fact("order_updated", MORE)],
        UP,
    ),
    "a family goes over several orders": (
        [STARTED, O1, fact("completed", CART, order="o2"), fact("completed", CART, order="o3")],
        "known | upsell quantity 20.00 | 10.00 -> 30.00",
    ),
}


def ordered(facts, arrival=None):
    """The story after its facts, a minute apart, arrived in an order."""
    story = Story()
    for number in arrival or range(len(facts)):
        kind, lines, more = facts[number]
        story.checkout(kind, lines, at=number, id=str(number), **more)
    return story


@pytest.mark.parametrize(("facts", "judgement"), ORDERED.values(), ids=ORDERED)
def test_several_orders(facts, judgement):
    everywhere = [*range(len(facts))]
    for arrival in (everywhere, everywhere[::-1], everywhere[1:] + everywhere[:1]):
        story = ordered(facts, arrival)
        assert story.judgement() == judgement
        assert story.counts("checkout")["transactions"] == 1


def test_final_lines_appear_by_the_first_completed_facts_of_their_orders():
    facts = [STARTED, fact("completed", [line("B", "b")], order="o2"), fact("completed", [line("A", "a")], order="o1")]
    for arrival in ([0, 1, 2], [2, 1, 0]):
        assert [each.sku for each in ordered(facts, arrival).sale().lines] == ["b"]
        assert ordered(facts, arrival).sale().event_id == "1"


def test_a_transaction_has_event_time_customer_and_currency_of_the_first_completed_fact():
    facts = [
        STARTED,
        fact("completed", CART, order="o2", customer="bert", currency="USD"),
        fact("completed", CART, order="o1"),
    ]
    for arrival in ([0, 1, 2], [2, 1, 0]):
        judged = ordered(facts, arrival).sale()
        assert (judged.event_id, judged.customer, judged.currency) == ("1", "bert", "USD")
    assert list(ordered(facts).counts("checkout")["revenue"]) == ["USD"]


@pytest.mark.parametrize(
    ("facts", "results"),
    [
        ([O1, fact("canceled", order="o9")], ["applied", "unmatched"]),
        ([fact("completed", CART), fact("canceled", order="o9")], ["applied", "applied"]),
        ([O1, fact("canceled")], ["applied", "applied"]),
        ([fact("order_updated", CART, order="o1"), O2], ["unmatched", "applied"]),
    ],
)
def test_a_fact_is_unmatched_while_no_completed_order_is_its_own(facts, results):
    assert ordered(facts).results == results


def test_the_categories_of_orders_in_another_currency_count():
    story = ordered(
        [
            fact("completed", [line("P", "a", category="shoes")], order="o1"),
            fact("completed", [line("Q", "b", category="socks")], order="o2", currency="USD"),
        ]
    )
    assert set(story.offline.figures().slice("total", "checkout").categories) == {"shoes", "socks"}


def test_a_checkout_has_32_orders_and_a_fact_of_one_more_leaves_no_trace():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", CART, at=1)
    for number in range(ORDERS):
        story.checkout("completed", [line("Q", "b", price="1")], at=2 + number, order=f"o{number}")
    assert ORDERS == 32
    assert set(story.results) == {"applied"}
    before = story.judgement(), repr(story.counts("checkout"))
    assert story.sale().final == "42.00"
    for kind in ("completed", "order_updated", "refunded", "canceled"):
        refund = ("r", None, None) if kind == "refunded" else None
        for _ in range(2):  # its identity is not remembered
            step = story.checkout(kind, MORE, at=50, order="one more", id=kind, refund=refund)
            assert (step.result, step.versions) == ("rejected", ())
    assert (story.judgement(), repr(story.counts("checkout"))) == before
    assert story.checkout("completed", CART, at=51, order="o5", id="o5 again").result == "applied"
    assert story.checkout("completed", MORE, at=52).result == "applied"
    assert story.checkout("completed", CART, at=53, order="one more", id="test", livemode=False).result == "test"
    assert story.checkout("completed", CART, at=53, order="one more", id="o5 again").result == "duplicate"


def test_orders_that_no_completed_fact_has_count_among_the_32():
    story = Story()
    for number in range(ORDERS):
        story.checkout("canceled", at=number, order=f"o{number}")
    assert story.checkout("completed", CART, at=50, order="one more").result == "rejected"
    assert story.checkout("completed", CART, at=51).result == "applied"


# What was given back


REFUNDS = {
    "units of one line": ([("r", [line("Q", "b")], None)], "cross_sell final=5.00 cross_sell=5.00"),
    "units that take the upsell with them": ([("r", [line("P", "a")], None)], "upsell final=10.00 upsell=10.00"),
    "more units than were sold": (
        [("r", [line("P", "a", 9)], None)],
        "upsell final=20.00 upsell=10.00",
    ),
    "everything, unit by unit": (
        [("r", [line("P", "a", 2)], None), ("s", [line("Q", "b")], None)],
        "transaction cross_sell upsell final=25.00 upsell=10.00 cross_sell=5.00",
    ),
    "the same refund twice counts once": (
        [("r", [line("P", "a")], None), ("r", [line("P", "a")], None)],
        "upsell final=10.00 upsell=10.00",
    ),
    "no units of what was sold": ([("r", [], None)], ""),
    "nothing that was sold": ([("r", [line("X", "x")], None)], ""),
    "by product id where the refund has no sku": ([("r", [line("Q")], None)], "cross_sell final=5.00 cross_sell=5.00"),
    "an amount alone: all amounts in proportion": (
        [("r", None, "5")],
        "final=5.00 upsell=2.00 cross_sell=1.00",
    ),
    "an amount that reaches the net total": (
        [("r", None, "20"), ("s", None, "5")],
        "transaction cross_sell upsell final=25.00 upsell=10.00 cross_sell=5.00",
    ),
    "neither products nor amount": (
        [("r", None, None)],
        "transaction cross_sell upsell final=25.00 upsell=10.00 cross_sell=5.00",
    ),
    "products with an amount: the products decide": (
        [("r", [line("P", "a")], "99")],
        "upsell final=10.00 upsell=10.00",
    ),
    "products, then money for a share of what is left": (
        [("r", [line("P", "a")], None), ("s", None, "3")],
        "upsell final=13.00 upsell=10.00 cross_sell=1.00",
    ),
}


@pytest.mark.parametrize(("refunds", "lost"), REFUNDS.values(), ids=REFUNDS)
def test_refunds(refunds, lost):
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", MORE, at=1)
    for number, refund in enumerate(refunds):
        story.checkout("refunded", at=2 + number, refund=refund)
    assert story.reversal() == lost
    assert story.judgement() == UP, "the verdict itself is gross"


PARTLY = {
    "units are found in the refund's own order": (
        [STARTED, fact("completed", MORE, order="o1"), fact("completed", [line("P", "a")], order="o2")],
        [fact("refunded", order="o2", refund=("r", [line("P", "a", 3)], None))],
        "final=10.00 upsell=10.00",
    ),
    "without an id, in the order of the first completed fact": (
        [STARTED, O1, O2],
        [fact("refunded", refund=("r", [line("Q", "b")], None))],
        "",
    ),
    "one refund id counts once in each order": (
        [STARTED, O1, O2],
        [
            fact("refunded", order="o1", refund=("r", [line("P", "a")], None)),
            fact("refunded", order="o2", refund=("r", [line("Q", "b")], None)),
        ],
        "transaction cross_sell final=15.00 cross_sell=5.00",
    ),
    "one refund id counts once in an order that is named in two ways": (
        [STARTED, fact("completed", MORE, order="o1")],
        [
            fact("refunded", refund=("r", [line("P", "a")], None)),
            fact("refunded", order="o1", refund=("r", [line("Q", "b")], None)),
        ],
        "upsell final=10.00 upsell=10.00",
    ),
    "a canceled order": (
        [STARTED, O1, O2],
        [fact("canceled", order="o2")],
        "cross_sell final=5.00 cross_sell=5.00",
    ),
    "all orders canceled": (
        [STARTED, O1, O2],
        [fact("canceled", order="o2"), fact("canceled")],
        "transaction cross_sell final=15.00 cross_sell=5.00",
    ),
    "a refund without products and amount gives its own order back": (
        [STARTED, O1, O2],
        [fact("refunded", order="o2", refund=("r", None, None))],
        "cross_sell final=5.00 cross_sell=5.00",
    ),
    "an empty list of products gives nothing back": (
        [STARTED, O1, O2],
        [fact("refunded", order="o2", refund=("r", [], None))],
        "",
    ),
    "an amount with an empty list of products is an amount": (
        [STARTED, O1, O2],
        [fact("refunded", refund=("r", [], "3"))],
        "final=3.00 cross_sell=1.00",
    ),
    "an amount of 0 gives nothing back": ([STARTED, O1, O2], [fact("refunded", refund=("r", None, "0"))], ""),
    "amounts that reach what is left of their order give it back": (
        [STARTED, O1, O2],
        [
            fact("refunded", order="o2", refund=("r", None, "2")),
            fact("refunded", order="o2", refund=("s", [], "3")),
        ],
        "cross_sell final=5.00 cross_sell=5.00",
    ),
    "amounts below what is left of their orders are a share of the transaction": (
        [STARTED, O1, O2],
        [fact("refunded", order="o1", refund=("r", None, "4")), fact("refunded", order="o2", refund=("r", None, "2"))],
        "final=6.00 cross_sell=2.00",
    ),
    "amounts beside an order that was given back": (
        [STARTED, fact("completed", MORE, order="o1"), O2],
        [fact("refunded", order="o1", refund=("r", None, "5")), fact("refunded", order="o2", refund=("r", None, "7"))],
        "final=10.00 upsell=2.00 cross_sell=6.00",
    ),
    "amounts of a canceled order take nothing more": (
        [STARTED, fact("completed", MORE, order="o1"), O2],
        [fact("refunded", order="o2", refund=("r", None, "2")), fact("canceled", order="o2")],
        "final=5.00 cross_sell=5.00",
    ),
    "an amount counts after the units, whenever it came": (
        [STARTED, fact("completed", MORE, order="o1")],
        [
            fact("refunded", refund=("r", None, "3")),
            fact("refunded", refund=("s", [line("P", "a")], None)),
        ],
        "upsell final=13.00 upsell=10.00 cross_sell=1.00",
    ),
    "an amount that units have made enough": (
        [STARTED, fact("completed", MORE, order="o1")],
        [
            fact("refunded", refund=("r", None, "15")),
            fact("refunded", refund=("s", [line("P", "a")], None)),
        ],
        "transaction cross_sell upsell final=25.00 upsell=10.00 cross_sell=5.00",
    ),
    "an order in another currency was canceled": (
        [STARTED, O1, fact("completed", MORE, order="o2", currency="USD")],
        [fact("canceled", order="o2", currency="USD")],
        "",
    ),
    "all but an order in another currency was canceled": (
        [STARTED, O1, fact("completed", MORE, order="o2", currency="USD")],
        [fact("canceled", order="o1")],
        "final=10.00",
    ),
    "an amount of an order in another currency takes no share of others": (
        [STARTED, O1, fact("completed", MORE, order="o2", currency="USD")],
        [fact("refunded", order="o2", refund=("r", None, "5"), currency="USD")],
        "",
    ),
    "what was added to a family comes back, and more": (
        [fact("started", [line("P", "a", 2)]), fact("completed", [line("P", "a", 3)])],
        [fact("refunded", refund=("r", [line("P", "a", 2)], None))],
        "upsell final=20.00 upsell=10.00",
    ),
    "what was kept stays kept": (
        [STARTED, fact("completed", [*CART, line("Q", "b")])],
        [fact("refunded", refund=("r", [line("P", "a")], None))],
        "final=10.00",
    ),
    "what comes back makes no new pairs": (
        [
            fact("started", [line("C", "camera", price="500", category="photo")]),
            fact(
                "completed",
                [
                    line("B", "body", price="700", category="photo"),
                    line("K", "case", price="100", category="photo"),
                ],
            ),
        ],
        [fact("refunded", refund=("r", [line("B", "body")], None))],
        "upsell final=700.00 upsell=200.00",
    ),
    "what was removed is set against what is left": (
        [
            fact(
                "started",
                [
                    line("A", "a", price="100", category="hats"),
                    line("B", "b", price="90", category="hats"),
                    line("C", "c", price="80", category="hats"),
                ],
            ),
            fact(
                "completed",
                [
                    line("X", "x", price="200", category="hats"),
                    line("Y", "y", price="150", category="hats"),
                ],
            ),
        ],
        # Gross: 100 and 60, less 80: 20 and 60. Without X: 60 less 80.
        [fact("refunded", refund=("r", [line("X", "x")], None))],
        "upsell final=200.00 upsell=80.00",
    ),
}


@pytest.mark.parametrize(("facts", "back", "lost"), PARTLY.values(), ids=PARTLY)
def test_reversals_of_several_orders_and_of_what_is_left(facts, back, lost):
    story = ordered([*facts, *back])
    assert story.reversal() == lost
    assert story.judgement() == ordered(facts).judgement(), "the verdict itself is gross"
    everything = [*facts, *back]
    assert ordered(everything, [*range(len(everything))][::-1]).reversal() == lost


FOUND = {
    "the variant decides where both have one": (line("P", "a", variant="v"), line("P", "a", variant="w"), False),
    "the variant is enough": (line("P", "a", variant="v"), line("Q", "b", variant="v"), True),
    "then the sku": (line("P", "a", variant="v"), line("P", "b"), False),
    "the sku is enough": (line("P", "a"), line("Q", "a", variant="w"), True),
    "then the product": (line("P", variant="v"), line("P", "b"), True),
    "nothing in common": (line("P", variant="v"), line(None, "v"), False),
}


@pytest.mark.parametrize(("sold", "back", "found"), FOUND.values(), ids=FOUND)
def test_a_unit_is_found_by_the_first_id_that_both_lines_have(sold, back, found):
    story = ordered([fact("completed", [sold]), fact("refunded", refund=("r", [back], None))])
    assert story.reversal() == ("transaction final=10.00" if found else "")


def test_units_are_found_in_order_of_appearance_and_gifts_last():
    sold = [line("P", "a", price="0"), line("P", "b", 2, "10"), line("P", "c", price="7")]
    lost = []
    for units in range(1, 5):
        story = ordered([fact("completed", sold), fact("refunded", refund=("r", [line("P", None, units)], None))])
        lost.append(story.reversal())
    assert lost == ["final=10.00", "final=20.00", "transaction final=27.00", "transaction final=27.00"]


# Decimal quantities


@pytest.mark.parametrize(
    ("started", "completed", "judgement"),
    [
        ("0.5", "0.75", "known | upsell quantity 5.00 | 10.00 -> 15.00"),
        ("1.25", "1", "known | downsell quantity 5.00 | 25.00 -> 20.00"),
        ("1.500", "1.5", "known |  | 30.00 -> 30.00"),
        (2, "2.0", "known |  | 40.00 -> 40.00"),
        ("0.001", "0.002", "known | upsell quantity 0.02 | 0.02 -> 0.04"),
    ],
)
def test_what_is_sold_by_weight(started, completed, judgement):
    story = Story()
    story.checkout("started", [line("C", "cheese", started, "20")])
    story.checkout("completed", [line("C", "cheese", completed, "20")], at=1)
    assert story.judgement() == judgement


def test_a_refund_of_a_part_of_a_weight():
    story = Story()
    story.checkout("started", [line("C", "cheese", "0.5", "20")])
    story.checkout("completed", [line("C", "cheese", "1.125", "20", off="4.50")], at=1)
    assert story.judgement() == "known | upsell quantity 8.00 | 10.00 -> 18.00"
    story.checkout("refunded", at=2, refund=("r", [line("C", "cheese", "0.125")], None))
    # left: 1 at 20.00 less 4.00
    assert story.reversal() == "final=2.00 upsell=2.00"
    story.checkout("refunded", at=3, refund=("s", [line("C", "cheese", "1.1")], None))
    assert story.reversal() == "transaction upsell final=18.00 upsell=8.00"


def test_the_time_for_a_refund_is_linear_in_the_lines(monkeypatch):
    sold, steps = 3000, []
    monkeypatch.setattr(module, "min", lambda *units, **key: (steps.append(1), min(*units, **key))[1], raising=False)
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", [line("P", f"a{number}") for number in range(sold)], at=1)
    for refund in range(2):
        story.checkout("refunded", at=2 + refund, refund=(f"r{refund}", [line("P")] * (sold // 2), None))
    assert story.sale().reversed.transaction
    assert len(steps) < 4 * sold


few = st.sampled_from([None, "a", "b"])
named_lines = st.lists(
    st.builds(line, few, few, st.integers(1, 4), st.sampled_from(["10", "0"]), variant=few).filter(
        lambda made: made.sku or made.variant_id or made.product_id
    ),
    max_size=8,
)


@given(bought=named_lines, back=named_lines)
def test_a_reduced_refund_reverses_the_same_lines(bought, back):
    kept = reversal.reduced(Refund("r", tuple(back)))
    assert reversal._left(lines_of(bought), kept.products) == reversal._left(lines_of(bought), back)
    assert len(kept.products) <= len(back)


def left_one_by_one(bought, back):
    """The units that are left of each line, as the rule reads: each unit is found by the first id that both lines have, gifts last."""
    units = [each.quantity for each in bought]
    in_order = sorted(range(len(bought)), key=lambda at: bought[at].price == "0")

    def is_named(sold, back):
        pairs = (
            (sold.variant_id, back.variant_id),
            (sold.sku, back.sku),
            (sold.product_id, back.product_id),
        )
        return next((one == other for one, other in pairs if one and other), False)

    for returned in back:
        for _ in range(returned.quantity):
            found = next((at for at in in_order if units[at] and is_named(bought[at], returned)), None)
            if found is not None:
                units[found] -= 1
    return units


@given(bought=named_lines, back=named_lines)
def test_units_are_found_by_the_first_id_that_both_lines_have(bought, back):
    left = reversal._left(lines_of(bought), back)
    assert [each.units // 1000 for each in left] == left_one_by_one(bought, back)


@pytest.mark.parametrize(
    ("lines", "bytes_each"),
    [
        ([line(None, f"s{number}") for number in range(50)] * 10, 16),
        (
            [line("p" * 200, f"s{number // 10}", variant="v" * 200, category="c" * 100) for number in range(500)],
            2 * 200 + 24,
        ),
    ],
    ids=["by one kind of id, in any order", "by several ids, one after the other"],
)
def test_a_checkout_grows_by_names_and_units_of_its_refunds_not_by_their_lines(lines, bytes_each):
    lines = [msgspec.structs.replace(each, replaces="r" * 200, offer_id="o" * 200) for each in lines]
    record = Checkout(b"", 0)
    for number in range(3):
        event = CheckoutEvent(
            CheckoutType.REFUNDED, "shop", f"e{number}", 0, 0, "c1", "anna", "EUR",
            refund=Refund(f"r{number}", tuple(lines)),
        )  # fmt: skip
        apply(record, event, bytes(8))
    assert len(msgspec.msgpack.encode(record)) < 3 * 50 * bytes_each
    (order,) = record.orders
    assert [len(each.refund.products) for each in order.refunds] == [50] * 3
    assert {each.quantity for returned in order.refunds for each in returned.refund.products} == {10}


FREE_ORDERS = {
    "what was never sold": ([line("X", "x")], ""),
    "one unit of two": ([line("P", "a")], ""),
    "one line of two": ([line("P", "a", 2)], ""),
    "every unit": ([line("P", "a", 2), line("Q", "b")], "transaction"),
}


@pytest.mark.parametrize(("back", "lost"), FREE_ORDERS.values(), ids=FREE_ORDERS)
def test_a_refund_by_products_of_an_order_that_was_free(back, lost):
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", [line("P", "a", 2, off="20"), line("Q", "b", price="0")], at=1)
    story.checkout("refunded", at=2, refund=("r", back, None))
    assert story.reversal() == lost
    assert story.counts("checkout")["reversed_transactions"]["all"] == bool(lost)


def test_a_transaction_is_reversed_if_only_gifts_are_left():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", [*CART, line("G", "g", price="0")], at=1)
    story.checkout("refunded", at=2, refund=("r", [line("G", "g")], None))
    assert story.reversal() == ""
    story.checkout("refunded", at=3, refund=("s", CART, None))
    assert story.reversal() == "transaction final=10.00"


def test_a_refund_of_products_of_an_order_without_lines_reverses_nothing():
    story = Story()
    story.checkout("completed", [], at=1)
    story.checkout("refunded", at=2, refund=("r", CART, None))
    assert story.reversal() == ""


def test_orders_without_lines_are_reversed_once_all_of_them_are_given_back():
    facts = [fact("completed", order="o1"), fact("completed", order="o2"), fact("canceled", order="o1")]
    assert ordered(facts).reversal() == ""
    assert ordered([*facts, fact("refunded", order="o2", refund=("r", None, None))]).reversal() == "transaction"


def test_a_cancellation_reverses_the_whole_order_and_counts_stay_gross():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", MORE, at=1)
    story.checkout("canceled", at=2)
    counts = story.counts("checkout")
    assert counts["kind_transactions"]["any"] == 1
    assert counts["reversed_transactions"] == {
        "all": 1,
        "upsell": 1,
        "cross_sell": 1,
        "downsell": 0,
        "restored": 0,
        "any": 1,
    }
    assert counts["revenue"]["EUR"]["reversed"] == "25.00"


def test_an_amount_in_another_currency_reverses_nothing():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", MORE, at=1)
    story.checkout("refunded", at=2, refund=("r", None, "99"), currency="USD")
    assert story.reversal() == ""


def test_a_refund_of_units_that_a_discount_was_on():
    story = Story()
    story.checkout("started", [line("P", "a")])
    story.checkout("completed", [line("P", "a", 4, "10", off="6")], at=1)
    assert story.judgement() == "known | upsell quantity 24.00 | 10.00 -> 34.00"
    story.checkout("refunded", at=2, refund=("r", [line("P", "a", 1)], None))
    # left: 3 units, list 30, discount 4.50, net 25.50; upsell 15.50
    assert story.reversal() == "final=8.50 upsell=8.50"


def test_categories_count_a_transaction_once_in_each():
    story = Story()
    story.checkout("started", [line("P", "a", category="shoes")])
    story.checkout(
        "completed",
        [
            line("P", "a", category="shoes"),
            line("Q", "b", category="socks"),
            line("R", "c", category="socks"),
            line("S"),
        ],
        at=1,
    )
    categories = story.offline.figures().slice("total", "checkout").categories
    assert {name: figures.plain()["kind_transactions"]["cross_sell"] for name, figures in categories.items()} == {
        "shoes": 0,
        "socks": 1,
    }


def test_a_change_that_is_not_published_changes_counts_without_a_new_version():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", [line("P", "a", 2, category="shoes")], at=1)
    step = story.checkout("order_updated", [line("P", "a", 2, category="boots")], at=2)
    assert step.versions == ()
    assert set(story.offline.figures().slice("total", "checkout").categories) == {"boots"}


def test_the_largest_amounts_are_counted_and_stored():
    story = Story()
    story.checkout("started", [line("P", "a", price="1")], currency="CLF")
    story.checkout("completed", [line("P", "a", 10, price="1000000000")], at=1, currency="CLF")
    assert story.sale().final == "10000000000.0000"
    assert msgspec.msgpack.encode(story.offline.figures().select("total", "checkout").revenue["CLF"])
