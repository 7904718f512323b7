"""Offers of a shard: a late event moves what was accepted, records are forgotten, and no entity is loaded without need."""

import msgspec
import pytest
from core.shard.test_shard import Store
from support.carts import line
from support.stories import START, Story

from stream.core.config import DAY, STEP
from stream.core.event import CheckoutType, OfferEvent
from stream.core.shard.offers import RETENTION, key_of

MINUTE = 60_000_000
NOW = START + DAY


def shown(at, *, offer="x", slot="cart", id=None, entity="c1", shown=True):
    return OfferEvent("checkout", entity, shown, offer, slot, START + at * MINUTE, 0, id or f"o-{at}-{slot}", "shop")


def completed(at=10, *lines, **more):
    told = []

    class Told(Story):
        def apply(self, event):
            told.append(event)

    Told().checkout("completed", lines or [line("P", "a", offer="x")], at=at, id=f"c{at}", **more)
    return told[0]


def counts(store):
    """(offer, slot) -> (shown, declined, accepted), where something is counted."""
    found = {}
    for (sort, _), tallies in store.days(now=NOW).items():
        for key, tally in tallies.items() if sort == "o" else ():
            if any(tally.counts):
                found[key] = (*tally.counts[:2], sum(tally.counts[2:-1]))
    return found


def told(*events, batch=1):
    store = Store("checkout")
    return store, [step.result for step in store.run(list(events), NOW, batch, restart=True)]


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_an_offer_that_was_shown_and_accepted(batch):
    store, results = told(shown(0), shown(1, slot="exit"), shown(2, shown=False), completed(), batch=batch)
    assert results == ["applied", "unchanged", "applied", "applied"]
    assert counts(store) == {("x", "cart"): (1, 1, 1)}


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_an_event_that_comes_after_the_purchase_moves_what_was_accepted(batch):
    store, _ = told(completed(), shown(5), batch=batch)
    assert counts(store) == {("x", "cart"): (1, 0, 1)}
    store, _ = told(shown(5), completed(), shown(1, slot="banner"), batch=batch)
    assert counts(store) == {("x", "banner"): (1, 0, 1)}, "an earlier one, which came late"


def test_an_edit_takes_the_offer_out_again():
    store, _ = told(completed(), shown(1))
    edit = msgspec.structs.replace(completed(20, line("P", "a")), type=CheckoutType.ORDER_UPDATED)
    store.run([edit], NOW)
    assert counts(store) == {("x", "cart"): (1, 0, 0)}


def test_an_offer_that_was_shown_loads_no_entity():
    store, _ = told(completed(5, line("P", "a")))
    shard = store.open()
    preload = shard.preload([shown(6)])
    assert preload.request.entities == [key_of(b"c1")]
    preload.receive([store.entities.get(key_of(b"c1"))], [])
    assert preload.request is None


def test_an_offer_that_was_accepted_loads_its_entity():
    store, _ = told(completed())
    preload = store.open().preload([shown(6)])
    preload.receive([store.entities[key_of(b"c1")]], [])
    assert preload.request.entities == [b"c1"]


def test_a_purchase_without_offers_loads_none():
    store = Store("checkout")
    assert store.open().preload([completed(5, line("P", "a"))]).request.entities == [b"c1"]


def test_offers_are_forgotten_after_30_days_and_the_checkout_does_not_wait_for_them():
    days = RETENTION // DAY
    store, _ = told(shown(0), completed(5, line("P", "a"), checkout="c2"))
    later = completed(0, line("P", "a"), checkout="c3")
    after = NOW + (days + 5) * DAY
    store.run([msgspec.structs.replace(later, time=after, id="later")], after)
    shard = store.open()
    shard.advance(after + STEP)
    expired, _ = store.expired(shard)
    assert key_of(b"c1") in expired
    assert b"c2" in expired
    again = msgspec.structs.replace(shown(1, slot="again"), time=after)
    (step,) = store.run([again], after)
    assert step.result == "applied", "another first time"
