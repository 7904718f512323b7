"""Entities that layout 1 stored are read: what they count stays, and their next event is judged by the present rules.

The records are built from arrays, field by field as layout 1 encoded them, so that no change of today's structs changes them.
"""

import msgspec
import pytest
from core.shard.test_shard import Store, events_in
from support.carts import item, line
from support.stored_records import decode_checkout, decode_subscription
from support.stories import HOUR, START

from stream.core.config import DAY, CoreConfig
from stream.core.counting.cells import CATEGORY, MONEY, SALES
from stream.core.counting.summary import Summary, encode_recent, encode_summary
from stream.core.entities.customer import member
from stream.core.identity import identity
from stream.core.money import ONE

ANNA = member("anna", b"")
MINUTE = HOUR // 60
KNOWN, UPSELL_ANY = 0, 0b1001
CART = [["a", None, "P", None, 1, "10", "0", None, None]]
MORE = [["a", None, "P", None, 2, "10", "0", None, None], ["b", None, "Q", None, 1, "5", "0", None, None]]
NOT_LOST = [False, 0, [0, 0, 0, 0, 0]]


def seen(*ids):
    return b"".join(identity("shop", name) for name in ids)


def order(minute, type, id):
    return [START + minute * MINUTE, 0, type, id, "shop"]


def checkout(**fields):
    """A checkout of layout 1: started with one unit at 10.00, completed with an upsell of 10.00 and a cross-sell of 5.00."""
    sale = [
        identity("c1", "shop", "e2"), ANNA, START + MINUTE, "web", "unknown", "EUR", KNOWN, UPSELL_ANY | 0b10,
        [1000, 1000, 500, 0, 2500], [], NOT_LOST,
    ]  # fmt: skip
    given = {
        "newest": START + MINUTE,
        "first": START,
        "seen": seen("e1", "e2"),
        "started": START,
        "open": True,
        "facts": [
            [order(0, 0, "e1"), "EUR", CART, "web", None, None, ""],
            [order(1, 2, "e2"), "EUR", MORE, None, None, None, "anna"],
        ],
        "cart": 0,
        "intent_of_started": -1,
        "intent_of_completed": -1,
        "first_completed": 1,
        "final": 1,
        "channel": 0,
        "segment": -1,
        "refunds": [],
        "canceled": False,
        "opportunity": [START, "web", "unknown"],
        "sale": sale,
        "version": 3,
        "digest": b"digest 1",
        "published": True,
        "until": (START + 30 * DAY) // DAY + 1,
    }
    assert not fields.keys() - given.keys()
    return [*(given | fields).values()]


BASE = ["P1", "P", True, None, 5, "10", "month", 1]
"""Five seats at 10.00."""


def state(**fields):
    given = {
        "items": None, "currency": "", "initial": None, "explicit": False, "created": False, "trial": False,
        "paid": False, "active": False, "channel": None, "segment": None, "customer": "", "newest": b"",
        "refunded": False, "seen": False,
    }  # fmt: skip
    assert not fields.keys() - given.keys()
    return [*(given | fields).values()]


def event(type, hours, id, items=None):
    return [type, "shop", id, START + hours * HOUR, 0, "s1", "anna", "EUR", items, None, None, False, None, None, True]


def assessment(hours, id, amounts, lines=()):
    return ["shop", id, START + hours * HOUR, "anna", None, None, "EUR", "known", [*lines], amounts, [], NOT_LOST]


def counted(hours, id, kinds, amounts, loss=None):
    key = identity("s1", "shop", id)
    return [
        key, ANNA, START + hours * HOUR, "unknown", "unknown", "EUR", KNOWN, kinds, amounts, [], loss or NOT_LOST,
    ]  # fmt: skip


def contribution(hours, id, amounts, *, kinds=0, lines=(), reversed_=False, version=1):
    opportunity = [START + hours * HOUR, "unknown", "unknown"]
    loss = [True, kinds, [0, *amounts[1:]]] if reversed_ else None
    effect = [START + hours * HOUR, None, None, True, assessment(hours, id, amounts, lines)]
    return [effect, reversed_, opportunity, counted(hours, id, kinds, amounts, loss), version, b"digest 1", bool(kinds)]


UPSELL = {
    "kind": "upsell", "reason": "quantity", "product_id": "P", "sku": "P1", "intent_product_id": "P", "intent_sku": "P1",
    "offer_id": None, "amount": "10.00",
}  # fmt: skip


def subscription(**fields):
    """A subscription of layout 1: created with five seats, changed to six."""
    more = [*BASE[:4], 6, *BASE[5:]]
    given = {
        "newest": START + HOUR,
        "settled": state(),
        "state": state(
            items=[more], currency="EUR", initial=[BASE], created=True, paid=True, active=True, customer="anna",
            newest=identity("shop", "up"), seen=True,
        ),
        "entries": [[event(0, 0, "made", [BASE]), []], [event(2, 1, "up", [more]), None]],
        "contributions": {
            identity("shop", "made"): contribution(0, "made", [5000, 0, 0, 0, 5000]),
            identity("shop", "up"): contribution(1, "up", [5000, 1000, 0, 0, 6000], kinds=UPSELL_ANY, lines=[UPSELL]),
        },
        "member": ANNA,
        "settled_to": None,
        "seen": seen("made", "up"),
        "until": None,
    }  # fmt: skip
    assert not fields.keys() - given.keys()
    return [*(given | fields).values()]


def store_of(journey, entity, record, total, *, active=None):
    """A shard of layout 1 with one entity and its customer; the vectors of its total are as short as they were."""
    store = Store(journey, CoreConfig(windows=()))
    store.state = msgspec.msgpack.encode([1, journey, total, [], []])
    store.summary = encode_summary(Summary(journey, 0, START, [], total))
    store.recent = encode_recent(START, 5_000_000, {}, START - DAY)
    store.entities[entity] = msgspec.msgpack.encode(record)
    store.customers[ANNA] = msgspec.msgpack.encode([[], active or {}, {entity.decode(): 0}, 0])
    return store


CHECKOUT_TOTAL = [
    ((MONEY, "web", "unknown", "EUR"), [1000, 1000, 500, 0, 2500, 2500, 0]),
    ((SALES, "web", "unknown"), [1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0]),
]
SUBSCRIPTION_TOTAL = [
    ((MONEY, "unknown", "unknown", "EUR"), [10_000, 1000, 0, 0, 11_000, 11_000, 0]),
    ((SALES, "unknown", "unknown"), [2, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0]),
]


def checkouts(record=None):
    return store_of("checkout", b"c1", record or checkout(), CHECKOUT_TOTAL)


def subscriptions(record=None):
    return store_of("subscription", b"s1", record or subscription(), SUBSCRIPTION_TOTAL, active={"s1": "P"})


def told(store, tell):
    """Apply the events of a scenario and return the steps; the shard is restored before each of them."""
    return store.run(events_in(tell), START + 2 * DAY, batch=1, restart=True)


def figures(store):
    return store.document()["windows"]["total"][store.journey]


def judged(step, id):
    (found,) = [version.judged for version in step.versions if version.judged.event_id == id]
    lines = ", ".join(f"{each.kind} {each.reason} {each.amount}" for each in found.lines)
    return f"{lines} | {found.initial} -> {found.final} version {found.version} rules {found.rules}"


# Checkouts


def test_a_checkout_is_read_and_counts_stay():
    store = checkouts()
    before = figures(store)
    assert before["kind_transactions"] == {"upsell": 1, "cross_sell": 1, "downsell": 0, "restored": 0, "any": 1}
    store.run([], START + 2 * DAY)
    assert figures(store) == before
    record = decode_checkout(store.entities[b"c1"])
    assert (record.opportunity.time, record.sale.amounts.final, record.version) == (START, 2500, 3)


def test_the_next_event_of_a_checkout_restates_what_it_counted():
    store = checkouts()
    (step,) = told(store, lambda story: story.checkout("order_updated", [line("P", "a", 3)], at=5, id="e3"))
    assert step.result == "applied"
    assert judged(step, "e2") == "upsell quantity 20.00 | 10.00 -> 30.00 version 4 rules 2"
    after = figures(store)
    assert (after["opportunities"], after["transactions"]) == (1, 1)
    assert after["kind_transactions"] == {"upsell": 1, "cross_sell": 0, "downsell": 0, "restored": 0, "any": 1}
    assert after["revenue"]["EUR"]["total"] == "30.00"
    assert after["revenue"]["EUR"]["upsell"] == "20.00"
    assert msgspec.msgpack.decode(store.entities[b"c1"])[0] == seen("e1", "e2", "e3"), "stored as today"


def test_the_next_event_of_a_checkout_is_judged_by_the_present_rules():
    """Two skus of one product were an upsell of a variant and an addition; now they are one family."""
    carts = [[["a", None, "P", None, 2, "10", "0", None, None]], [["b", None, "P", None, 2, "10", "0", None, None]]]
    facts = [
        [order(0, 0, "e1"), "EUR", carts[0], "web", None, None, ""],
        [order(1, 2, "e2"), "EUR", carts[1], None, None, None, "anna"],
    ]
    store = checkouts(checkout(facts=facts))
    (step,) = told(store, lambda story: story.checkout("refunded", at=5, id="e3", refund=("r", [], None)))
    assert judged(step, "e2") == " | 20.00 -> 20.00 version 4 rules 2"
    after = figures(store)
    assert after["kind_transactions"]["any"] == 0
    assert (after["transactions"], after["revenue"]["EUR"]["total"]) == (1, "20.00")


def test_facts_of_layout_1_are_those_of_the_order_without_an_id():
    def tell(story):
        story.checkout("order_updated", [line("P", "a")], at=5, id="e3", order="o1")  # no completed fact has this id
        story.checkout("completed", [line("Q", "b", price="5")], at=6, id="e4", order="o2")
        story.checkout("canceled", at=7, id="e5", order="o2")

    store = checkouts()
    steps = told(store, tell)
    assert [step.result for step in steps] == ["applied"] * 3
    assert judged(steps[0], "e2") == " | 10.00 -> 10.00 version 4 rules 2"
    assert judged(steps[1], "e2") == "cross_sell addition 5.00 | 10.00 -> 15.00 version 5 rules 2"
    assert figures(store)["revenue"]["EUR"]["reversed"] == "5.00"
    assert figures(store)["transactions"] == 1


def test_refunds_of_layout_1_still_count_once():
    refund = [order(2, 4, "e3"), "EUR", ["r", [["b", None, "Q", None, 1, "0", "0", None, None]], None]]
    store = checkouts(checkout(refunds=[refund], seen=seen("e1", "e2", "e3")))
    repeated, again, new = told(
        store,
        lambda story: [
            story.checkout("refunded", at=2, id="e3", refund=("r", [line("Q", "b")], None)),
            story.checkout("refunded", at=3, id="e4", refund=("r", [line("P", "a")], None)),
            story.checkout("refunded", at=4, id="e5", refund=("s", [line("P", "a")], None)),
        ],
    )
    assert repeated.result == "duplicate"
    (version,) = again.versions
    assert version.judged.reversed.amounts["final"] == "5.00"
    (version,) = new.versions
    assert (version.judged.reversed.amounts["final"], version.judged.reversed.kinds) == (
        "15.00",
        ["cross_sell", "upsell"],
    )


@pytest.mark.parametrize("is_open", [True, False])
def test_an_opportunity_without_a_started_fact_keeps_its_time(is_open):
    facts = [[order(3, 2, "e2"), "EUR", MORE, "web", None, None, "anna"]]
    old = checkout(
        started=None, open=is_open, facts=facts, cart=-1, channel=0, first_completed=0, final=0,
        opportunity=[START, "web", "unknown"] if is_open else None,
    )  # fmt: skip
    assert decode_checkout(msgspec.msgpack.encode(old)).begun == (START if is_open else None)
    store = checkouts(old)
    told(store, lambda story: story.checkout("canceled", at=5, id="e3"))
    record = decode_checkout(store.entities[b"c1"])
    assert (record.opportunity and record.opportunity.time) == (START if is_open else None)


def test_a_checkout_without_an_order_has_none():
    old = checkout(
        facts=[[order(0, 0, "e1"), "EUR", CART, "web", None, None, ""]], first_completed=-1, final=-1, sale=None
    )
    assert decode_checkout(msgspec.msgpack.encode(old)).orders == []


# Subscriptions


def test_a_subscription_is_read_and_counts_stay():
    store = subscriptions()
    before = figures(store)
    assert before["kind_transactions"]["upsell"] == 1
    store.run([], START + 2 * DAY)
    assert figures(store) == before
    record = decode_subscription(store.entities[b"s1"])
    assert {each.sale.amounts.final for each in record.contributions.values()} == {5000, 6000}


def test_the_next_event_of_a_subscription_adds_its_own_transaction_and_publishes_no_other():
    store = subscriptions()
    (step,) = told(store, lambda story: story.subscription("changed", [item("P1", 7, base=True)], at=2, id="more"))
    assert [version.judged.event_id for version in step.versions] == ["more"]
    assert judged(step, "more") == "upsell quantity 10.00 | 60.00 -> 70.00 version 1 rules 2"
    after = figures(store)
    assert (after["opportunities"], after["transactions"], after["kind_transactions"]["upsell"]) == (3, 3, 2)
    assert after["revenue"]["EUR"]["final"] == "180.00"
    assert msgspec.msgpack.decode(store.entities[b"s1"])[0] == seen("made", "up", "more"), "stored as today"


def test_a_late_event_restates_what_a_subscription_counted():
    store = subscriptions()
    (step,) = told(store, lambda story: story.subscription("changed", [item("P1", 4, base=True)], at=0.5, id="late"))
    assert judged(step, "late") == "downsell quantity 10.00 | 50.00 -> 40.00 version 1 rules 2"
    assert judged(step, "up") == ("upsell quantity 10.00, restored restored 10.00 | 40.00 -> 60.00 version 2 rules 2")
    after = figures(store)
    assert (after["opportunities"], after["transactions"]) == (3, 3)
    assert after["kind_transactions"] == {"upsell": 1, "cross_sell": 0, "downsell": 1, "restored": 1, "any": 1}
    assert after["revenue"]["EUR"]["restored"] == "10.00"


def test_an_event_of_layout_1_is_still_a_duplicate():
    store = subscriptions()
    steps = told(store, lambda story: story.subscription("changed", [item("P1", 9, base=True)], at=1, id="up"))
    assert [step.result for step in steps] == ["duplicate"]
    assert figures(store)["transactions"] == 2


def test_an_additional_product_beside_a_subscription_of_layout_1():
    store = subscriptions()
    (step,) = told(
        store, lambda story: story.subscription("created", [item("Z1", 1, "9")], at=2, id="z", subscription="s2")
    )
    assert judged(step, "z") == "cross_sell additional_product 9.00 | 0.00 -> 9.00 version 1 rules 2"


def canceled(hours=2):
    """Canceled; layout 1 did not store when."""
    old = dict(zip(("newest", "settled", "state", "entries"), subscription(), strict=False))
    more = old["state"][0][0]
    return subscription(
        newest=START + hours * HOUR,
        state=state(
            items=[more], currency="EUR", initial=[BASE], created=True, paid=True, active=False, customer="anna",
            newest=identity("shop", "up"), seen=True,
        ),
        entries=[*old["entries"], [event(5, hours, "end"), None]],
        member=b"",
        seen=seen("made", "up", "end"),
        until=(START + 400 * DAY) // DAY + 1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (26, "upsell quantity 10.00 | 60.00 -> 70.00 version 1 rules 2"),
        (26.1, " | 70.00 -> 70.00 version 1 rules 2"),
    ],
)
def test_a_canceled_subscription_counts_as_canceled_with_its_newest_event(hours, expected):
    record = decode_subscription(msgspec.msgpack.encode(canceled()))
    assert (record.state.canceled, record.settled.canceled) == (START + 2 * HOUR, None)
    store = subscriptions(canceled())
    (step,) = told(store, lambda story: story.subscription("changed", [item("P1", 7, base=True)], at=hours, id="back"))
    if expected.startswith(" |"):
        assert step.versions == (), "it has no verdict"
        assert figures(store)["revenue"]["EUR"]["final"] == "180.00"
    else:
        assert judged(step, "back") == expected
    assert figures(store)["transactions"] == 3


def test_a_canceled_subscription_of_layout_1_is_continued_by_no_other():
    store = subscriptions(canceled())
    store.customers[ANNA] = msgspec.msgpack.encode([[], {}, {"s1": 0}, 0])
    told(
        store, lambda story: story.subscription("created", [item("Q1", 1, "80", product="P")], at=3, subscription="s2")
    )
    assert figures(store)["kind_transactions"]["upsell"] == 1, "only that of layout 1"
    assert figures(store)["revenue"]["EUR"]["initial"] == "180.00"


def test_a_refunded_transaction_stays_reversed_as_a_whole():
    up = contribution(
        1, "up", [5000, 1000, 0, 0, 6000], kinds=UPSELL_ANY, lines=[UPSELL], reversed_=True, version=2
    )  # fmt: skip
    old = dict(zip(("newest", "settled", "state", "entries", "contributions"), subscription(), strict=False))
    refunded = state(
        items=old["state"][0], currency="EUR", initial=[BASE], created=True, paid=True, active=True, customer="anna",
        newest=identity("shop", "up"), refunded=True, seen=True,
    )  # fmt: skip
    record = subscription(
        newest=START + 2 * HOUR,
        state=refunded,
        entries=[*old["entries"], [event(6, 2, "back"), None]],
        contributions=old["contributions"] | {identity("shop", "up"): up},
        seen=seen("made", "up", "back"),
    )
    assert decode_subscription(msgspec.msgpack.encode(record)).state.refunded == ONE
    store = subscriptions(record)
    total = [(key, [*vector]) for key, vector in SUBSCRIPTION_TOTAL]
    total[0][1][6], total[1][1][6], total[1][1][7], total[1][1][10] = 6000, 1, 1, 1
    store.state = msgspec.msgpack.encode([1, "subscription", total, [], []])
    store.summary = encode_summary(Summary("subscription", 0, START, [], total))
    more, late = told(
        store,
        lambda story: [
            story.subscription("refunded", at=3, id="more", refund=("r", "0.5")),
            story.subscription("change_scheduled", [item("P1", 9)], at=1.5, id="late"),
        ],
    )
    assert (more.versions, late.result) == ((), "applied")
    assert figures(store)["reversed_transactions"]["all"] == 1
    assert figures(store)["revenue"]["EUR"]["reversed"] == "60.00"


@pytest.mark.parametrize(
    ("fields", "is_canceled"),
    [
        ({}, False),
        ({"seen": True}, False),
        ({"created": True, "trial": True, "active": True, "seen": True}, False),
        ({"created": True, "seen": True}, True),
        ({"paid": True, "seen": True}, True),
        ({"created": True, "paid": True, "active": True, "seen": True}, False),
    ],
    ids=["nothing", "not begun", "in a trial", "a trial that ended", "paid and ended", "active"],
)
def test_which_states_count_as_canceled(fields, is_canceled):
    record = decode_subscription(msgspec.msgpack.encode(subscription(state=state(**fields))))
    assert (record.state.canceled is not None) == is_canceled
    assert not record.state.was_paid


def test_a_settled_state_counts_as_canceled_at_the_last_settled_event():
    settled = state(created=True, paid=True, seen=True)
    record = decode_subscription(msgspec.msgpack.encode(subscription(settled=settled, settled_to=order(5, 5, "end"))))
    assert record.settled.canceled == START + 5 * MINUTE


# Both


def test_a_record_tells_its_layout_by_itself():
    for journey, entity, old, decode in (
        ("checkout", b"c1", checkouts(), decode_checkout),
        ("subscription", b"s1", subscriptions(), decode_subscription),
    ):
        record = decode(old.entities[entity])
        again = msgspec.msgpack.encode(record)
        assert again != old.entities[entity]
        assert decode(again) == record, journey
        with pytest.raises(msgspec.ValidationError):
            decode(msgspec.msgpack.encode(["neither", 1]))


def test_vectors_of_layout_1_take_new_positions():
    """The pane of a window, the recent part and the total were written with shorter vectors."""
    store = subscriptions()
    store.config = CoreConfig()
    panes = [((CATEGORY, "hats"), [1, 0, 0, 0, 0]), *SUBSCRIPTION_TOTAL]
    windows = [(window.name, window.pane_of(START)) for window in store.config.windows]
    for name, at in windows:
        store.panes[f"{name}|{at}".encode()] = msgspec.msgpack.encode(panes)
    store.state = msgspec.msgpack.encode(
        [1, "subscription", SUBSCRIPTION_TOTAL, [], [(name, at - 60) for name, at in windows]]
    )
    store.run([], START + MINUTE)
    for name, _ in windows:
        assert store.document()["windows"][name]["subscription"]["transactions"] == 2
    events = events_in(
        lambda story: [
            story.subscription("changed", [item("P1", 2, base=True)], at=1.1, id="down"),
            story.subscription("changed", [item("P1", 5, base=True, category="hats")], at=1.2, id="back"),
        ]
    )
    store.run(events, START + 2 * HOUR)
    for name in ("24h", "30d"):
        document = store.document()["windows"][name]
        assert document["subscription"]["kind_transactions"]["restored"] == 1
        assert document["subscription"]["transactions"] == 4
        assert document["subscription"]["revenue"]["EUR"]["restored"] == "30.00"
        assert document["category"]["hats"]["kind_transactions"]["restored"] == 1
        assert document["category"]["hats"]["transactions"] == 2
