"""A checkout from its facts: intent, final lines, labels and reversals, in any order of arrival."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.carts import line
from support.stories import Story

from stream.core.entities import checkout as module
from stream.core.entities.checkout import Checkout, apply
from stream.core.event import CheckoutEvent, CheckoutType, Refund
from stream.core.judging.cart import merge

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
    assert counts["kind_transactions"] == {"upsell": 1, "cross_sell": 1, "downsell": 0, "any": 1}
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


def test_any_order_of_arrival_ends_in_the_same_figures():
    def apply_event(story, number):
        match number:
            case 0:
                story.checkout("started", CART, id="0", channel="web")
            case 1:
                story.checkout("updated", MORE, at=1, id="1", segment="x")
            case 2:
                story.checkout("completed", CART, at=2, id="2", segment="y")
            case 3:
                story.checkout("order_updated", MORE, at=3, id="3")
            case 4:
                story.checkout("refunded", at=4, id="4", refund=("r", [line("Q", "b")], None))
            case 5:
                story.checkout("refunded", at=5, id="5", refund=("s", None, "2"))

    ends = set()
    for order in itertools.permutations(range(6)):
        story = Story()
        for number in order:
            apply_event(story, number)
        judged = story.sale()
        ends.add((repr(story.counts("checkout")), story.judgement(), story.reversal(), judged.segment, judged.time))
    assert len(ends) == 1


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


def test_the_time_for_a_refund_is_linear_in_the_lines(monkeypatch):
    sold, steps = 3000, []
    monkeypatch.setattr(module, "min", lambda *units: (steps.append(1), min(*units))[1], raising=False)
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", [line("P", f"a{number}") for number in range(sold)], at=1)
    for refund in range(2):
        story.checkout("refunded", at=2 + refund, refund=(f"r{refund}", [line("P")] * (sold // 2), None))
    assert story.sale().reversed.transaction
    assert len(steps) < 4 * sold


few = st.sampled_from([None, "a", "b"])
named_lines = st.lists(
    st.builds(line, few, few, st.integers(1, 4), variant=few).filter(
        lambda made: made.sku or made.variant_id or made.product_id
    ),
    max_size=8,
)


@given(bought=named_lines, back=named_lines)
def test_a_reduced_refund_reverses_the_same_lines(bought, back):
    kept = module._reduced(Refund("r", tuple(back)))
    assert module._left(merge(bought), kept.products) == module._left(merge(bought), back)
    assert len(kept.products) <= len(back)


def test_a_checkout_grows_by_names_and_units_of_its_refunds_not_by_their_lines():
    record = Checkout(0, 0)
    for number in range(3):
        lines = [
            line("p" * 200, f"s{each}", variant="v" * 200, category="c" * 100, replaces="r" * 200, offer="o" * 200)
            for each in [*range(50)] * 10
        ]
        event = CheckoutEvent(
            CheckoutType.REFUNDED, "shop", f"e{number}", 0, 0, "c1", "anna", "EUR",
            refund=Refund(f"r{number}", tuple(lines)),
        )  # fmt: skip
        apply(record, event, bytes(8))
    assert len(msgspec.msgpack.encode(record)) < 3 * 50 * 16
    assert [len(each.refund.products) for each in record.refunds] == [50] * 3
    assert {each.quantity for returned in record.refunds for each in returned.refund.products} == {10}


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


def test_a_cancellation_reverses_the_whole_order_and_counts_stay_gross():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", MORE, at=1)
    story.checkout("canceled", at=2)
    counts = story.counts("checkout")
    assert counts["kind_transactions"]["any"] == 1
    assert counts["reversed_transactions"] == {"all": 1, "upsell": 1, "cross_sell": 1, "downsell": 0, "any": 1}
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
