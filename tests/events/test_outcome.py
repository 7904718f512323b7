"""Outcomes and dead letters as consumers receive them."""

import json

import msgspec
from jsonschema import Draft202012Validator
from support.sent_events import Record, encoded, event

from stream.core import result
from stream.events.decode import Decoder, Rejected
from stream.events.outcome import OUTCOME_HEADERS, OUTCOME_TYPE, OutcomeEvent, dead_letter, outcome_event
from stream.events.schema import schemas

JUDGED = result.Judged(
    event_id="e1", subject="checkout/c1", time="2026-01-05T10:00:00Z", journey="checkout", customer="k1", channel="web",
    segment=None, currency="EUR", intent="known", kinds=["cross_sell"],
    lines=[result.JudgedLine("cross_sell", "addition", "P", "S", None, None, "O", "37.00")],
    initial="10.00", final="47.00", upsell="0.00", cross_sell="37.00", downsell="0.00", restored="0.00",
    reversed=result.Reversed(True, ["cross_sell"], {"final": "47", "upsell": "0", "cross_sell": "37", "downsell": "0", "restored": "0"}),
    version=2,
)  # fmt: skip


VERSION = result.Version("checkout/c1", "checkout/c1:00ff:2", JUDGED, publish=True, withdrawn=False)


def test_an_outcome():
    body = json.loads(outcome_event(VERSION, "shop"))
    assert body.pop("data") == msgspec.to_builtins(JUDGED)
    assert body == {
        "specversion": "1.0",
        "id": "checkout/c1:00ff:2",
        "source": "upsell-stream/shop",
        "type": "commerce.sale.judged.v1",
        "subject": "checkout/c1",
        "time": "2026-01-05T10:00:00Z",
        "datacontenttype": "application/json",
    }
    assert msgspec.json.decode(outcome_event(VERSION, "shop"), type=OutcomeEvent).data == JUDGED
    Draft202012Validator(schemas()[OUTCOME_TYPE]).validate(json.loads(outcome_event(VERSION, "shop")))


def test_the_same_transaction_is_the_same_bytes():
    amounts = dict(reversed(JUDGED.reversed.amounts.items()))
    same = msgspec.structs.replace(JUDGED, reversed=msgspec.structs.replace(JUDGED.reversed, amounts=amounts))
    again = msgspec.structs.replace(VERSION, judged=same)
    assert outcome_event(again, "shop") == outcome_event(VERSION, "shop")


def test_outcomes_are_no_input():
    made = Decoder({"t": "checkout"}, 0).decode(Record(outcome_event(VERSION, "shop"), "t", OUTCOME_HEADERS))
    assert made.reason == "unknown_type"


def test_a_dead_letter_is_the_record_with_headers_added():
    record = Record(b"\xff", headers=(("trace", b"\xff"), ("none", None), ("upsell-reason", b"before")), topic="in")
    rejected = Rejected("invalid", 'money is a decimal string, not "ü"', "data.products[0].price")
    value, headers = dead_letter(record, rejected, 3, 2**60)
    assert value == b"\xff"
    assert headers == [
        ("trace", b"\xff"),
        ("none", b""),
        ("upsell-reason", b"before"),
        ("upsell-reason", b"invalid"),
        ("upsell-error", 'money is a decimal string, not "ü"'.encode()),
        ("upsell-path", b"data.products[0].price"),
        ("upsell-source-topic", b"in"),
        ("upsell-source-partition", b"3"),
        ("upsell-source-offset", b"1152921504606846976"),
    ]


def test_a_dead_letter_without_value():
    assert dead_letter(Record(None), Rejected("empty", ""), 0, 0)[0] == b""


def test_what_cannot_be_encoded_is_still_a_dead_letter():
    decoder = Decoder({"t": "checkout"}, 0)
    for sent in (event("\ud800"), event("checkout.started", channel="\ud800", currency="\ud800")):
        record = Record(encoded(sent), "t")
        _, headers = dead_letter(record, decoder.decode(record), 0, 0)
        assert dict(headers)["upsell-error"]
