"""What of a rejected record is shown without being asked for."""

import json
from typing import Any

import pytest
from hypothesis import given
from pydantic import BaseModel
from support.sent_events import encoded, event, mutated_events

from stream.cli.redaction import HARMLESS, MASK, OBJECTS, redacted, redacted_error, redacted_headers
from stream.core.result import Judged, JudgedLine, Reversed
from stream.events.catalogue import EVENT_TYPES
from stream.events.decode import Rejected, decode_line
from stream.events.outcome import OutcomeEvent

PERSONAL = {"customer_id", "anonymous_id", "customer", "coupon", "name", "subject"}


def fields_of(model: type[BaseModel]) -> set[str]:
    found = set(model.model_fields)
    for field in model.model_fields.values():
        for inner in inner_models(field.annotation):
            found |= fields_of(inner)
    return found


def inner_models(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for part in getattr(annotation, "__args__", ()) for model in inner_models(part)}


def test_of_every_field_it_is_decided_whether_it_is_personal():
    fields = {name for kind in EVENT_TYPES.values() for name in fields_of(kind.model)}
    for struct in (OutcomeEvent, Judged, JudgedLine, Reversed):
        fields |= set(struct.__struct_fields__)
    assert {"price", "refund_id", "interval", "offer_id"} <= fields
    assert fields <= HARMLESS | OBJECTS | PERSONAL
    assert not PERSONAL & HARMLESS


def shown(**data):
    event = {"specversion": "1.0", "id": "1", "subject": "checkout/c-1", "data": data}
    return redacted(json.dumps(event).encode())["data"]


def test_customers_names_and_whatever_is_unknown_are_masked():
    data = {"customer_id": "anna", "customerId": "anna", "phone": 491701234567, "checkout_id": "c-1", "currency": "EUR"}
    assert shown(**data) == data | {"customer_id": MASK, "customerId": MASK, "phone": MASK}
    products = [{"sku": "A", "name": "for Anna", "price": 12.5, "quantity": 1}]
    assert shown(products=products) == {"products": [products[0] | {"name": MASK}]}
    assert shown(customer={"id": "anna", "type": "person", "vip": True}) == {
        "customer": {"id": MASK, "type": MASK, "vip": True}
    }
    assert shown(intent={"products": [{"sku": "A"}]}, replaces=["B"]) == {
        "intent": {"products": [{"sku": "A"}]},
        "replaces": ["B"],
    }


@pytest.mark.parametrize(
    ("subject", "text"), [("checkout/c-1", "checkout/c-1"), ("customer/anna", MASK), ("anna", MASK)]
)
def test_a_subject_is_shown_if_it_is_no_customer(subject, text):
    assert redacted(json.dumps({"subject": subject}).encode())["subject"] == text


def test_addresses_are_masked_everywhere():
    value = json.dumps(
        {"id": "anna@example.com", "data": {"checkout_id": "of anna@example.com", "bert@example.com": None}}
    )
    assert "example" not in json.dumps(redacted(value.encode()))
    assert redacted_error("should not be 'x@y.zz'", "data.sku") == f"should not be '{MASK}'"


@pytest.mark.parametrize(
    "value", [b"anna", b'"anna"', b"[" * 5000 + b"]" * 5000, b"\xff", b"", b'{"a":' * 200 + b"1" + b"}" * 200]
)
def test_values_without_fields_are_masked_or_no_json(value):
    try:
        assert redacted(value) == MASK
    except ValueError:
        assert value != b'"anna"'


def test_numbers_that_json_cannot_have_become_texts():
    value = redacted(b'{"price": NaN, "quantity": 1e999, "discount": 0.5}')
    assert value == {"price": "NaN", "quantity": "1e999", "discount": 0.5}


@pytest.mark.parametrize(
    ("error", "path", "text"),
    [
        (
            "should be a decimal string, not '12,50'",
            "data.products[0].price",
            "should be a decimal string, not '12,50'",
        ),
        ("should be a string, not 4711", "data.customer_id", "should be a string, not ***"),
        ("too long, not 'anna b… (and 2 more)", "data.customer_id", "too long, not *** (and 2 more)"),
        ("should be 'customer/anna', not 'customer/bert'", "subject", "should be ***, not ***"),
        ("Expecting value: line 1 column 1 (char 0)", "", "Expecting value: line 1 column 1 (char 0)"),
        ("should be text, not 'x'", "data.customer.id", "should be text, not ***"),
        ("should be 'checkout/c-1', not 'order/c-1'", "subject", "should be 'checkout/c-1', not ***"),
        (
            f"too long, not '{'a' * 78}…, but there is 'name': rename it",
            "data.coupon",
            "too long, not ***, but there is 'name': rename it",
        ),
        ("should be a string, not -1.5e+300 (and 1 more)", "data.coupon", "should be a string, not *** (and 1 more)"),
        (r"""should be short, not 'it\'s, not "anna"'""", "data.coupon", "should be short, not ***"),
    ],
)
def test_an_error_text_quotes_only_harmless_fields(error, path, text):
    assert redacted_error(error, path) == text


WHOLE = event("order.completed")


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (encoded([WHOLE]), "should be a JSON object, not a list: one record holds one event"),
        (encoded(json.dumps(WHOLE)), "not ***: it is JSON in a JSON string, so it was serialised twice"),
        (encoded(WHOLE | {"data": json.dumps(WHOLE["data"])}), "so it was serialised twice"),
        (encoded(event("order.completed", products=..., items=[])), "there is 'items': did you mean products?"),
        (b'{"id": 1 "time": 2}', "Expecting ',' delimiter: line 1 column 10"),
        (b'{"id" 1}', "Expecting ':' delimiter"),
        (b"\xef\xbb\xbf{}", "in Python utf-8, not utf-8-sig"),
    ],
)
def test_what_is_wrong_with_a_record_is_not_masked(sent, says):
    made = decode_line(sent)
    assert says in redacted_error(made.detail, made.path)


@given(sent=mutated_events())
def test_no_value_of_a_customer_is_in_an_error_text(sent):
    sent["data"] = (sent["data"] if isinstance(sent.get("data"), dict) else {}) | {
        "customer_id": "anna" * 70,
        "coupon": ["anna"],
        "name": "anna",
    }
    made = decode_line(encoded(sent))
    if isinstance(made, Rejected):
        assert "anna" not in redacted_error(made.detail, made.path)


def test_of_headers_only_attributes_and_the_content_type_are_shown():
    headers = [("ce_id", b"e1"), ("ce_subject", b"customer/anna"), ("ce_x", b"y"), ("authorization", b"Basic c2VjcmV0")]
    assert redacted_headers([*headers, ("Content-Type", b"application/json")]) == {
        "ce_id": "e1",
        "ce_subject": MASK,
        "ce_x": MASK,
        "authorization": MASK,
        "Content-Type": "application/json",
    }
