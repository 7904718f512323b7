"""The product's figures equal those of a second, independent computation, written from the contract alone (`tests/oracle`)."""

from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import drivers as oracle_drivers
from oracle import generate, oracle, past, records
from oracle import offers as oracle_offers
from support.shops import BUSY, SHOPS

from stream.core.config import DEFAULT_WINDOWS, MICROSECONDS, CoreConfig
from stream.core.counting.figures import JOURNEYS
from stream.core.counting.offers import offer_rows
from stream.core.entities.tally import Tally
from stream.core.labels import LabelRegistry
from stream.core.money import exponent, plain
from stream.core.offline import Offline
from stream.events.decode import Rejected, decode_line
from stream.observe.past import Past, explain_document, history_document
from stream.observe.queries import ExplainQuery, HistoryQuery, parse
from stream.simulate.completejourney import baskets
from stream.simulate.shop import Shop, ShopSettings

SECONDS = {window.name: window.length // 1_000_000 for window in DEFAULT_WINDOWS}
thoroughly = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def ours(lines, as_of=None, config=None):
    """(summary, rates document, last version of each transaction)"""
    moment = None if as_of is None else round(as_of.timestamp()) * 1_000_000
    offline = Offline(config or CoreConfig(), LabelRegistry(), moment, forget=config is not None)
    rejected = duplicates = 0
    sales = {}
    present = [line for line in lines if line]
    for line in present:
        event = decode_line(line)
        if isinstance(event, Rejected):
            rejected += 1
            continue
        step = offline.apply(event)
        rejected += step.result == "rejected"
        duplicates += step.result == "duplicate"
        for version in step.versions:
            sales[version.transaction] = version
    figures = offline.figures()
    summary = {"events": len(present), "rejected": rejected, "duplicates": duplicates} | figures.summary()
    return summary, figures.plain(), [msgspec.to_builtins(sale.judged) for sale in sales.values() if not sale.withdrawn]


def without_zeros(document):
    """A currency of which every amount is zero is not told (docs/reference/semantics.md)."""
    if not isinstance(document, dict):
        return document
    return {
        name: {code: parts for code, parts in value.items() if any(float(amount) for amount in parts.values())}
        if name == "revenue"
        else without_zeros(value)
        for name, value in document.items()
    }


def in_order(transactions, erased=frozenset()):
    """Without their versions, and without the names of those who were erased: an erasure tells nothing, so the last version may have either."""
    told = [{name: value for name, value in sale.items() if name != "version"} for sale in transactions]
    for sale in told:
        if sale["customer"] in erased or sale["customer"].startswith("erased-"):
            sale["customer"] = None
    return sorted(told, key=repr)


def erased_in(events):
    return {event["data"]["customer_id"] for event in events if event["type"] == records.ERASED}


@thoroughly
@given(generate.checkout_streams(erasing=True, offers=True))
def test_checkouts(events):
    lines = generate.as_lines(events)
    summary, _, sales = ours(lines)
    erased = erased_in(events)
    assert in_order(sales, erased) == in_order(oracle.transactions(lines), erased)
    assert summary == without_zeros(oracle.compute(lines))


@thoroughly
@given(generate.subscription_streams(erasing=True, offers=True))
def test_subscriptions(events):
    lines = generate.as_lines(events)
    summary, _, sales = ours(lines)
    erased = erased_in(events)
    assert in_order(sales, erased) == in_order(oracle.transactions(lines), erased)
    assert summary == without_zeros(oracle.compute(lines))


@thoroughly
@given(generate.files(), generate.moments())
def test_files_and_windows(lines, as_of):
    summary, rates, _ = ours(lines, as_of)
    theirs = without_zeros(oracle.compute(lines, as_of=as_of, windows=SECONDS))
    assert rates["windows"] == theirs.pop("windows")
    assert summary == theirs


def moment(time):
    return round(time.timestamp()) * MICROSECONDS


ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns"]


def past_of(lines, as_of, config):
    """What the product knows of the past at a moment."""
    offline = Offline(config, LabelRegistry(), moment(as_of))
    for line in lines:
        if line and not isinstance(event := decode_line(line), Rejected):
            offline.apply(event)
    return Past(offline.timeline(), {}, config, moment(as_of))


def assert_same_history(kept, counted, step, dimension, begin, as_of):
    query = parse(HistoryQuery, [("step", step), ("dimension", dimension), ("from", begin.isoformat())])
    document = history_document(kept, query, query.span(moment(as_of), kept.config))
    rows = [{**row, "start": datetime.fromisoformat(row["start"])} for row in document["rows"]]
    assert [row.pop("partial") for row in rows].count(True) <= len(rows)
    theirs = past.history(counted, step, begin, as_of, dimension, kept.config.time_zone)
    assert rows == [without_zeros(row) for row in theirs]
    return rows


@thoroughly
@given(generate.files(), generate.moments(), st.sampled_from(ZONES), st.data())
def test_history(lines, as_of, zone, data):
    kept = past_of(lines, as_of, CoreConfig(time_zone=ZoneInfo(zone)))
    begin = as_of - timedelta(hours=data.draw(st.integers(1, 7 * 24)))
    step, dimension = (
        data.draw(st.sampled_from(["1h", "1d"])),
        data.draw(st.sampled_from(["all", "channel", "segment"])),
    )
    assert_same_history(kept, past.counted(lines), step, dimension, begin, as_of)


def days_of(lines, as_of, config):
    """What the product counts by day of offers and products, in the oracle's shape."""
    offline = Offline(config, LabelRegistry(), moment(as_of))
    for line in lines:
        if line and not isinstance(event := decode_line(line), Rejected):
            offline.apply(event)
    days, ordinals = offline.days(), range(date(2025, 1, 1).toordinal(), date(2028, 1, 1).toordinal())
    offers, drivers = {}, {}
    for journey in JOURNEYS:
        offers[journey], drivers[journey] = {}, {}
        for ordinal in ordinals:
            name = date.fromordinal(ordinal).isoformat()
            rows, beyond = offer_rows(days.tallies(journey, "o", [ordinal]))
            assert beyond is None
            if rows:
                offers[journey][name] = {(row.offer_id, row.slot): as_row(row) for row in rows}
            products, paths, pairs = (days.tallies(journey, sort, [ordinal]) for sort in "bpq")
            if found := as_day(products, paths, pairs):
                drivers[journey][name] = found
    return offers, drivers


def as_row(row):
    left_out = {"offer_id", "slot", "acceptance_rate", "incremental_rate"}
    return {name: value for name, value in msgspec.to_builtins(row).items() if name not in left_out}


def as_day(products, paths, pairs):
    def counted(tally):
        return {
            "transactions": tally.counts[0],
            "reversed": tally.counts[1],
            "amounts": {code: plain(own[0], exponent(code)) for code, own in tally.amounts.items() if own[0]},
        }

    def rows(tallies):
        return {key: counted(tally) for key, tally in tallies.items() if any(tally.counts)}

    everything = products.get((), Tally([0, 0, 0], {})).counts
    if not any(everything):
        return None
    return {
        "transactions": everything[0],
        "reversed": everything[1],
        "known": everything[2],
        "products": {
            key[0]: counted(tally) | {"intent": tally.counts[2], "cross_sell": tally.counts[3]}
            for key, tally in products.items()
            if key and any(tally.counts)
        },
        "paths": rows(paths),
        "pairs": rows(pairs),
    }


@thoroughly
@given(generate.files(offers=True), generate.moments(), st.sampled_from(ZONES))
def test_offers_and_drivers(lines, as_of, zone):
    zone = ZoneInfo(zone)
    ours_offers, ours_drivers = days_of(lines, as_of, CoreConfig(time_zone=zone))
    assert ours_offers == oracle_offers.offers(lines, zone)
    assert ours_drivers == oracle_drivers.drivers(lines, zone)


@pytest.mark.parametrize("seed", range(5))
def test_history_and_explain_of_a_day(seed):
    """Some 800 events in 20 hours, of which the last ten are compared with the ten before, also with the running hour."""
    zone = ZoneInfo(ZONES[seed % len(ZONES)])
    shop = Shop(
        ShopSettings(seed=seed, behaviour=BUSY, rate=0.002, customers=300, month_seconds=40_000),
        datetime(2026, 3, 1, 1, 20, tzinfo=UTC),
    )
    lines = [emitted.value for emitted in shop.take(800)]
    as_of = datetime(2026, 3, 1, 21, 40, tzinfo=UTC)
    kept, counted = past_of(lines, as_of, CoreConfig(time_zone=zone)), past.counted(lines)
    for step, dimension in (("1h", "all"), ("1h", "segment"), ("1d", "channel")):
        rows = assert_same_history(kept, counted, step, dimension, as_of - timedelta(days=2), as_of)
        assert any(row["kind_transactions"]["any"] for row in rows)
    explained = 0
    for kpi, journey, asked in product((*past.COUNTS, *past.AMOUNTS), JOURNEYS, ("10h", "3h", "1h")):
        query = parse(
            ExplainQuery, [("kpi", kpi), ("journey", journey), ("from", asked), ("to", "now"), ("against", "previous")]
        )
        spans = query.spans(moment(as_of), kept.config)
        before, after = (
            tuple(datetime.fromtimestamp(edge * 3600, UTC) for edge in (span.first, span.after)) for span in spans
        )
        ours = explain_document(kept, query, spans)
        theirs = past.explain(counted, kpi, journey, before, after)
        assert ours["exact"] == (None if theirs["change"] is None else str(theirs["change"]))
        assert {
            (part["channel"], part["segment"]): (part["exact"], part["rate"], part["mix"]) for part in ours["parts"]
        } == {cell: (str(sum(own)), *(round(float(each), 6) for each in own)) for cell, own in theirs["parts"].items()}
        assert (None if ours["main"] is None else len(ours["main"])) == theirs["main"]
        explained += any(part["rate"] for part in ours["parts"]) and any(part["mix"] for part in ours["parts"])
    assert explained >= 5


@settings(thoroughly, max_examples=500)
@given(generate.checkout_streams(16) | generate.subscription_streams(16), st.data())
def test_what_comes_later_than_it_is_remembered(events, data):
    # Few times, days apart, so that most of what comes is late, and a clock that is mostly right.
    times = data.draw(st.lists(st.sampled_from([0, 60, 60, 350_000]), min_size=len(events), max_size=len(events)))
    for event, seconds in zip(events, times, strict=True):
        event["time"] = (generate.ORIGIN + timedelta(seconds=seconds)).isoformat()
    as_of = generate.ORIGIN + timedelta(seconds=data.draw(st.sampled_from([350_000, 100_000])))
    lines = generate.as_lines(events)
    hour = 3_600
    config = CoreConfig(checkout_retention=hour * MICROSECONDS, subscription_retention=2 * hour * MICROSECONDS)
    summary, rates, _ = ours(lines, as_of, config)
    memory = oracle.Memory({"checkout": hour, "subscription": 2 * hour}, as_of)
    theirs = without_zeros(oracle.compute(lines, as_of=as_of, windows=SECONDS, memory=memory))
    assert rates["windows"] == theirs.pop("windows")
    assert summary == theirs


def test_a_cancellation_that_comes_days_late_is_continued_like_any_other():
    """An event that is newer by more than the lateness has moved event time before; the subscriptions themselves are remembered."""

    def event(number, kind, subscription, units, seconds=0):
        data = {"subscription_id": subscription, "customer_id": "cust-1", "currency": "USD"}
        if units:
            plan = {"plan_id": "a", "product_id": "app", "quantity": units, "price": "10", "interval": "month"}
            data["items"] = [plan]
        time = (generate.ORIGIN + timedelta(seconds=seconds)).isoformat()
        head = {"specversion": "1.0", "id": f"e-{number}", "source": "/shop", "time": time}
        return {
            **head,
            "type": f"commerce.subscription.{kind}.v1",
            "subject": f"subscription/{subscription}",
            "data": data,
        }

    lines = generate.as_lines(
        [
            event(1, "created", "newer", 1, 350_000),
            event(2, "created", "first", 2),
            event(3, "canceled", "first", 0),
            event(4, "created", "second", 1),
        ]
    )
    as_of = generate.ORIGIN + timedelta(seconds=350_000)
    config = CoreConfig(subscription_retention=2 * 3_600 * MICROSECONDS)
    summary, _, sales = ours(lines, as_of, config)
    theirs = oracle.compute(
        lines, as_of=as_of, windows=SECONDS, memory=oracle.Memory({"subscription": 2 * 3_600}, as_of)
    )
    assert summary["subscription"] == without_zeros(theirs)["subscription"]
    assert {sale["subject"]: sale["kinds"] for sale in sales}["subscription/second"] == ["downsell"], "a swap"


@pytest.mark.parametrize("name", SHOPS)
def test_a_simulated_shop(name):
    shop = Shop(ShopSettings(seed=7, **SHOPS[name]), datetime(2026, 1, 1, tzinfo=UTC))
    lines = [emitted.value for emitted in shop.take(400)]
    summary, _, sales = ours(lines)
    assert summary == shop.truth.summary()
    assert summary == without_zeros(oracle.compute(lines))
    assert in_order(sales) == in_order(oracle.transactions(lines))


@pytest.mark.datasets
def test_real_baskets():
    lines = [emitted.value for emitted in baskets(300)]
    summary, _, sales = ours(lines)
    assert summary == without_zeros(oracle.compute(lines))
    assert in_order(sales) == in_order(oracle.transactions(lines))
