import json
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest

from stream.core.event import OfferEvent
from stream.events.decode import Rejected, decode_line
from stream.simulate.behaviour import Behaviour, Shift
from stream.simulate.poison import POISON_KINDS
from stream.simulate.shop import Shop, ShopSettings

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def shop(**settings):
    return Shop(ShopSettings(**settings), START)


def records(count, **settings):
    return list(shop(**settings).take(count))


def data_of(record):
    return json.loads(record.value)["data"]


def test_the_same_seed_and_start_give_the_same_records():
    noise = {"duplicates": 0.1, "disorder_seconds": 30, "poison": 0.1, "currencies": ("EUR", "JPY")}
    first, again = shop(seed=5, **noise), shop(seed=5, **noise)
    assert list(first.take(3000)) == list(again.take(3000))
    assert first.truth.summary() == again.truth.summary()
    assert records(50, seed=6) != records(50, seed=5)


def test_every_good_record_follows_the_contract():
    noise = {"duplicates": 0.02, "disorder_seconds": 60, "poison": 0.02, "currencies": ("EUR", "USD", "JPY")}
    keys = {}
    types = set()
    for record in records(12_000, **noise):
        assert b"\n" not in record.value
        event = decode_line(record.value)
        if record.poison is not None:
            assert isinstance(event, Rejected), record.poison
            continue
        assert not isinstance(event, Rejected), event
        plain = json.loads(record.value)
        types.add(plain["type"])
        assert plain["subject"] == f"{record.topic}/{event.entity}"
        if record.about_offer:
            assert isinstance(event, OfferEvent)
            assert event.journey == record.topic
        else:
            assert record.key == event.customer.encode()
        assert event.time == round(record.time.timestamp() * 1000) * 1000
        assert keys.setdefault(plain["subject"], record.key) == record.key
    assert len(types) == 15, "every type of the contract must occur"


def test_events_of_one_checkout_or_subscription_have_different_times_and_are_not_too_far_apart():
    times = defaultdict(list)
    for record in records(8000, pace=300):
        times[json.loads(record.value)["subject"]].append(record.time)
    for subject, moments in times.items():
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert all(gap > timedelta(0) for gap in gaps)
        if subject.startswith("checkout/"):
            assert sum(gaps, timedelta(0)) < timedelta(days=30)


def test_every_kind_is_common_in_both_journeys():
    here = shop()
    assert sum(1 for _ in here.take(20_000)) == 20_000
    summary = here.truth.summary()
    for journey in ("checkout", "subscription"):
        figures = summary[journey]
        for kind in ("upsell", "cross_sell", "downsell"):
            assert figures["kind_transactions"][kind] >= 0.03 * figures["transactions"], (journey, kind)


def test_customers_return_with_the_same_segment_and_use_all_channels():
    segments = defaultdict(set)
    visits = Counter()
    channels = Counter()
    for record in records(8000, customers=400):
        if record.about_offer:
            continue
        data = data_of(record)
        channels[data["channel"]] += 1
        if "customer_id" in data:
            visits[data["customer_id"]] += 1
            segments[data["customer_id"]].add(data.get("segment"))
    assert len(visits) > 350
    assert visits.most_common(1)[0][1] > 40
    assert all(len(seen - {None}) == 1 for seen in segments.values())
    assert set(channels) == {"web", "app", "store"}


def test_rate_is_events_per_simulated_second():
    steady = records(8000, rate=50, daily_rhythm=0, pace=30)
    assert (steady[-1].time - START).total_seconds() == pytest.approx(160, rel=0.1)


def test_the_rate_is_high_in_the_evening_and_low_in_the_morning():
    hours = Counter()
    for record in shop(rate=0.1, daily_rhythm=0.8).events():
        if record.time >= START + timedelta(days=1):
            break
        hours[record.time.hour] += 1
    assert sum(hours.values()) == pytest.approx(0.1 * 86_400, rel=0.1)
    assert hours[20] > 4 * hours[8]


def test_with_a_high_pace_sales_complete_within_seconds():
    started, gaps = {}, []
    for record in records(5000, pace=60):
        event = json.loads(record.value)
        if event["type"] == "commerce.checkout.started.v1":
            started.setdefault(event["subject"], record.time)
        if event["type"] == "commerce.order.completed.v1" and event["subject"] in started:
            gaps.append((record.time - started[event["subject"]]).total_seconds())
    assert 0 < sum(gaps) / len(gaps) < 5


def test_disorder_delays_no_record_by_more_than_its_setting():
    arrived = records(5000, disorder_seconds=45)
    assert arrived == sorted(arrived, key=lambda record: record.arrival)
    assert arrived != sorted(arrived, key=lambda record: record.time)
    assert all(timedelta(0) <= record.arrival - record.time <= timedelta(seconds=45) for record in arrived)


def test_duplicates_and_bad_records_have_the_set_shares():
    here = shop(duplicates=0.05, poison=0.1)
    arrived = list(here.take(10_000))
    truth = here.truth.summary()
    bad = [record for record in arrived if record.poison is not None]
    values = Counter(record.value for record in arrived)
    assert truth["events"] == len(arrived)
    assert truth["rejected"] == len(bad) == pytest.approx(0.1 / 1.15 * 10_000, rel=0.15)
    copies = truth["duplicates"] + here.truth.offer_duplicates
    assert copies == sum(values.values()) - len(values) == pytest.approx(0.05 / 1.15 * 10_000, rel=0.2)
    assert here.truth.offer_duplicates > 50
    assert {record.poison for record in bad} == set(POISON_KINDS)


def test_duplicates_disorder_and_bad_records_change_no_planted_figure():
    noisy = shop(duplicates=0.2, disorder_seconds=20, poison=0.2)
    good = sum(1 for record in noisy.take(6000) if record.poison is None)
    good -= noisy.truth.duplicates + noisy.truth.offer_duplicates
    # The same shop without `Disorder`. Its sessions depend on `disorder_seconds`, so the setting must be the same.
    calm = shop(disorder_seconds=20)
    for _ in range(good):
        calm._next()
    noisy_summary, calm_summary = noisy.truth.document(), calm.truth.document()
    for name in ("all", "checkout", "subscription", "offers", "pairs"):
        assert noisy_summary[name] == calm_summary[name]


def test_the_truth_grows_with_the_records_that_are_read():
    here = shop(disorder_seconds=10)
    events = here.events()
    list(islice(events, 500))
    list(here.flush())
    half = here.truth.summary()
    list(islice(events, 500))
    list(here.flush())
    assert here.truth.summary()["events"] > half["events"] >= 500
    assert here.truth.summary()["all"]["opportunities"] > half["all"]["opportunities"]


@pytest.mark.parametrize("noise", [{}, {"duplicates": 0.2, "disorder_seconds": 20, "poison": 0.2}])
def test_until_generates_no_later_event_and_the_same_records(noise):
    here, whole = shop(rate=2, **noise), shop(rate=2, **noise)
    arrived = []
    for seconds in range(0, 600, 7):
        moment = START + timedelta(seconds=seconds)
        fresh = list(here.until(moment))
        assert all(record.arrival <= moment for record in fresh)
        arrived += fresh
    held = list(here.flush())
    assert all(record.time <= moment < record.arrival for record in held)
    assert len(arrived) + len(held) == here.truth.events
    assert arrived == list(islice(whole.events(), len(arrived)))


@pytest.mark.parametrize("seed", range(5))
def test_a_shop_yields_exactly_the_number_of_records_asked_for(seed):
    here = shop(seed=seed, duplicates=0.5, poison=0.5, disorder_seconds=3600)
    assert len(list(here.events(200))) == here.truth.events == 200
    assert not here.has_pending
    assert list(here.events(200)) == list(here.until(START + timedelta(days=1), 200)) == []


def test_a_shift_changes_the_behaviour_of_one_segment_after_its_time():
    eager = Behaviour(upgrade=1.0, abandon=0.0, edit=0.0)
    shifted = records(12_000, shifts=(Shift(after=400, behaviour=eager, segment="vip"),))
    completed, started = Counter(), Counter()
    for record in shifted:
        event = json.loads(record.value)
        if record.topic != "checkout" or "segment" not in event["data"]:
            continue
        late = record.time - START > timedelta(seconds=800)
        group = event["data"]["segment"], late
        started[group] += event["type"] == "commerce.checkout.started.v1"
        completed[group] += event["type"] == "commerce.order.completed.v1"
    share = {group: completed[group] / started[group] for group in started}
    assert share["vip", True] > 0.75
    assert share["consumer", True] < 0.72


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rate", 0),
        ("rate", 1e-9),
        ("rate", float("inf")),
        ("rate", float("nan")),
        ("customers", 0),
        ("customers", 10**400),
        ("channels", ()),
        ("segments", ()),
        ("currencies", ()),
        ("currencies", ("EUR", "EUR")),
        ("currencies", ("EUR", "USD", "JPY", "GBP", "CHF")),
        ("daily_rhythm", 1.0),
        ("pace", 0),
        ("pace", float("inf")),
        ("month_seconds", 32 * 86_400),
        ("duplicates", 1.1),
        ("disorder_seconds", -1),
        ("poison", float("nan")),
    ],
)
def test_an_error_names_the_setting_that_is_out_of_range(name, value):
    with pytest.raises(ValueError, match=name):
        ShopSettings(**{name: value})


def test_other_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="XXQ"):
        ShopSettings(currencies=("EUR", "XXQ"))
    with pytest.raises(ValueError, match="churn"):
        Behaviour(churn=2)
    for year in (1, 1970, 3000, 9999):
        with pytest.raises(ValueError, match="1971 to 2999"):
            Shop(ShopSettings(), datetime(year, 12, 31, 23, 59, tzinfo=UTC))
    with pytest.raises(ValueError, match="time zone"):
        Shop(ShopSettings(), datetime(2026, 3, 1, 12, 0))  # noqa: DTZ001  # tests a time without zone
