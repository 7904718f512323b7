"""Everything that a shop can do happens: seen in its events, and in what the core makes of them."""

import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from support.shops import BUSY, SHOPS

from stream.core.config import CoreConfig
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.events.decode import decode_line
from stream.simulate.shop import Shop, ShopSettings

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Stream:
    """Events in order of time, with what the core makes of each."""

    def __init__(self, count, **settings):
        records = list(Shop(ShopSettings(**settings), START).take(count))
        offline = Offline(CoreConfig(emit_all=True), LabelRegistry())
        self.sales = {}
        self.results = Counter()
        self.entities = defaultdict(list)
        for record in sorted(records, key=lambda record: record.time):
            event = json.loads(record.value)
            step = offline.apply(decode_line(record.value))
            self.results[event["type"].split(".", 1)[1], step.result] += 1
            self.entities[event["subject"]].append((record.time, event["type"].split(".", 1)[1], event["data"]))
            for version in step.versions:
                self.sales[version.judged.event_id] = version.judged

    def of(self, journey):
        return [events for subject, events in self.entities.items() if subject.startswith(journey)]

    def events(self, kind):
        return [data for events in self.entities.values() for _, name, data in events if name == kind]


@pytest.fixture(scope="module")
def stream():
    return Stream(9000, **SHOPS["days"] | {"seed": 2, "disorder_seconds": 0})


def orders(events):
    return {data.get("order_id") for _, name, data in events if name == "order.completed.v1"}


def test_carts_with_several_orders_of_which_one_is_given_back_or_canceled(stream):
    several = [events for events in stream.of("checkout") if len(orders(events)) > 1]
    assert len(several) > 100
    for kind in ("order.refunded.v1", "order.canceled.v1"):
        given_back = [{data.get("order_id") for _, name, data in events if name == kind} for events in several]
        assert any(each and each < orders(events) for each, events in zip(given_back, several, strict=True)), kind
    # The platform does not have to name the first order.
    assert any(None in orders(events) for events in several)


def test_kits_weights_and_lengths(stream):
    lines = [line for data in stream.events("order.completed.v1") for line in data["products"] if line["quantity"]]
    assert any(len(line["replaces"]) > 1 for line in lines if isinstance(line.get("replaces"), list))
    assert any(isinstance(line.get("replaces"), str) for line in lines)
    assert any(isinstance(line["quantity"], str) and len(line["quantity"].partition(".")[2]) == 3 for line in lines)
    assert any(isinstance(line["quantity"], float) for line in lines)
    refunded = [line for data in stream.events("order.refunded.v1") for line in data["refund"].get("products", [])]
    assert any(isinstance(line["quantity"], str) for line in refunded)


def test_every_reason_occurs(stream):
    reasons = Counter((sale.journey, line.kind, line.reason) for sale in stream.sales.values() for line in sale.lines)
    assert set(reasons) == {
        *(("checkout", kind, reason) for kind in ("upsell", "downsell") for reason in ("quantity", "variant", "substitute")),
        ("checkout", "cross_sell", "addition"),
        *(("subscription", kind, reason) for kind in ("upsell", "downsell") for reason in ("quantity", "plan")),
        ("subscription", "downsell", "removed"),
        ("subscription", "cross_sell", "addon"),
        ("subscription", "cross_sell", "additional_product"),
        ("subscription", "restored", "restored"),
    }  # fmt: skip
    assert min(reasons.values()) >= 5, reasons


def test_what_is_beyond_the_start_is_new_and_the_rest_is_restored(stream):
    partly = [
        sale
        for sale in stream.sales.values()
        if {line.sku for line in sale.lines if line.kind == "upsell"}
        & {line.sku for line in sale.lines if line.kind == "restored"}
    ]
    assert len(partly) > 3
    assert any(sale.kinds == ["restored"] for sale in stream.sales.values())


def plans(items):
    found = defaultdict(lambda: [0, Decimal(0)])
    for item in items:
        found[item["plan_id"]][0] += item["quantity"]
        found[item["plan_id"]][1] += Decimal(item["price"]) * item["quantity"]
    return found


def test_volume_prices_and_removed_addons(stream):
    apart = traded = 0
    for data in stream.events("subscription.changed.v1"):
        if "previous" in data:
            before, after = plans(data["previous"]["items"]), plans(data["items"])
            apart += any(
                plan in before and quantity > before[plan][0] and amount <= before[plan][1]
                for plan, (quantity, amount) in after.items()
            )
            gone = {item["product_id"] for item in data["previous"]["items"]} - {
                item["product_id"] for item in data["items"]
            }
            traded += bool(gone) and bool(set(after) - set(before))
    assert apart
    assert traded > 3


def test_swaps_both_ways_round(stream):
    created = [
        (data, stream.sales.get(f"{data['subscription_id']}-1")) for data in stream.events("subscription.created.v1")
    ]
    # The old one is canceled first: nothing but the time says so. Only then does a plain one name items that it had before.
    silent = [
        sale
        for data, sale in created
        if sale is not None and not data.keys() & {"intent", "previous"} and any(line.intent_sku for line in sale.lines)
    ]
    assert len(silent) > 10
    named = [data["subscription_id"] for data, _ in created if "previous" in data]
    assert len(named) > 10
    trials = [data for data, _ in created if data["status"] == "trialing" and "intent" not in data]
    assert len(trials) > 10


def test_pauses_and_returns_within_a_day_and_later(stream):
    found = Counter()
    for events in stream.of("subscription"):
        left = None
        for time, name, data in events:
            kind = name.split(".")[1]
            ends = kind in {"changed", "renewed"} and not sum(
                amount for _, amount in plans(data.get("items", [])).values()
            )
            ends = ends and not (kind == "renewed" and "items" not in data)
            if left is not None and not ends and kind in {"created", "changed", "renewed"}:
                found["back", kind, time - left > timedelta(days=1)] += 1
                left = None
            elif left is None and (kind == "canceled" or ends):
                left = time
                found["gone", kind, len(data.get("items", ())) > 0] += 1
    assert set(found) == {
        *(("back", kind, late) for kind in ("created", "changed", "renewed") for late in (False, True)),
        ("gone", "canceled", False),
        ("gone", "changed", False),
        ("gone", "changed", True),
        ("gone", "renewed", True),
    }  # fmt: skip


def test_subscriptions_of_which_a_part_is_refunded_or_that_are_sold_in_a_checkout(stream):
    refunds = [data.get("refund", {}) for data in stream.events("subscription.refunded.v1")]
    assert {} in refunds
    assert {"share"} in [set(refund) for refund in refunds]
    assert {"share", "refund_id"} in [set(refund) for refund in refunds]
    sold = [data for data in stream.events("subscription.created.v1") if "checkout_id" in data]
    assert len(sold) > 10
    assert all(f"checkout/{data['checkout_id']}" in stream.entities for data in sold)


def test_platforms_report_changes_that_are_none(stream):
    assert stream.results["subscription.changed.v1", "unchanged"] > 50
    assert any("intent" in data for data in stream.events("subscription.changed.v1"))
    assert stream.results["subscription.changed.v1", "stale"] == 0


def test_by_default_all_of_it_is_rare():
    usual = Stream(8000, rate=50)
    completed = len(usual.events("order.completed.v1"))
    assert 0 < sum(len(orders(events)) > 1 for events in usual.of("checkout")) < 0.1 * completed
    assert (
        0 < usual.results["subscription.changed.v1", "unchanged"] < 0.3 * len(usual.events("subscription.changed.v1"))
    )
    rates = Shop(ShopSettings(rate=50), START)
    list(rates.take(30_000))
    assert 0.2 < rates.truth.summary()["all"]["rates"]["upsell_cross_sell_rate"] < 0.3


def test_a_busy_shop_does_more_than_the_usual_one():
    busy, usual = Stream(3000, behaviour=BUSY), Stream(3000)
    assert sum(bool(sale.kinds) for sale in busy.sales.values()) > sum(
        bool(sale.kinds) for sale in usual.sales.values()
    )
