"""Decoding: both paths agree, nothing raises, every rejection names the problem and the field."""

import json
import tracemalloc
from decimal import ROUND_DOWN, Decimal

import pytest
from aiokafka import ConsumerRecord
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.sent_events import MICROS, TOPICS, Record, binary, encoded, event, events, item, line, mutated_events

from stream.core import money
from stream.core.event import (
    CheckoutEvent,
    CheckoutType,
    CustomerType,
    ErasedEvent,
    Item,
    Line,
    OfferEvent,
    OfferType,
    Refund,
    Share,
    SubscriptionEvent,
    SubscriptionType,
)
from stream.core.judging.items import mrr
from stream.core.money import LARGEST, exponent, rounded
from stream.events import decode
from stream.events.catalogue import EVENT_TYPES
from stream.events.decode import LARGEST_RECORD, Decoder, Rejected, decode_line, too_many_orders
from stream.events.fields import CURRENCIES

DECODER = Decoder(TOPICS, future=600_000_000)
many = settings(max_examples=4 * settings().max_examples)
some = settings(max_examples=settings().max_examples * 3 // 5)


def fast(value, headers=()):
    """The event if the fast path accepts it, otherwise None."""
    try:
        return decode._decode_fast(value, headers, None)
    except (ValueError, RecursionError):
        return None


def exact(value, headers=()):
    return decode._decode_exactly(value, headers, None)


def decoded(sent):
    """The event, decoded by both paths."""
    made = fast(encoded(sent))
    assert made is not None
    assert made == exact(encoded(sent))
    return made


# --- values


def test_a_whole_checkout_event():
    sent = event(
        "order.completed",
        customer_id="k1", anonymous_id="a1", order_id="o1", channel="web", segment="vip", coupon="C",
        products=[
            line(sku="S", variant_id="V", product_id="P", name="N", category="cat", quantity=2, price="12.50",
                 discount="1.5", replaces=["R", "", "T"], offer_id="O"),
            line(quantity=0),
            line(quantity="0.350", replaces=""),
        ],
        intent={"products": []},
    ) | {"livemode": False, "entityversion": 7, "time": "2026-01-05T11:00:00.1234569+01:00"}  # fmt: skip
    assert decoded(sent) == CheckoutEvent(
        type=CheckoutType.COMPLETED, source="shop", id="e1", time=MICROS + 123456, version=7, entity="c1",
        customer="k1", currency="EUR",
        products=(
            Line("S", "V", "P", "cat", 2, "12.50", "1.5", ("R", "T"), "O"),
            Line("S1", None, None, None, "0.35", "12.50"),
        ),
        intent=(), refund=None, channel="web", segment="vip", livemode=False, order_id="o1",
    )  # fmt: skip


def test_a_whole_subscription_event():
    sent = event(
        "subscription.created",
        channel="web", segment="vip", status="trialing",
        items=[
            item(category="saas", interval="year", interval_count=2, offer_id="O"),
            item(plan_id="x", role="addon"),
            item(plan_id="y", role="base"),
        ],
        previous={"items": []},
        intent={"items": [item()]},
        checkout_id="c1",
    )  # fmt: skip
    pro = Item("pro", "app", None, None, 1, "10.00", "month")
    assert decoded(sent) == SubscriptionEvent(
        type=SubscriptionType.CREATED, source="shop", id="e1", time=MICROS, version=0, entity="u1",
        customer="k1", currency="EUR",
        items=(
            Item("pro", "app", None, "saas", 1, "10.00", "year", 2, "O"),
            Item("x", "app", False, None, 1, "10.00", "month"),
            Item("y", "app", True, None, 1, "10.00", "month"),
        ),
        previous=(), intent=(pro,), trialing=True, channel="web", segment="vip", livemode=True, in_checkout=True,
    )  # fmt: skip


def test_a_refund():
    refund = {"refund_id": "r1", "products": [line(quantity=3)], "amount": "4"}
    made = decoded(event("order.refunded", refund=refund, products=...))
    assert made.refund == Refund("r1", (Line("S1", None, None, None, 3, "12.50"),))
    assert made.products == ()
    refund = {"refund_id": "r1", "products": [], "amount": "4"}
    assert decoded(event("order.refunded", refund=refund)).refund == Refund("r1", (), "4")
    assert decoded(event("order.canceled", refund="not looked at")).refund is None


@pytest.mark.parametrize(
    ("ids", "customer"),
    [({"customer_id": "k", "anonymous_id": "a"}, "k"), ({"customer_id": "", "anonymous_id": "a"}, "a"), ({}, "c1")],
)
def test_the_customer(ids, customer):
    assert decoded(event("checkout.started", **ids)).customer == customer


@pytest.mark.parametrize(
    ("refund", "share"),
    [
        (..., None),
        ({}, Share()),
        ({"share": "0.25"}, Share(None, "0.25")),
        ({"refund_id": "r1", "share": "1"}, Share("r1", "1")),
        ({"refund_id": "r1", "share": "0", "more": 1}, Share("r1", "0")),
    ],
)
def test_a_refund_of_a_subscription(refund, share):
    assert decoded(event("subscription.refunded", items=..., refund=refund)).refund == share
    assert decoded(event("subscription.canceled", refund="not looked at")).refund is None


def test_an_offer():
    sent = event("offer.shown", slot="cart", customer_id="k1", channel="web") | {
        "entityversion": "7",
        "livemode": "false",
    }
    assert decoded(sent) == OfferEvent("checkout", "c1", True, "o1", "cart", MICROS, 7, "e1", "shop", False)
    made = decoded(event("offer.declined", subscription_id="u1"))
    assert made == OfferEvent("subscription", "u1", False, "o1", None, MICROS, 0, "e1", "shop")
    assert made == exact(encoded(event("offer.declined", subscription_id="u1", checkout_id="", slot="")))


@pytest.mark.parametrize(("journey", "ids"), [("checkout", {}), ("subscription", {"subscription_id": "u1"})])
@pytest.mark.parametrize("name", ["offer.shown", "offer.declined"])
def test_an_offer_belongs_to_the_topic_of_its_entity(name, journey, ids):
    sent = encoded(event(name, **ids))
    for topic, of in TOPICS.items():
        made = DECODER.decode(Record(sent, topic=topic))
        if of == journey:
            assert made == decode_line(sent)
        else:
            assert (made.reason, made.path) == ("wrong_topic", f"data.{journey}_id")
            assert (made.type, f"the topic of {journey} events" in made.detail) == (f"commerce.{name}.v1", True)


def test_an_amount_that_is_absent_is_no_amount():
    for absent in (None, ""):
        made = exact(encoded(event("subscription.refunded", refund={"share": "", "refund_id": "", "amount": absent})))
        assert made.refund == Share()


@pytest.mark.parametrize(
    ("quantity", "made"),
    [
        (2, 2), (2.0, 2), ("2", 2), ("2.000", 2), ("002", 2), (1e3, 1000), (10**9, 10**9), ("1000000000.000", 10**9),
        (0.375, "0.375"), ("0.375", "0.375"), ("0.350", "0.35"), (1.001, "1.001"), (999999999.999, "999999999.999"),
    ],
)  # fmt: skip
def test_quantities(quantity, made):
    [only] = decoded(event("checkout.started", products=[line(quantity=quantity, price="0.01")])).products
    assert (only.quantity, type(only.quantity)) == (made, type(made))


def test_no_quantity_is_a_line_that_is_dropped():
    lines = [line(quantity=quantity) for quantity in (0, 0.0, -0.0, "0", "0.000")]
    assert decoded(event("checkout.started", products=lines)).products == ()


@pytest.mark.parametrize(
    ("replaces", "made"),
    [("a", "a"), (["a"], "a"), (["a", "b"], ("a", "b")), (["", "b"], "b"), ([], None), ([""], None), (["x"] * 100, ("x",) * 100)],
)  # fmt: skip
def test_what_a_line_replaces(replaces, made):
    [only] = decoded(event("checkout.started", products=[line(replaces=replaces)])).products
    assert only.replaces == made


@pytest.mark.parametrize("name", ["order.completed", "order.updated", "order.refunded", "order.canceled"])
def test_the_order_of_an_order_event(name):
    assert decoded(event(name, order_id="o1")).order_id == "o1"
    assert exact(encoded(event(name, order_id=""))).order_id is None


@pytest.mark.parametrize("name", ["checkout.started", "checkout.updated"])
def test_a_cart_has_no_order(name):
    assert decoded(event(name, order_id="o1")).order_id is None


def test_only_a_created_event_is_sold_in_a_checkout():
    assert decoded(event("subscription.created", checkout_id="c1")).in_checkout
    assert not decoded(event("subscription.created")).in_checkout
    assert not decoded(event("subscription.changed", checkout_id="c1")).in_checkout


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_every_type_has_its_kind(name):
    made = decoded(event(name.removeprefix("commerce.").removesuffix(".v1")))
    journeys, kinds = {
        CheckoutEvent: (("checkout",), CheckoutType),
        SubscriptionEvent: (("subscription",), SubscriptionType),
        OfferEvent: (("checkout", "subscription"), OfferType),
        ErasedEvent: (("checkout", "subscription"), CustomerType),
    }[type(made)]
    assert (EVENT_TYPES[name].journeys, EVENT_TYPES[name].kind) == (journeys, made.type)
    assert isinstance(made.type, kinds)


def test_types_rank_in_the_order_of_the_reference():
    for journey, kinds in (("checkout", CheckoutType), ("subscription", SubscriptionType)):
        assert [known.kind for known in EVENT_TYPES.values() if known.journeys == (journey,)] == list(kinds)
        ranked = [
            known.kind
            for known in EVENT_TYPES.values()
            if journey in known.journeys and not isinstance(known.kind, CustomerType)
        ]
        assert ranked == sorted(ranked)
        assert ranked[-2:] == list(OfferType)


# --- both paths


@many
@given(sent=events(), ascii_only=st.booleans())
def test_both_paths_accept_what_is_allowed(sent, ascii_only):
    value = json.dumps(sent, ensure_ascii=ascii_only).encode()
    made = exact(value)
    assert not isinstance(made, Rejected), made
    quick = fast(value)
    assert quick in (made, None)
    if (
        quick is None
    ):  # an empty string or a null: the exact path treats the field as absent, the fast path does not accept it
        assert b'""' in value or b"null" in value


@many
@given(sent=mutated_events())
def test_what_the_fast_path_accepts_the_exact_one_accepts_as_the_same(sent):
    value = encoded(sent)
    quick, made = fast(value), exact(value)
    assert quick in (made, None)
    assert decode_line(value) == made
    if isinstance(made, Rejected):
        assert made.reason in {"not_cloudevent", "unknown_type", "invalid"}
        assert made.detail.isprintable()


@some
@given(sent=mutated_events())
def test_what_the_fast_path_accepts_in_binary_mode_the_exact_one_accepts_as_the_same(sent):
    if not isinstance(sent.get("data"), dict):
        sent["data"] = {}
    try:
        record = binary(sent)
    except UnicodeEncodeError:
        return  # a header cannot carry a lone surrogate
    quick, made = fast(record.value, record.headers), exact(record.value, record.headers)
    assert quick in (made, None)


@some
@given(sent=events())
def test_binary_mode_says_the_same_as_structured_mode(sent):
    record = binary({name: value for name, value in sent.items() if value is not None})
    assert exact(record.value, record.headers) == exact(encoded(sent))


@many
@given(sent=events(), data=st.data())
def test_both_paths_agree_after_a_changed_byte(sent, data):
    value = bytearray(json.dumps(sent, ensure_ascii=False).encode())
    value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    assert fast(bytes(value)) in (exact(bytes(value)), None)


# --- hostile bytes

WHOLE = encoded(event("order.completed", customer_id="k1", channel="web"))


def test_cut_at_every_byte():
    assert decode_line(WHOLE[:0]).reason == "empty"
    assert {decode_line(WHOLE[:cut]).reason for cut in range(1, len(WHOLE))} == {"not_json"}


@pytest.mark.parametrize("more", [b"x", b"\0", b"{}", b",", b"]", b"}", WHOLE, b"\xff"])
def test_trailing_data(more):
    assert decode_line(WHOLE + more).reason == "not_json"


@pytest.mark.parametrize("more", [b"\n", b"\r\n", b" \t"])
def test_trailing_white_space_is_none(more):
    assert isinstance(decode_line(WHOLE + more), CheckoutEvent)


@pytest.mark.parametrize("where", ["{%s", '{"data":{%s', '{"data":{"products":[{%s'])
@pytest.mark.parametrize(
    "junk",
    [
        "NaN", "Infinity", "-Infinity", "01", "1.", "'x'", "tru", '"\\q"', '"\x01"', '"\\u12"', "[1,]", "{1:2}", "/**/1",
        '"\udcff"', '"\udced\udca0\udc80"', '"\udcc0\udc80"', '{"\udcff":1}',
    ],
)  # fmt: skip
def test_invalid_json_in_an_unknown_field_is_rejected(where, junk):
    start = where % f'"more":{junk}'
    value = start + "]" * start.count("[") + "}" * (where.count("{"))
    value = value.encode("utf-8", "surrogateescape")
    assert decode_line(value).reason == "not_json"
    # Also within an event that is valid otherwise.
    sent = json.dumps(event("checkout.started")).replace('"products": [{', f'"products": [{{"more":{junk},')
    assert decode_line(sent.encode("utf-8", "surrogateescape")).reason == "not_json"


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "1" * 400, "-" + "1" * 5_000, "1." + "1" * 5_000, "1e99999999999"]
)
def test_huge_numbers(number):
    known = json.dumps(event("checkout.started")).replace('"quantity": 1', f'"quantity": {number}')
    made = decode_line(known.encode())
    assert (made.reason, made.path) == ("invalid", "data.products[0].quantity")
    unknown = json.dumps(event("checkout.started")).replace('"quantity"', f'"more": {number}, "quantity"')
    assert isinstance(decode_line(unknown.encode()), CheckoutEvent)
    # Also if another field needs the exact path.
    unknown = unknown.replace('"specversion"', '"livemode": "", "specversion"')
    assert isinstance(decode_line(unknown.encode()), CheckoutEvent)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("depth", [5_000, 100_000])
def test_nesting_bombs(opening, closing, depth):
    bomb = opening * depth
    assert decode_line(bomb.encode()).reason == "not_json"
    closed = json.dumps(event("checkout.started")).replace(
        '"quantity"', f'"more": {bomb}1{closing * depth}, "quantity"'
    )
    assert decode_line(closed.encode()) == Rejected("not_json", "nested too deeply")


def test_of_duplicate_keys_the_last_counts():
    value = WHOLE.replace(b'"id": "e1"', b'"id": "e0", "type": "commerce.x.v9", "id": "e2", "time": 5')
    assert decode_line(value) == exact(value) != fast(value)
    assert decode_line(value).id == "e2"
    value = WHOLE.replace(b'"price": ', b'"price": "1", "price": ').replace(b'"data"', b'"data": {"no": 1}, "data"')
    assert decode_line(value) == fast(value) == exact(value) == decode_line(WHOLE)


def test_lone_surrogates_and_nul():
    assert decode_line(encoded(event("checkout.started", channel="a\0b"))).channel == "a\0b"
    made = decode_line(encoded(event("checkout.started", channel="\ud800")))
    assert (made.reason, made.path) == ("invalid", "data.channel")
    assert made.detail.isascii()


@many
@given(value=st.binary() | st.binary().map(lambda raw: b"{" + raw), headers=st.lists(
    st.tuples(st.sampled_from(["ce_id", "ce_type", "ce_specversion", "ce_", "content-type", "x"]), st.none() | st.binary())
))  # fmt: skip
@example(value=b"{}", headers=[("ce_type", b"\xff")])
@example(value=b"\xef\xbb\xbf{}", headers=[])
def test_arbitrary_records(value, headers):
    made = DECODER.decode(Record(value, headers=tuple(headers)))
    assert isinstance(made, Rejected)


# --- rejections


def changed(name, change, **data):
    sent = event(name, **data)
    change(sent)
    return sent


@pytest.mark.parametrize(
    ("sent", "reason", "path", "says"),
    [
        ([event("checkout.started")], "not_cloudevent", "", "JSON object"),
        ("text", "not_cloudevent", "", "JSON object"),
        ({}, "not_cloudevent", "specversion", "required"),
        (event("checkout.started") | {"specversion": "0.3"}, "not_cloudevent", "specversion", "'1.0', not '0.3'"),
        (event("checkout.started") | {"id": ""}, "not_cloudevent", "id", "required"),
        (event("checkout.started") | {"id": 5}, "not_cloudevent", "id", "string, not 5"),
        (event("checkout.started") | {"source": None}, "not_cloudevent", "source", "required"),
        (event("checkout.started") | {"source": "a\0b"}, "not_cloudevent", "source", "U+0000, not 'a\\x00b'"),
        (event("customer.erased") | {"id": "\0"}, "not_cloudevent", "id", "U+0000"),
        (event("order.returned"), "unknown_type", "type", "'commerce.order.returned.v1'"),
        (event("order.completed") | {"type": "commerce.order.completed.v2", "data": 5}, "unknown_type", "type", "v2"),
        (event("checkout.started") | {"time": "2026-01-05T10:00:00"}, "invalid", "time", "offset"),
        (event("checkout.started") | {"time": ""}, "invalid", "time", "required"),
        (event("checkout.started") | {"subject": "checkout/c2"}, "invalid", "subject", "'checkout/c1', not 'checkout/c2'"),
        (event("subscription.renewed") | {"subject": "checkout/u1"}, "invalid", "subject", "'subscription/u1'"),
        (event("checkout.started") | {"livemode": "yes"}, "invalid", "livemode", "true or false, not 'yes'"),
        (event("checkout.started") | {"entityversion": 2**53}, "invalid", "entityversion", "2^53 - 1"),
        (event("checkout.started") | {"entityversion": True}, "invalid", "entityversion", "integer"),
        (event("checkout.started") | {"data": "{}"}, "invalid", "data", "JSON object"),
        (event("checkout.started", checkout_id=""), "invalid", "data.checkout_id", "required"),
        (event("checkout.started", currency="eur"), "invalid", "data.currency", "capitals"),
        (event("checkout.started", currency="XAU"), "invalid", "data.currency", "minor unit"),
        (event("checkout.started", products=...), "invalid", "data.products", "required"),
        (event("order.updated", products=None), "invalid", "data.products", "required"),
        (event("checkout.started", products={}), "invalid", "data.products", "list"),
        (event("checkout.started", products=[5]), "invalid", "data.products[0]", "JSON object, not 5"),
        (
            event("checkout.started", products=[line(price="1000", quantity=10**9), line(price="0.01")]),
            "invalid",
            "data.products",
            "adds up to 1000000000000.01",
        ),
        (event("subscription.created", items=[item(price="9" * 15)]), "invalid", "data.items", "at most 1000000000000"),
        (event("checkout.started", currency="CLF", products=[line(price="10000000000.0001")]), "invalid", "data.products", "CLF; at most 10000000000"),
        (event("checkout.started", intent={"products": [line(price="9" * 13)]}), "invalid", "data.intent", "at most"),
        (event("order.refunded", refund={"refund_id": "r", "products": [line(price="9" * 13)]}), "invalid", "data.refund", "at most"),
        (event("subscription.changed", previous={"items": [item(price="9" * 13)]}), "invalid", "data.previous", "EUR a month"),
        (event("subscription.renewed", currency="KWD", items=[item(price="3300000000", interval="day")]), "invalid", "data.items", "100375000000 KWD"),
        (event("checkout.started", products=[line()] * 2001), "invalid", "data.products", "2000"),
        (event("checkout.started", products=[line(), line(sku="")]), "invalid", "data.products[1]", "at least one"),
        (event("checkout.started", products=[line(price=12.5)]), "invalid", "data.products[0].price", "as a string"),
        (event("checkout.started", products=[line(price=12)]), "invalid", "data.products[0].price", "as a string"),
        (event("checkout.started", products=[line(price="-1")]), "invalid", "data.products[0].price", "no sign"),
        (event("checkout.started", products=[line(price="1e5")]), "invalid", "data.products[0].price", "no exponent"),
        (event("checkout.started", products=[line(price="1" * 16)]), "invalid", "data.products[0].price", "15 digits"),
        (event("checkout.started", products=[line(quantity=0, price="x")]), "invalid", "data.products[0].price", "money"),
        *(
            (event("checkout.started", products=[line(), line(quantity=wrong)]), "invalid", "data.products[1].quantity", "at most 3 decimal places")
            for wrong in (
                True, -1, -0.5, 10**9 + 1, 10**30, 1e300, 1000000000.001, 0.1234, "0.1234", "-1", "+1", "1.", ".5", "1e3", " 1", "1\n", "1,5", "one",
                "10000000000", "1000000001", "\N{ARABIC-INDIC DIGIT THREE}", [1], {"value": 1},
            )
        ),
        (event("checkout.started", products=[line(quantity=None)]), "invalid", "data.products[0].quantity", "required"),
        (event("order.refunded", refund={"refund_id": "r", "products": [line(quantity="0.0001")]}), "invalid", "data.refund.products[0].quantity", "3 decimal"),
        *(
            (event("order.completed", products=[line(replaces=wrong)]), "invalid", "data.products[0].replaces", "a list of at most 100 such ids")
            for wrong in (5, True, {"sku": "a"}, ["a", 5], ["a", None], [["a"]], ["a"] * 101, "x" * 257, ["x" * 257])
        ),
        *(
            (event("subscription.refunded", refund={"share": wrong}), "invalid", "data.refund.share", says)
            for wrong, says in (
                ("1.1", "from"), ("1.0000000001", "from"), ("-0.1", "from"), ("50%", "from"), ("1e-1", "from"), ("2", "from"), (".5", "from"),
                (0.5, "as a string"), (1, "as a string"), (True, "string"), (["1"], "string"),
            )
        ),
        (event("subscription.refunded", refund={"amount": "5.00"}), "invalid", "data.refund.amount", "send share instead"),
        (event("subscription.refunded", refund={"share": "0.5", "amount": 0}), "invalid", "data.refund.amount", "send share instead"),
        (event("subscription.refunded", refund=[]), "invalid", "data.refund", "JSON object"),
        (event("subscription.created", checkout_id=5), "invalid", "data.checkout_id", "string"),
        (event("subscription.created", items=[item(offer_id="x" * 257)]), "invalid", "data.items[0].offer_id", "256"),
        (event("subscription.created", items=[item(quantity=1.0)]), "invalid", "data.items[0].quantity", "integer"),
        (event("subscription.created", items=[item(quantity="1")]), "invalid", "data.items[0].quantity", "integer"),
        (event("order.canceled", order_id="x" * 257), "invalid", "data.order_id", "256"),
        (event("checkout.started", customer_id="x" * 257), "invalid", "data.customer_id", "256"),
        (event("checkout.started", channel="x" * 129), "invalid", "data.channel", "128"),
        (event("checkout.started", intent={}), "invalid", "data.intent.products", "required"),
        (event("order.refunded", refund=...), "invalid", "data.refund", "required"),
        (event("order.refunded", refund={"refund_id": "r", "amount": 5}), "invalid", "data.refund.amount", "as a string"),
        (event("subscription.created", customer_id=""), "invalid", "data.customer_id", "required"),
        (event("subscription.changed", items=...), "invalid", "data.items", "required"),
        (event("subscription.changed", items=[item(interval="hour")]), "invalid", "data.items[0].interval", "'month'"),
        (event("subscription.changed", items=[item(interval_count=0)]), "invalid", "data.items[0].interval_count", "1"),
        (event("subscription.changed", items=[item(role="main")]), "invalid", "data.items[0].role", "'base'"),
        (event("subscription.changed", previous={"items": 1}), "invalid", "data.previous.items", "list"),
        (event("offer.shown", checkout_id=...), "invalid", "data", "needs checkout_id or subscription_id"),
        (event("offer.shown", checkout_id=..., cartId="c1"), "invalid", "data", "did you mean checkout_id?"),
        (event("offer.declined", checkout_id="c1", subscription_id="u1"), "invalid", "data", "not both"),
        (event("offer.declined", checkout_id="c2"), "invalid", "subject", "checkout/c2"),
        (event("offer.shown", offer_id=...), "invalid", "data.offer_id", "required"),
        (event("offer.shown", offer_id=""), "invalid", "data.offer_id", "required"),
        (event("offer.shown", offer_id=7), "invalid", "data.offer_id", "string"),
        (event("offer.shown", offer_id="x" * 257), "invalid", "data.offer_id", "256"),
        (event("offer.shown", slot="x" * 129), "invalid", "data.slot", "128"),
        (event("offer.accepted"), "unknown_type", "type", "offer.accepted"),
    ],
)  # fmt: skip
def test_a_rejection_names_the_problem_and_the_field(sent, reason, path, says):
    made = decode_line(encoded(sent))
    assert isinstance(made, Rejected), made
    assert (made.reason, made.path) == (reason, path)
    assert says in made.detail
    assert made.type == (sent["type"] if reason == "invalid" else None), (
        "what was read of the type, if there is such a type"
    )


@pytest.mark.parametrize("currency", sorted(CURRENCIES))
def test_accepted_amounts_are_at_most_the_largest_amount(currency):
    largest = Decimal(LARGEST).scaleb(-exponent(currency))
    day = (largest * 12 / 365).quantize(Decimal("1e-10"), ROUND_DOWN)
    for interval, price in ("month", largest), ("day", day):
        items = [item(price=f"{price:f}", interval=interval)]
        accepted = decoded(event("subscription.created", currency=currency, items=items)).items
        assert rounded(mrr(accepted), exponent(currency)) == LARGEST
        items.append(item(plan_id="x", price="0.0001"))
        made = decode_line(encoded(event("subscription.created", currency=currency, items=items)))
        assert (made.reason, made.path) == ("invalid", "data.items")
    [accepted] = decoded(event("checkout.started", currency=currency, products=[line(price=f"{largest:f}")])).products
    assert rounded(money.exact(accepted.price), exponent(currency)) == LARGEST
    assert 92_000 * LARGEST < 2**63


def test_the_first_mistake_is_named_and_the_others_are_counted():
    made = decode_line(encoded(event("checkout.started", currency="?", products=[line(price="?", quantity=-1)])))
    assert (made.path, made.detail[-12:]) == ("data.currency", "(and 2 more)")


def test_the_rejection_of_one_order_too_many():
    fact = decode_line(encoded(event("order.refunded", order_id="o-33")))
    detail = "the order 'o-33' is one too many: a checkout has at most 32 orders"
    name = "commerce.order.refunded.v1"
    assert too_many_orders(fact) == Rejected("too_many_orders", detail, "data.order_id", name)


def test_a_long_value_is_quoted_in_part():
    made = decode_line(encoded(event("checkout.started", customer_id="secret" * 1_000)))
    assert len(made.detail) < 200
    assert len(decode_line(encoded(event("x" * 1_000))).detail) < 200


def test_types_belong_to_topics():
    sent = encoded(event("subscription.renewed"))
    assert isinstance(DECODER.decode(Record(sent, topic="subscription-events")), SubscriptionEvent)
    made = DECODER.decode(Record(sent, topic="checkout-events"))
    assert (made.reason, made.path, made.type) == ("wrong_topic", "type", "commerce.subscription.renewed.v1")
    assert isinstance(decode_line(sent), SubscriptionEvent)


@pytest.mark.parametrize(
    ("timestamp", "rejected"),
    [
        (MICROS // 1_000, False),
        (MICROS // 1_000 - 600_000, False),
        (MICROS // 1_000 - 600_001, True),
        (MICROS // 1_000 + 10**12, False),
        (None, False),
        (0, False),
        (-1, False),
    ],
)
def test_an_event_may_be_ahead_of_its_record_by_so_much(timestamp, rejected):
    made = DECODER.decode(Record(WHOLE, timestamp=timestamp))
    assert isinstance(made, Rejected) == rejected
    if rejected:
        assert (made.reason, made.detail, made.path) == ("future", "600.0 s ahead of the record's time stamp", "time")
        assert made.type == "commerce.order.completed.v1"


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_a_rejected_future_event_keeps_its_type(name):
    made = DECODER.decode(Record(encoded(event(name.removeprefix("commerce.").removesuffix(".v1"))), timestamp=1))
    assert (made.reason, made.type) in {("future", name), ("wrong_topic", name)}


@pytest.mark.parametrize("value", [None, b""])
def test_a_tombstone(value):
    assert DECODER.decode(Record(value)).reason == "empty"


def test_the_largest_record():
    padding = b" " * (LARGEST_RECORD - len(WHOLE))
    assert isinstance(decode_line(WHOLE + padding), CheckoutEvent)
    made = decode_line(WHOLE + padding + b" ")
    assert (made.reason, made.detail) == ("too_large", "1048577 bytes; at most 1048576 are allowed")


def test_a_long_line_is_not_cached():
    tracemalloc.start()
    try:
        for number in range(30):
            assert decoded(event("checkout.started", products=[line(sku=f"S{number}", name="x" * 100_000)])).products
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000


# --- binary mode


def test_binary_mode():
    sent = event("order.completed") | {"livemode": False, "entityversion": 3}
    record = binary(sent)
    assert DECODER.decode(record) == fast(record.value, record.headers) == decoded(sent)


def test_the_last_of_recurring_headers_counts_and_one_without_value_is_absent():
    record = binary(event("order.completed"))
    more = (("ce_id", b"e9"), ("ce_id", None), ("traceparent", b"\xff"))
    assert DECODER.decode(record._replace(headers=record.headers + more)).id == "e9"


def test_structured_mode_may_be_said_and_headers_may_be_there():
    headers = (("Content-Type", b"application/cloudevents+json; charset=UTF-8"), ("ce_id", b"other"))
    assert DECODER.decode(Record(WHOLE, headers=headers)).id == "e1"
    assert DECODER.decode(Record(WHOLE, headers=(("traceparent", b"00-1"),))).id == "e1"


@pytest.mark.parametrize(
    ("change", "reason", "path"),
    [
        ({"ce_id": b"\xff"}, "not_cloudevent", ""),
        ({"ce_id": b"a\0b"}, "not_cloudevent", "id"),
        ({"ce_specversion": b"1"}, "not_cloudevent", "specversion"),
        ({"ce_time": b"now"}, "invalid", "time"),
        ({"ce_livemode": b"1"}, "invalid", "livemode"),
        ({"ce_entityversion": b"01"}, "invalid", "entityversion"),
        ({"ce_type": b"x"}, "unknown_type", "type"),
    ],
)
def test_binary_mode_refused(change, reason, path):
    record = binary(event("order.completed"))
    made = DECODER.decode(record._replace(headers=tuple((dict(record.headers) | change).items())))
    assert (made.reason, made.path) == (reason, path)


def test_binary_mode_without_an_object():
    made = DECODER.decode(binary(event("order.completed"))._replace(value=b"[]"))
    assert (made.reason, made.path) == ("invalid", "data")
    assert DECODER.decode(binary(event("order.completed"))._replace(value=b"{")).reason == "not_json"


def test_a_record_of_aiokafka_is_a_record():
    record = ConsumerRecord(
        topic="checkout-events", partition=0, offset=0, timestamp=MICROS // 1_000, timestamp_type=0, key=None,
        value=WHOLE, checksum=None, serialized_key_size=-1, serialized_value_size=len(WHOLE), headers=(),
    )  # fmt: skip
    assert DECODER.decode(record).id == "e1"
