"""What the shop plants of offers, pairs and a drop, against a plain count of the events that it sends."""

import json
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from support.shops import BUSY, SHOPS

from stream.core.config import CoreConfig
from stream.core.counting.offers import offer_rows
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.events.decode import decode_line
from stream.simulate.behaviour import Behaviour
from stream.simulate.incident import Incident, IncidentWish
from stream.simulate.offers import AFTER_PURCHASE, BEFORE_PURCHASE, FOR_SUBSCRIBERS, NEVER_SHOWN, VERDICTS
from stream.simulate.shop import Shop, ShopSettings, expected_end

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIVELY = {"rate": 20, "pace": 20, "behaviour": BUSY, "customers": 300}
MONTHS = {"day": Fraction(12, 365), "week": Fraction(12, 52), "month": Fraction(1), "year": Fraction(12)}


DOCUMENT = ("shown", "declined", "accepted", "by_verdict", "reversed", "gross", "kept")


class Sent:
    """The records of a shop, by checkout or subscription in the order of their times, and what the core makes of them."""

    def __init__(self, count, **settings):
        shop = Shop(ShopSettings(**settings), START)
        records = list(shop.take(count))
        self.truth = shop.truth.document()
        unique = {record.value: record for record in records if record.poison is None}
        self.entities = defaultdict(list)
        offline = Offline(CoreConfig(), LabelRegistry(), round((START + 30 * HOUR).timestamp()) * 1_000_000)
        self.sales = {}
        for record in sorted(unique.values(), key=lambda record: record.time):
            event = json.loads(record.value)
            self.entities[event["subject"]].append((record.time, event["type"].split(".", 1)[1], event["data"]))
            for version in offline.apply(decode_line(record.value)).versions:
                self.sales[version.judged.subject, version.judged.event_id] = version.judged

        self.days = offline.days()

    def rows(self):
        for journey, days in self.truth["offers"].items():
            for day, rows in days.items():
                for row in rows:
                    yield (journey, day, row["offer_id"], row["slot"]), row


@pytest.fixture(scope="module")
def sent():
    return Sent(9000, seed=4, currencies=("EUR", "JPY"), disorder_seconds=5, duplicates=0.05, poison=0.02, **LIVELY)


def minor(amount, currency):
    amount = Fraction(amount)
    return (Decimal(amount.numerator) / Decimal(amount.denominator)).quantize(
        Decimal(1) if currency == "JPY" else Decimal("0.01"), ROUND_HALF_EVEN
    )


def net(line):
    return Fraction(line["price"]) * Fraction(str(line["quantity"])) - Fraction(line.get("discount", "0"))


def final_orders(events):
    """The lines of each order of a checkout as they stand."""
    orders, first = {}, None
    for _, name, data in events:
        if name in {"order.completed.v1", "order.updated.v1"}:
            order = data.get("order_id")
            first = order if first is None and name.startswith("order.completed") else first
            orders[order] = [line for line in data["products"] if Fraction(str(line["quantity"]))]
    return orders


def first_transactions(subject, events):
    """(time, currency, {offer: gross}) of the first transaction that has each offer, by plain reading."""
    if subject.startswith("checkout/"):
        orders = final_orders(events)
        if orders:
            time, data = next((time, data) for time, name, data in events if name == "order.completed.v1")
            gross = defaultdict(Fraction)
            for line in (line for lines in orders.values() for line in lines if "offer_id" in line):
                gross[line["offer_id"]] += net(line)
            yield time, data["currency"], gross
        return
    known = set()
    trial = False
    for time, name, data in events:
        trial = data.get("status") == "trialing" or (trial and name.startswith("offer."))
        if "items" not in data or trial or "checkout_id" in data or "change_scheduled" in name:
            continue
        gross = defaultdict(Fraction)
        for item in data["items"]:
            if "offer_id" in item and item["offer_id"] not in known and item["quantity"]:
                months = MONTHS[item["interval"]] * item.get("interval_count", 1)
                gross[item["offer_id"]] += Fraction(item["price"]) * item["quantity"] / months
        known |= set(gross)
        yield time, data["currency"], gross


def test_shown_declined_accepted_and_gross_are_those_of_the_events(sent):
    shown, declined, accepted, gross = Counter(), Counter(), Counter(), defaultdict(Decimal)
    for subject, events in sent.entities.items():
        journey = subject.split("/")[0]
        slots = {}
        for time, name, data in events:
            if name == "offer.shown.v1" and data["offer_id"] not in slots:
                slots[data["offer_id"]] = data.get("slot", "unknown")
                shown[journey, f"{time:%Y-%m-%d}", data["offer_id"], slots[data["offer_id"]]] += 1
            elif name == "offer.declined.v1":
                declined[journey, f"{time:%Y-%m-%d}", data["offer_id"], slots[data["offer_id"]]] += 1
                assert data.get("slot", "unknown") == slots[data["offer_id"]]
        for time, currency, offers in first_transactions(subject, events):
            for offer, amount in offers.items():
                row = journey, f"{time:%Y-%m-%d}", offer, slots.get(offer, "unknown")
                accepted[row] += 1
                gross[(*row, currency)] += minor(amount, currency)
    rows = dict(sent.rows())
    assert {key: row["shown"] for key, row in rows.items() if row["shown"]} == shown
    assert {key: row["declined"] for key, row in rows.items() if row["declined"]} == declined
    assert {key: row["accepted"] for key, row in rows.items() if row["accepted"]} == accepted
    assert {
        (*key, currency): Decimal(amount) for key, row in rows.items() for currency, amount in row["gross"].items()
    } == gross


def test_what_the_core_counts_of_offers_and_pairs_is_what_was_planted(sent):
    theirs = defaultdict(dict)
    for (journey, day, offer, slot), row in sent.rows():
        theirs[journey, day][offer, slot] = {
            name: value for name, value in row.items() if name not in {"offer_id", "slot"}
        }
    ours = {}
    for journey in sent.truth["offers"]:
        for day in (date(2026, 3, 1), date(2026, 3, 2)):
            rows, beyond = offer_rows(sent.days.tallies(journey, "o", [day.toordinal()]))
            assert beyond is None
            if rows:
                ours[journey, day.isoformat()] = {
                    (row.offer_id, row.slot): {name: getattr(row, name) for name in DOCUMENT} for row in rows
                }
    assert ours == theirs
    for day, planted in sent.truth["pairs"]["checkout"].items():
        ordinal = date.fromisoformat(day).toordinal()
        products, pairs = (sent.days.tallies("checkout", sort, [ordinal]) for sort in "bq")
        assert products[()].counts[2] == planted["transactions"]
        assert {key[0]: own.counts[2] for key, own in products.items() if key and own.counts[2]} == planted["intent"]
        assert {key[0]: own.counts[3] for key, own in products.items() if key and own.counts[3]} == planted[
            "cross_sell"
        ]
        assert {key: own.counts[0] for key, own in pairs.items() if own.counts[0]} == {
            (pair["intent"], pair["cross_sell"]): pair["transactions"] for pair in planted["pairs"]
        }


def test_every_fate_of_an_offer_occurs(sent):
    of = defaultdict(Counter)
    for (journey, _, _, slot), row in sent.rows():
        of[journey].update({name: row[name] for name in ("shown", "declined", "accepted", "reversed")})
        of[journey].update(row["by_verdict"])
        of[journey]["unknown slot"] += row["accepted"] if slot == "unknown" else 0
        assert sum(row["by_verdict"].values()) == row["accepted"] >= row["reversed"]
        assert tuple(row["by_verdict"]) == VERDICTS
        for currency, amount in row["gross"].items():
            assert 0 <= Decimal(row["kept"][currency]) <= Decimal(amount)
    for name in ("shown", "declined", "accepted", "reversed", "unknown slot", "nothing", "upsell", "cross_sell"):
        assert of["checkout"][name] > 10, name
        assert of["subscription"][name] > 0, name
    assert of["checkout"]["unknown"] > 0
    assert of["checkout"]["downsell"] > 0
    assert {offer for (_, _, offer, _), _ in sent.rows()} == {
        offer.id for offer in (*BEFORE_PURCHASE, *AFTER_PURCHASE, *NEVER_SHOWN, *FOR_SUBSCRIBERS)
    }
    again = late = before = 0
    for events in sent.entities.values():
        names = [name for _, name, _ in events]
        offers = [data["offer_id"] for _, name, data in events if name == "offer.shown.v1"]
        again += len(offers) > len(set(offers))
        before += names[0] == "offer.shown.v1"
        paid = names.index("order.completed.v1") if "order.completed.v1" in names else len(names)
        carried = {line.get("offer_id") for lines in final_orders(events[: paid + 1]).values() for line in lines}
        late += any(
            name == "offer.shown.v1" and data["offer_id"] in carried and data["offer_id"] not in seen_before
            for seen_before in [{data.get("offer_id") for _, _, data in events[:paid]}]
            for _, name, data in events[paid:]
        )
    assert min(again, late, before) > 5, (again, late, before)


def product_of(line):
    return line.get("product_id") or line.get("sku") or line.get("variant_id")


def test_the_verdict_on_an_offer_is_that_of_the_core_on_its_product(sent):
    """The core's outcome names one line of what it compared, nearly always one of the same product."""
    found = Counter()
    judged = {subject: sale for (subject, _), sale in sent.sales.items() if subject.startswith("checkout/")}
    for subject, sale in judged.items():
        kinds = {line.product_id or line.sku: line.kind for line in sale.lines}
        lines = [line for lines in final_orders(sent.entities[subject]).values() for line in lines]
        offered = {line["offer_id"]: product_of(line) for line in lines if "offer_id" in line}
        for offer, product in offered.items():
            found[offer, kinds.get(product, "nothing") if sale.intent == "known" else "unknown"] += 1
    planted = Counter()
    for (journey, _, offer, _), row in sent.rows():
        if journey == "checkout":
            planted.update({(offer, kind): number for kind, number in row["by_verdict"].items() if number})
    assert sum((planted - found).values()) < 0.03 * sum(planted.values()), (planted - found, found - planted)


@pytest.mark.parametrize("name", SHOPS)
def test_the_rows_of_every_shop_are_whole(name):
    here = Shop(ShopSettings(seed=2, **SHOPS[name]), START)
    assert len(list(here.take(1500))) >= 1500
    document = here.truth.document()
    for days in document["offers"].values():
        assert list(days) == sorted(days)
        for rows in days.values():
            names = [(row["offer_id"], row["slot"]) for row in rows]
            assert names == sorted(set(names))
            assert all(min(row["by_verdict"].values()) >= 0 <= row["reversed"] for row in rows)
    for day in document["pairs"]["checkout"].values():
        assert max([*day["intent"].values(), *day["cross_sell"].values()], default=0) <= day["transactions"]
        for pair in day["pairs"]:
            most = min(day["intent"][pair["intent"]], day["cross_sell"][pair["cross_sell"]])
            assert 0 < pair["transactions"] <= most


def test_pairs_are_those_of_the_cross_sells_that_the_core_finds(sent):
    """Of checkouts of which the intent is known: all that are judged and have lines of additions."""
    found = Counter()
    for (subject, _), sale in sent.sales.items():
        if subject.startswith("checkout/"):
            products = {line.product_id or line.sku for line in sale.lines if line.kind == "cross_sell"}
            found.update(products)
    planted = Counter()
    for day in sent.truth["pairs"]["checkout"].values():
        planted.update(day["cross_sell"])
    # A line without product_id and sku is named by its variant_id, which no outcome has.
    assert found.pop(None, 0) == 0
    assert planted == found


def test_companions_are_added_as_many_times_as_often_where_their_goods_are_wanted():
    usual = Behaviour(abandon=0, edit=0, subscribe=0, remove=0, unstated=0, offered=0, companion=0.01)
    here = Shop(ShopSettings(seed=3, behaviour=usual, pace=100), START)
    assert sum(1 for _ in here.take(60_000)) == 60_000
    document = here.truth.document()["pairs"]
    assert [planted["factor"] for planted in document["planted"]] == [8.0, 4.0, 16.0]
    known, intent, crosses, pairs = 0, Counter(), Counter(), Counter()
    for day in document["checkout"].values():
        known += day["transactions"]
        intent.update(day["intent"])
        crosses.update(day["cross_sell"])
        pairs.update({(pair["intent"], pair["cross_sell"]): pair["transactions"] for pair in day["pairs"]})
    for planted in document["planted"]:
        wanted, product = planted["intent"], planted["cross_sell"]
        both = pairs[wanted, product]
        with_it, without = both / intent[wanted], (crosses[product] - both) / (known - intent[wanted])
        assert with_it / without == pytest.approx(planted["factor"], rel=0.35), planted


# --- a drop


def test_an_incident_lowers_the_sales_of_its_cell_in_its_hours_and_nothing_else():
    incident = Incident("web", "consumer", START + HOUR, START + 2 * HOUR, 0.1)
    found = Sent(20_000, seed=5, rate=1.8, daily_rhythm=0, channels=("web", "store"), incident=incident)
    sold, visits = Counter(), Counter()
    judged = {subject: sale for (subject, _), sale in found.sales.items()}
    for subject, events in found.entities.items():
        if not subject.startswith("checkout/"):
            continue
        labels = [data for _, name, data in events if not name.startswith("offer.")]
        if not labels:
            continue
        segment = next((data["segment"] for data in labels if "segment" in data), None)
        in_cell = (labels[0]["channel"], segment) == ("web", "consumer")
        group = in_cell, incident.start <= events[0][0] < incident.end
        visits[group] += 1
        sold[group] += subject in judged and bool({"upsell", "cross_sell"} & set(judged[subject].kinds))
    share = {group: sold[group] / visits[group] for group in visits}
    assert min(visits.values()) > 200
    assert share[True, True] < 0.1
    assert min(share[True, False], share[False, True], share[False, False]) > 0.18
    assert found.truth["incident"] == {
        "journey": "checkout", "channel": "web", "segment": "consumer", "factor": 0.1,
        "from": "2026-03-01T13:00:00Z", "to": "2026-03-01T14:00:00Z",
    }  # fmt: skip


CHANNELS, SEGMENTS = ("web", "app"), ("new", "vip")


@pytest.mark.parametrize("seed", range(20))
def test_what_is_not_asked_for_follows_from_the_seed(seed):
    end = START + 20.4 * HOUR
    planted = IncidentWish().planted(seed, CHANNELS, SEGMENTS, START, end)
    assert planted == IncidentWish().planted(seed, CHANNELS, SEGMENTS, START, end)
    assert (planted.channel in CHANNELS, planted.segment in SEGMENTS) == (True, True)
    assert planted.end == START + 21 * HOUR
    assert HOUR <= planted.end - planted.start <= 5 * HOUR
    assert 0 < planted.factor < 0.5
    given = IncidentWish("app", "vip", 3, 0.5).planted(seed, CHANNELS, SEGMENTS, START, end)
    assert given == Incident("app", "vip", START + 18 * HOUR, START + 21 * HOUR, 0.5)


@pytest.mark.parametrize(
    ("wish", "hours", "says"),
    [
        (IncidentWish(), 3.9, "four hours"),
        (IncidentWish(hours=6), 11, "half as long"),
        (IncidentWish("fax"), 11, "web, app"),
        (IncidentWish("web", "poor"), 11, "new, vip"),
        (IncidentWish(factor=1.5), 11, "from 0 to 1"),
    ],
)
def test_an_incident_that_cannot_be_is_refused(wish, hours, says):
    with pytest.raises(ValueError, match=says):
        wish.planted(1, CHANNELS, SEGMENTS, START, START + hours * HOUR)


def test_an_incident_begins_before_it_ends():
    with pytest.raises(ValueError, match="before it ends"):
        Incident("web", "vip", START, START, 0.1)


@pytest.mark.parametrize("rhythm", [0, 0.6])
@pytest.mark.parametrize("events", [3_000, 12_000])
def test_the_end_of_a_run_is_known_about_an_hour_exactly(rhythm, events):
    settings = ShopSettings(rate=0.2, daily_rhythm=rhythm, duplicates=0.1, poison=0.1)
    newest = max(record.time for record in Shop(settings, START).take(events))
    assert abs(expected_end(settings, START, events) - newest) < HOUR
