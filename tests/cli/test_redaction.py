"""What of a rejected record is shown without being asked for."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from stream.cli.redaction import HARMLESS, MASK, OBJECTS, redacted, redacted_error, redacted_headers
from stream.core.result import Judged, JudgedLine, Reversed
from stream.events.catalogue import EVENT_TYPES
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
    ],
)
def test_an_error_text_quotes_only_harmless_fields(error, path, text):
    assert redacted_error(error, path) == text


def test_of_headers_only_attributes_and_the_content_type_are_shown():
    headers = [("ce_id", b"e1"), ("ce_subject", b"customer/anna"), ("ce_x", b"y"), ("authorization", b"Basic c2VjcmV0")]
    assert redacted_headers([*headers, ("Content-Type", b"application/json")]) == {
        "ce_id": "e1",
        "ce_subject": MASK,
        "ce_x": MASK,
        "authorization": MASK,
        "Content-Type": "application/json",
    }
