"""Distinct customers: counted by the newest purchase of a kind, withdrawn with the kind, kept by a reversal."""

from support.carts import line
from support.stories import Story

from stream.core.entities.customer import member

CART = [line("P", "a")]
MORE = [line("P", "a", 2)]


def customers(story):
    return story.counts("checkout")["customers"]


def test_one_customer_counts_once_however_much_they_buy():
    story = Story()
    for number in range(3):
        story.checkout("started", CART, checkout=f"c{number}")
        story.checkout("completed", MORE if number == 1 else CART, at=1, checkout=f"c{number}")
    assert customers(story) == {"all": 1, "upsell": 1, "cross_sell": 0, "any": 1}


def test_a_withdrawn_kind_withdraws_the_customer():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", MORE, at=1)
    story.checkout("order_updated", CART, at=2)
    assert customers(story) == {"all": 1, "upsell": 0, "cross_sell": 0, "any": 0}


def test_a_withdrawn_kind_leaves_a_customer_who_has_another_purchase_of_it():
    story = Story()
    for name in ("c1", "c2"):
        story.checkout("started", CART, checkout=name)
        story.checkout("completed", MORE, at=1, checkout=name)
    story.checkout("order_updated", CART, at=2, checkout="c2")
    assert customers(story)["upsell"] == 1


def test_a_reversal_keeps_the_customer():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", MORE, at=1)
    story.checkout("canceled", at=2)
    assert customers(story) == {"all": 1, "upsell": 1, "cross_sell": 0, "any": 1}


def test_a_sale_that_becomes_another_customer_s_moves():
    story = Story()
    story.checkout("completed", CART, at=5, customer="anna")
    story.checkout("completed", CART, at=4, customer="bert")
    story.checkout("completed", CART, at=6, checkout="c2", customer="bert")
    assert customers(story)["all"] == 1


def test_a_customer_is_stored_under_a_keyed_hash():
    assert member("anna", b"key") == member("anna", b"key")
    assert member("anna", b"key") != member("anna", b"other")
    assert len(member("anna", b"")) == 16
