"""A restatement takes away exactly what was counted, and emits a version whenever something published changes."""

import msgspec
import pytest

from stream.core.config import NEVER, CoreConfig
from stream.core.counting.aggregates import Aggregates
from stream.core.counting.cells import SALES, Count
from stream.core.counting.daily import Daily
from stream.core.counting.history import History, HistoryState
from stream.core.entities.assessment import Amounts, Assessment
from stream.core.entities.basket import BOUNDS
from stream.core.entities.subscription import Contribution, Effect
from stream.core.event import CheckoutEvent, CheckoutType
from stream.core.labels import LabelRegistry
from stream.core.result import APPLIED, LATE, UNCHANGED, UNMATCHED, JudgedLine
from stream.core.shard.customer_index import CustomerIndex
from stream.core.shard.event_time import EventTime
from stream.core.shard.ledger import Emissions, Ledger

LINE = JudgedLine("upsell", "quantity", "p", "s", "p", "s", None, "5.00")
PLAIN = Assessment(
    "shop", "e1", 5_000_000, "anna", "web", "new", "EUR", "known", (), Amounts(10, 0, 0, 0, 10), (("hats", 0),)
)
UPSOLD = msgspec.structs.replace(PLAIN, lines=(LINE,), amounts=Amounts(10, 5, 0, 0, 15), categories=(("hats", 9),))
EVENT = CheckoutEvent(CheckoutType.STARTED, "shop", "e1", 5_000_000, 0, "c1", "anna", "EUR", channel="web")


class Books:
    def __init__(self, journey="checkout", labels=None, **settings):
        config = CoreConfig(windows=(), **settings)
        self.time = EventTime(config, NEVER, NEVER)
        history = History(config, HistoryState(), {}, None)
        self.aggregates = Aggregates(config, (), {}, {}, history=history, daily=Daily(config, BOUNDS, (), history))
        customers = CustomerIndex(config, self.time, set())
        for name in ("anna", "bert"):
            customers.records.load(customers.member(name), None)
        self.labels = labels or LabelRegistry({"channel": ["web"], "segment": ["new"], "currency": ["EUR"]})
        self.ledger = Ledger(journey, config, self.labels, self.aggregates, customers)

    def counts(self):
        total = dict(self.aggregates.summary("checkout", 0).total)
        return {
            position.name.lower(): n
            for position, n in zip(Count, total.get((SALES, "web", "new"), ()), strict=False)
            if n
        }


def record():
    return Contribution(Effect(0, None, None))


def test_an_opportunity_is_counted_moved_and_taken_back():
    books = Books()
    first = books.ledger.opportunity(None, 5, "web", "new")
    assert books.ledger.opportunity(first, 5, "web", "new") is first
    second = books.ledger.opportunity(first, 9, "web", "new")
    assert books.counts() == {"opportunities": 1}
    assert books.ledger.opportunity(second, None, "web", "new") is None
    assert books.counts() == {}


def test_a_restated_transaction_counts_as_it_is_judged_now():
    books, one = Books(), record()
    for assessment, counts in (
        (PLAIN, {"transactions": 1, "known": 1}),
        (UPSOLD, {"transactions": 1, "upsell": 1, "any": 1, "known": 1}),
        (PLAIN, {"transactions": 1, "known": 1}),
    ):
        books.ledger.transaction(one, None, assessment, "c1", Emissions())
        assert books.counts() == counts


def test_versions_are_published_from_the_first_one_with_kinds_on():
    books, one = Books(), record()
    published = []
    for assessment in (PLAIN, PLAIN, UPSOLD, UPSOLD, PLAIN):
        emissions = Emissions()
        books.ledger.transaction(one, None, assessment, "c1", emissions)
        published.append([(version.judged.version, version.publish) for version in emissions.versions])
    assert published == [[], [], [(2, True)], [], [(3, True)]]


def test_offline_every_version_is_emitted():
    books, one, emissions = Books(emit_all=True), record(), Emissions()
    for assessment in (PLAIN, UPSOLD):
        books.ledger.transaction(one, None, assessment, "c1", emissions)
    assert [(version.judged.version, version.publish) for version in emissions.versions] == [(1, False), (2, True)]


@pytest.mark.parametrize(
    ("journey", "transaction"), [("checkout", "checkout/c1"), ("subscription", "subscription/c1:")]
)
def test_a_checkout_has_one_transaction_and_a_subscription_one_an_event(journey, transaction):
    books, emissions = Books(journey), Emissions()
    books.ledger.transaction(record(), None, UPSOLD, "c1", emissions)
    (version,) = emissions.versions
    assert version.transaction.startswith(transaction)
    assert version.id == f"{journey}/c1:{UPSOLD.event_hash.hex()}:1"


def test_a_withdrawn_transaction_is_counted_nowhere_and_its_last_version_is_empty():
    books, one, emissions = Books(), record(), Emissions()
    books.ledger.transaction(one, None, UPSOLD, "c1", Emissions())
    books.ledger.withdraw(one, UPSOLD, "c1", emissions)
    (version,) = emissions.versions
    assert (version.withdrawn, version.publish, version.judged.kinds, version.judged.final) == (True, True, [], "0.00")
    assert books.counts() == {}


def test_counters_only_ever_go_up():
    books, one = Books(), record()
    counted = []
    for assessment in (PLAIN, UPSOLD, PLAIN, UPSOLD):
        emissions = Emissions()
        books.ledger.transaction(one, None, assessment, "c1", emissions)
        counted.append([kind for kind, _, _ in emissions.counted])
    assert counted == [["all"], ["upsell", "any"], [], ["upsell", "any"]]


def test_the_result_of_a_step():
    books = Books()
    assert Emissions().step(EVENT, books.time, books.labels, unmatched=False) is APPLIED
    assert books.time.stream_time == EVENT.time
    assert Emissions().step(EVENT, books.time, books.labels, unmatched=True) is UNMATCHED
    assert Emissions().step(EVENT, books.time, books.labels, unmatched=False, unchanged=True) is UNCHANGED
    books.time.late_until = EVENT.time
    assert Emissions().step(EVENT, books.time, books.labels, unmatched=False) is LATE


def test_labels_without_a_series_are_reported_as_overflow():
    books = Books(labels=LabelRegistry({"channel": ["app"], "currency": ["EUR"]}))
    step = Emissions().step(EVENT, books.time, books.labels, unmatched=False)
    assert (step.result, step.overflow) == ("applied", ("channel",))
