"""What a rejection says beyond the field: which name was meant, which format was sent, what to send instead."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sent_events import MICROS, Record, binary, encoded, event, item, line

from stream.events.catalogue import EVENT_TYPES
from stream.events.decode import Decoder, Rejected, decode_line
from stream.events.formats import recognise
from stream.events.names import CLOUDEVENTS_ATTRIBUTES, REFUNDS_ELSEWHERE, TYPES_ELSEWHERE, nearest, nearest_types

DECODER = Decoder({"checkout-events": "checkout"}, future=600_000_000)


def renamed(sent, **names):
    """The object with these names (old=new) of its fields changed."""
    return {names.get(name, name): value for name, value in sent.items()}


def with_data(name, **names):
    sent = event(name)
    return sent | {"data": renamed(sent["data"], **names)}


def with_line(**names):
    return event("order.completed", products=[renamed(line(product_id="p"), **names)])


# --- fields


@pytest.mark.parametrize(
    ("sent", "path", "says"),
    [
        (with_data("order.completed", products="Products"), "data.products", "but there is 'Products': did you mean products?"),
        (with_data("order.completed", products="items"), "data.products", "but there is 'items': did you mean products?"),
        (with_data("order.completed", products="lineItems"), "data.products", "but there is 'lineItems': did you mean products?"),
        (with_data("order.completed", checkout_id="checkoutId"), "data.checkout_id", "'checkoutId': did you mean checkout_id?"),
        (with_data("order.completed", currency="currency_code"), "data.currency", "'currency_code': did you mean currency?"),
        (with_data("subscription.changed", customer_id="customerId"), "data.customer_id", "'customerId': did you mean customer_id?"),
        (with_data("subscription.changed", items="products"), "data.items", "'products': did you mean items?"),
        (with_line(price="unitPrice"), "data.products[0].price", "'unitPrice': did you mean price?"),
        (with_line(price="price_cents"), "data.products[0].price", "'price_cents': did you mean price?"),
        (with_line(quantity="qty"), "data.products[0].quantity", "'qty': did you mean quantity?"),
        (
            event("order.completed", products=[{"productId": "p", "quantity": 1, "price": "1"}]),
            "data.products[0]",
            "needs at least one of sku, variant_id and product_id, but there is 'productId': did you mean product_id?",
        ),
        (event("subscription.created", items=[renamed(item(), plan_id="plan")]), "data.items[0].plan_id", "'plan': did you mean plan_id?"),
        (event("checkout.started", intent={"Products": []}), "data.intent.products", "'Products': did you mean products?"),
        (renamed(event("order.completed"), data="payload"), "data", "'payload': did you mean data?"),
        (renamed(event("order.completed"), time="timestamp"), "time", "'timestamp': did you mean time?"),
        (renamed(event("order.completed"), specversion="specVersion"), "specversion", "'specVersion': did you mean specversion?"),
    ],
)  # fmt: skip
def test_a_missing_field_names_the_similar_unknown_one(sent, path, says):
    made = decode_line(encoded(sent))
    assert (made.path, says in made.detail) == (path, True), made


@pytest.mark.parametrize(
    ("sent", "path", "says"),
    [
        (
            event("order.completed", currency=...) | {"currency": "EUR"},
            "data.currency",
            "beside data: put it into data",
        ),
        (
            renamed(event("order.completed", time="2026-01-05T10:00:00Z"), time="at"),
            "time",
            "in data: put it beside data",
        ),
    ],
)
def test_a_field_in_the_wrong_place_is_found(sent, path, says):
    made = decode_line(encoded(sent))
    assert (made.path, says in made.detail) == (path, True), made


@pytest.mark.parametrize(
    "sent",
    [
        event("order.completed", products=..., comment="no lines"),
        event("order.completed", products=[{"quantity": 1, "price": "1", "colour": "red"}]),
        # Known fields were meant as themselves.
        event("order.completed", currency=..., coupon="EUR"),
    ],
)
def test_a_missing_field_without_a_similar_one_guesses_nothing(sent):
    assert "did you mean" not in decode_line(encoded(sent)).detail


def test_money_as_a_number_is_told_the_unit_too():
    made = decode_line(encoded(event("order.completed", products=[line(price=1250)])))
    assert made.path == "data.products[0].price"
    assert made.detail.startswith('send money as a string in major units like "12.50" (not 1250 for 12.50)')


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("order.completed", "did you mean commerce.order.completed.v1?"),
        ("OrderCompleted", "did you mean commerce.order.completed.v1?"),
        ("commerce.order.complete.v1", "did you mean commerce.order.completed.v1?"),
        ("commerce.order.cancelled.v1", "did you mean commerce.order.canceled.v1?"),
        ("subscription_created", "did you mean commerce.subscription.created.v1?"),
        ("commerce.order.completed.v2", "which knows commerce.order.completed.v1: upgrade upsell-stream, or send that"),
    ],
)
def test_an_unknown_type_names_the_nearest(name, says):
    made = decode_line(encoded(event("order.completed") | {"type": name}))
    assert (made.reason, made.path) == ("unknown_type", "type")
    assert says in made.detail


def test_a_type_of_something_else_has_no_nearest():
    assert nearest_types("com.example.user.signup") == ()
    assert [nearest_types(name) for name in EVENT_TYPES] == [(name,) for name in EVENT_TYPES]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("subscription.deleted", "subscription.canceled"),
        ("subscription.expired", "subscription.canceled"),
        ("subscription.updated", "subscription.changed"),
        ("subscription.upgraded", "subscription.changed"),
        ("checkout.completed", "order.completed"),
        ("order.placed", "order.completed"),
        ("order.paid", "order.completed"),
        ("orders/paid", "order.completed"),
        ("cart.updated", "checkout.updated"),
        ("customer.subscription.updated", "subscription.changed"),
        ("customer.subscription.deleted", "subscription.canceled"),
        ("commerce.cart.updated.v1", "checkout.updated"),
    ],
)
def test_what_other_systems_call_the_same_is_known(name, meant):
    assert nearest_types(name) == (f"commerce.{meant}.v1",)


def test_a_refund_may_be_one_of_two_types():
    made = decode_line(encoded(event("order.refunded") | {"type": "charge.refunded"}))
    assert made.detail.endswith("did you mean commerce.order.refunded.v1 or commerce.subscription.refunded.v1?")


@pytest.mark.parametrize(
    "name",
    [
        *("subscription.paused", "subscription.resumed", "subscription.reviewed", "subscription.trial_will_end"),
        *("order.refused", "order.deleted", "order.shipped", "offer.accepted", "invoice.paid", "customer.deleted"),
    ],
)
def test_a_similar_word_with_another_meaning_is_not_recommended(name):
    assert nearest_types(name) == ()


def test_names_of_other_systems_are_no_misspellings_of_another_type():
    names = [name for meant in TYPES_ELSEWHERE.values() for name in meant]
    assert len({*names, *REFUNDS_ELSEWHERE}) == len(names) + len(REFUNDS_ELSEWHERE)
    assert {*names, *REFUNDS_ELSEWHERE}.isdisjoint(EVENT_TYPES)
    assert set(TYPES_ELSEWHERE) <= set(EVENT_TYPES)
    for meant, elsewhere in TYPES_ELSEWHERE.items():
        assert {nearest_types(name) for name in elsewhere} == {(meant,)}


@given(name=st.text())
def test_any_name_can_be_asked_for(name):
    assert nearest(name, ("price", "quantity")) in {None, "price", "quantity"}
    made = decode_line(encoded(event("order.completed", products=...) | {"type": name}))
    assert isinstance(made, Rejected)
    made.detail.encode()


# --- envelopes


def headers(record, change):
    return record._replace(headers=tuple((change(name), value) for name, value in record.headers))


@pytest.mark.parametrize("prefix", ["ce-", "CE_", "Ce-", "cloudEvents:"])
def test_headers_with_another_prefix_are_named(prefix):
    record = headers(binary(event("order.completed")), lambda name: name.replace("ce_", prefix))
    made = DECODER.decode(record)
    assert made.reason == "not_cloudevent"
    assert (
        f"there is the header '{prefix}specversion': in Kafka the headers are ce_id, ce_source, ce_specversion"
        in made.detail
    )


def test_one_header_with_another_prefix_is_named():
    record = headers(binary(event("order.completed")), lambda name: name.replace("ce_time", "ce-time"))
    made = DECODER.decode(record)
    assert (made.reason, made.path) == ("invalid", "time")
    assert "there is the header 'ce-time': in Kafka the headers are ce_id" in made.detail


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("ce_spec_version", "ce_specversion"), ("ce_timestamp", "ce_time"), ("ce_Subject", "ce_subject")],
)
def test_a_misspelt_header_is_named(wrong, meant):
    record = headers(binary(event("order.completed")), lambda name: wrong if name == meant else name)
    made = DECODER.decode(record)
    assert made.path == meant.removeprefix("ce_")
    assert f"there is '{wrong}': did you mean {meant}?" in made.detail


def test_a_header_that_is_not_utf_8_is_named():
    record = binary(event("order.completed"))
    made = DECODER.decode(record._replace(headers=(*record.headers, ("ce_shop", b"\xff"))))
    assert (made.reason, made.detail) == ("not_cloudevent", "the header 'ce_shop' is not UTF-8")


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (event("order.completed")["data"], "these are the fields of data without an envelope; put them into data of a"),
        ({"checkoutId": "c1", "lineItems": []}, "these are the fields of data without an envelope"),
        ({"schema": {}, "payload": event("order.completed")}, "value.converter.schemas.enable=false"),
        (json.dumps(event("order.completed")), "so it was serialised twice"),
        ([event("order.completed")], "not a list: one record holds one event"),
    ],
)
def test_a_wrapper_is_recognised(sent, says):
    made = decode_line(encoded(sent))
    assert made.reason == "not_cloudevent"
    assert says in made.detail


@pytest.mark.parametrize(
    ("sent", "path", "says"),
    [
        (
            event("order.refunded", refund=..., refund_id="r", amount="1.00"),
            "data.refund",
            "Field required, but refund_id and amount are in data: put them into refund: {refund_id, amount}",
        ),
        (event("order.refunded", refund={"id": "r"}), "data.refund.refund_id", "'id': did you mean refund_id?"),
        (
            event("subscription.refunded", refund={"share": 0.5}),
            "data.refund.share",
            'send a share as a string from "0" to "1", like "0.5"',
        ),
    ],
)
def test_a_wrong_refund_says_how_it_is_sent(sent, path, says):
    made = decode_line(encoded(sent))
    assert (made.path, says in made.detail) == (path, True), made


def test_data_that_was_serialised_twice_is_recognised():
    sent = event("order.completed")
    made = decode_line(encoded(sent | {"data": json.dumps(sent["data"])}))
    assert (made.reason, made.path) == ("invalid", "data")
    assert "so it was serialised twice" in made.detail


def test_a_whole_event_with_attributes_in_headers_is_recognised():
    record = binary(event("order.completed"))._replace(value=encoded(event("order.completed")))
    made = DECODER.decode(record)
    assert (made.reason, made.path) == ("invalid", "data.checkout_id")
    assert "the value is a whole event although there are ce_ headers" in made.detail


# --- formats

WHOLE = encoded(event("order.completed"))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"\0\0\0\0\x11\x02c1\x06EUR\xff", "magic byte 0 and the schema id 17: a serialiser of a schema registry wrote it (Avro or Protobuf)"),
        (b"\0\0\0\0\x11\0\x0a\x02c1", "schema id 17: a serialiser of a schema registry wrote it (Avro or Protobuf). Send plain JSON"),
        (b"\0\0\1\0\0" + WHOLE, "schema id 65536: a serialiser of a schema registry wrote it (JSON Schema). Send plain JSON"),
        (b"\x0a\x02e1\x12\x04shop\x1a\x031.0", "this looks like Protobuf. Send plain JSON, for example with StringSerializer"),
        (b"Obj\x01\x04\x16avro.schema", "this looks like an Avro file"),
        (b"\xc3\x01" + bytes(8), "this looks like Avro"),
        (b"\x03\0" + bytes(16), "AWS Glue schema registry"),
        (b"\x1f\x8b\x08\0", "this looks like gzip. Let the producer compress"),
        (b"\xef\xbb\xbf" + WHOLE, "a byte order mark is before the JSON"),
        (WHOLE.decode().encode("utf-16"), "this looks like UTF-16. Write UTF-8"),
        (WHOLE.decode().encode("utf-16-le"), "this looks like UTF-16. Write UTF-8"),
        (WHOLE.decode().encode("utf-16-be"), "this looks like UTF-16. Write UTF-8"),
        (b"\xac\xed\0\x05sr", "this looks like a serialised Java object"),
    ],
)  # fmt: skip
def test_another_format_is_recognised_by_its_first_bytes(value, says):
    made = DECODER.decode(Record(value))
    assert (made.reason, made.path) == ("not_json", "")
    assert says in made.detail


def test_the_headers_of_a_schema_registry_are_recognised():
    made = DECODER.decode(Record(b"\x02c1", headers=(("__value_schema_id", b"\x01"),)))
    assert "its headers name a schema" in made.detail


@pytest.mark.parametrize("value", [b"\0", b"\0\0\0\0\1", b"\x0a", b"\x0a\xff", b"{", b"hello", WHOLE[:-1]])
def test_what_is_not_recognised_keeps_its_message(value):
    assert recognise(value) is None
    assert DECODER.decode(Record(value)).reason == "not_json"


# --- records without a key


@pytest.mark.parametrize("key", [None, b""])
def test_a_record_without_a_key_is_rejected_where_keys_are_required(key):
    made = Decoder({"checkout-events": "checkout"}, 0, require_key=True).decode(Record(WHOLE, key=key))
    assert (made.reason, made.path, made.type) == ("no_key", "", "commerce.order.completed.v1")
    assert made.detail == (
        "the record has no key, and require_key is on: "
        "send the customer_id as key, else the anonymous_id, else the checkout_id"
    )


def test_a_record_without_a_key_is_an_event_otherwise():
    assert not isinstance(DECODER.decode(Record(WHOLE, key=None)), Rejected)
    strict = Decoder({"checkout-events": "checkout"}, 0, require_key=True)
    assert not isinstance(strict.decode(Record(WHOLE)), Rejected)


def test_what_is_no_event_is_rejected_for_that_and_not_for_its_key():
    strict = Decoder({"checkout-events": "checkout"}, 0, require_key=True)
    assert strict.decode(Record(b"{", key=None)).reason == "not_json"


# --- times


@pytest.mark.parametrize(
    ("minutes", "asks"),
    [
        (59, "about an hour: is it the time zone?"),
        (120, "about 2 hours: is it the time zone?"),
        (481, "about 8 hours"),
        (30, ""),
        (135, ""),
        (24 * 60, ""),
    ],
)
def test_an_event_that_is_ahead_by_hours_asks_for_the_time_zone(minutes, asks):
    made = DECODER.decode(Record(WHOLE, timestamp=MICROS // 1_000 - minutes * 60_000))
    assert made.reason == "future"
    assert asks in made.detail
    assert ("time zone" in made.detail) == bool(asks)


# --- strict


def strictly(sent):
    made = decode_line(encoded(sent), strict=True)
    return (made.path, made.detail) if isinstance(made, Rejected) else None


@pytest.mark.parametrize(
    ("sent", "path", "says"),
    [
        (event("order.completed", customerId="k1"), "data.customerId", "unknown field: did you mean customer_id?"),
        (with_line(product_id="productId"), "data.products[0].productId", "unknown field: did you mean product_id?"),
        (event("order.completed", products=[line(), line(discounts="1")]), "data.products[1].discounts", "unknown field: did you mean discount?"),
        (event("order.completed", shipping="4.90"), "data.shipping", "unknown field"),
        (event("order.completed", products=[line(price_cents=1250)]), "data.products[0].price_cents", "unknown field: did you mean price?"),
        (event("order.canceled", refund={}), "data.refund", "unknown field"),
        (event("subscription.changed", items=[item(planId="x")]), "data.items[0].planId", "unknown field: did you mean plan_id?"),
        (event("subscription.changed", previous={"items": [], "more": 1}), "data.previous.more", "unknown field"),
        (event("order.refunded", refund={"refund_id": "r", "refundId": "r"}), "data.refund.refundId", "unknown field: did you mean refund_id?"),
        (event("order.completed") | {"liveMode": False}, "liveMode", "unknown field: did you mean livemode?"),
        (event("order.completed") | {"entity_version": 1}, "entity_version", "unknown field: did you mean entityversion?"),
        (event("customer.erased", currency="EUR"), "data.currency", "unknown field"),
        (event("subscription.refunded", share="0.5"), "data.share", "unknown field: did you mean refund.share?"),
        (event("order.completed", more=None), "data.more", "unknown field"),
        (event("order.completed", **{"\x1b[2J\ud800": 1}), r"data.'\x1b[2J\ud800'", "unknown field"),
    ],
)  # fmt: skip
def test_strict_mode_names_an_unknown_field_and_the_nearest(sent, path, says):
    assert strictly(sent) == (path, says)
    assert not isinstance(decode_line(encoded(sent)), Rejected), "a worker ignores it"


def test_strict_mode_names_further_unknown_fields():
    sent = event("order.completed", customerId="k", products=[line(colour="red")], **{f"x{n}": n for n in range(6)})
    assert strictly(sent) == (
        "data.products[0].colour",
        "unknown field (also unknown: data.customerId (customer_id?), data.x0, data.x1, data.x2, data.x3 and 2 more)",
    )


def test_strict_mode_accepts_what_other_cloudevents_have():
    assert strictly(event("order.completed") | dict.fromkeys(CLOUDEVENTS_ATTRIBUTES, "x")) is None


def test_strict_mode_reports_an_ordinary_mistake_first():
    assert strictly(event("order.completed", currency="eur", customerId="k"))[0] == "data.currency"
