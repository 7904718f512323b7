"""The JSON Schemas, and the examples in docs/reference/events.md."""

import asyncio
import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from support.sent_events import encoded, event, events, line, mutated_events

from stream.core.config import CoreConfig
from stream.core.event import CheckoutEvent
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.events import schema
from stream.events.catalogue import EVENT_TYPES
from stream.events.decode import Decoder, Reason, Rejected, decode_line
from stream.events.outcome import OUTCOME_TYPE, outcome_event
from stream.kafka.topics import Topic, create_topics

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "events.md").read_text(encoding="utf-8")


def exactly(text):
    """JSON with decimals instead of binary floats: else 1.001 would be no multiple of 0.001."""
    return json.loads(text, parse_float=Decimal)


def validators(schemas):
    return {
        name: Draft202012Validator(exactly(json.dumps(made)), format_checker=Draft202012Validator.FORMAT_CHECKER)
        for name, made in schemas.items()
    }


SCHEMAS = validators(schema.schemas())
STRICT = validators(schema.strict_schemas())


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


EXAMPLES = [json.loads(block) for block in blocks("json")]


@pytest.mark.parametrize("validator", [*SCHEMAS.values(), *STRICT.values()])
def test_they_are_json_schemas(validator):
    Draft202012Validator.check_schema(validator.schema)


def without_absent(value):
    if isinstance(value, dict):
        return {name: without_absent(inner) for name, inner in value.items() if inner is not None and inner != ""}
    return [without_absent(inner) for inner in value] if isinstance(value, list) else value


@settings(max_examples=settings().max_examples * 3 // 5)
@given(sent=events())
def test_accepted_events_are_valid_with_and_without_their_absent_fields(sent):
    SCHEMAS[sent["type"]].validate(json.loads(encoded(sent)))
    SCHEMAS[sent["type"]].validate(json.loads(encoded(without_absent(sent))))


BEYOND_SCHEMA = {"subject", "time", "data.currency"}


@settings(max_examples=settings().max_examples * 3 // 2)
@given(sent=mutated_events())
def test_valid_events_are_accepted(sent):
    schema = SCHEMAS.get(str(sent.get("type")))
    made = decode_line(encoded(sent))
    if schema is None or not schema.is_valid(exactly(encoded(sent))):
        assert isinstance(made, Rejected), sent
        return
    # JSON Schema accepts a final line break, 1.0 as an integer, and a lone surrogate.
    odd = re.search(rb'\\n"|\\ud800|-0\.0', encoded(sent))
    assert not isinstance(made, Rejected) or made.path in BEYOND_SCHEMA or made.path.endswith("quantity") or odd, made


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        (event("order.completed") | {"subject": "checkout/c2"}, "subject"),
        (event("order.completed", currency="XAU"), "data.currency"),
        (event("order.completed") | {"time": "2026-02-31T10:00:00Z"}, "time"),
        (event("order.completed") | {"time": "2026-01-05T24:00:00Z"}, "time"),
        (event("order.completed") | {"time": "0000-01-05T10:00:00Z"}, "time"),
        (event("order.completed", products=[line(quantity=0.1234)]), "data.products[0].quantity"),
        (event("order.completed", products=[line(price="1000000000001.00")]), "data.products"),
    ],
)
def test_what_a_schema_cannot_see_is_on_the_page(sent, path):
    # A validator that checks formats refuses dates that do not exist.
    assert Draft202012Validator(schema.strict_schemas()[sent["type"]]).is_valid(sent)
    assert decode_line(encoded(sent)).path == path
    page = (DOCS / "how-to" / "check-events.md").read_text(encoding="utf-8")
    start = page.index("What a schema cannot see:")
    words = {"data.currency": "currency", "data.products": "10^14"}.get(path, path.rpartition(".")[2])
    assert words in page[start : page.index("In Python:", start)]


@pytest.mark.parametrize("name", sorted(EVENT_TYPES))
def test_a_subject_of_another_kind_is_refused(name):
    [sent] = [example for example in EXAMPLES if example["type"] == name]
    assert not SCHEMAS[name].is_valid(sent | {"subject": f"order/{sent['subject'].partition('/')[2]}"})


def test_a_null_and_an_empty_string_are_absent():
    for absent in (None, ""):
        sent = event("order.completed", coupon=absent, intent=absent, products=[line(discount=absent, replaces=absent)])
        STRICT[sent["type"]].validate(sent)
        STRICT[sent["type"]].validate(sent | {"livemode": absent, "dataschema": absent})
        assert not STRICT[sent["type"]].is_valid(event("order.completed", currency=absent))
        assert not STRICT[sent["type"]].is_valid(event("order.completed", products=[line(sku=absent)]))
        offer = event("offer.shown") | {"data": {"checkout_id": "c1", "subscription_id": absent, "offer_id": "o1"}}
        STRICT[offer["type"]].validate(offer)
        assert not STRICT[offer["type"]].is_valid(event("offer.shown", checkout_id=absent))


# --- strict schemas


@settings(max_examples=settings().max_examples * 3 // 5)
@given(sent=events())
def test_a_strict_schema_refuses_what_strict_decoding_refuses(sent):
    value = encoded(sent)
    assert STRICT[sent["type"]].is_valid(exactly(value)) != isinstance(decode_line(value, strict=True), Rejected)


@pytest.mark.parametrize("example", EXAMPLES[:-1], ids=lambda example: example["type"])
def test_a_strict_schema_accepts_the_example_and_refuses_a_further_field_anywhere(example):
    validator = STRICT[example["type"]]
    validator.validate(example)
    assert not isinstance(decode_line(encoded(example), strict=True), Rejected)
    holders = list(objects(example))
    for number in range(len(holders)):
        changed = json.loads(json.dumps(example))
        list(objects(changed))[number]["customerId"] = "k-42"
        assert not validator.is_valid(changed)
        assert isinstance(decode_line(encoded(changed), strict=True), Rejected)
        SCHEMAS[example["type"]].validate(changed)


def objects(value):
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


# --- the page


def test_the_page_has_an_example_of_every_type_in_the_order_of_facts():
    assert [example["type"] for example in EXAMPLES] == [*EVENT_TYPES, OUTCOME_TYPE]
    assert re.findall(r"^### `(.*)`$", PAGE, re.MULTILINE) == list(EVENT_TYPES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["type"])
def test_examples_are_valid(example):
    SCHEMAS[example["type"]].validate(example)
    if example["type"] in EVENT_TYPES:
        assert not isinstance(decode_line(encoded(example)), Rejected)


def test_the_examples_become_what_the_page_says():
    offline = Offline(CoreConfig(), LabelRegistry())
    outcomes = {}
    for example in EXAMPLES[:-1]:
        for version in offline.apply(decode_line(encoded(example))).versions:
            if version.publish:
                outcomes[version.judged.subject] = json.loads(outcome_event(version, "upsell-stream"))
    assert outcomes["checkout/c-1001"] == EXAMPLES[-1]
    assert [line["amount"] for line in outcomes["subscription/sub-7"]["data"]["lines"]] == ["36.00", "20.00"]


@pytest.mark.parametrize(
    ("currency", "refund"),
    [
        ("USD", {"amount": "5.00"}),
        ("EUR", {"products": [line(sku="OTHER")]}),
        ("EUR", {"products": [line(quantity=0)]}),
        ("EUR", {"products": []}),
    ],
)
def test_refunds_of_which_the_page_says_so_take_nothing(currency, refund):
    offline = Offline(CoreConfig(), LabelRegistry())
    offline.apply(decode_line(encoded(event("order.completed"))))
    sent = event("order.refunded", products=..., currency=currency, refund={"refund_id": "r"} | refund) | {"id": "e2"}
    step = offline.apply(decode_line(encoded(sent)))
    assert step.result == "applied"
    assert [version.judged.reversed.amounts.final for version in step.versions] in ([], ["0.00"])


def test_the_page_tells_every_reason_and_every_field():
    told = re.findall(
        r"^\| `([a-z_]+)` \|", PAGE[PAGE.index("## What is rejected") : PAGE.index("## Outcomes")], re.MULTILINE
    )
    assert sorted(told) == sorted(Reason.__args__)
    named = set(re.findall(r"`([a-z_]+)`", PAGE))
    for validator in SCHEMAS.values():
        definitions = [validator.schema, *validator.schema["$defs"].values()]
        if validator.schema["title"] != OUTCOME_TYPE:
            assert {name for definition in definitions for name in definition["properties"]} <= named


def test_links_lead_somewhere():
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        if target.startswith("#"):
            assert target[1:] in anchors
        elif not target.startswith("https://"):
            assert (DOCS / "reference" / target.partition("#")[0]).exists()


def test_the_python_example_sends_an_event(embedded_broker, name_prefix):
    [code] = blocks("python")
    topic = f"{name_prefix}checkout-events"
    code = code.replace("localhost:9092", embedded_broker.bootstrap_servers).replace('"checkout-events"', repr(topic))
    asyncio.run(create_topics(embedded_broker.bootstrap_servers, [Topic(topic, 1)], replication_factor=1))
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    record = asyncio.run(first_record(embedded_broker.bootstrap_servers, topic))
    assert record.key == b"c-1003"
    assert isinstance(Decoder({topic: "checkout"}, future=600_000_000).decode(record), CheckoutEvent)


async def first_record(bootstrap_servers, topic):
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest") as consumer:
        return await asyncio.wait_for(consumer.getone(), 120)
