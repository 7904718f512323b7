"""The offers of one entity: which event counts, which places there are, what a transaction accepts."""

from itertools import permutations

import msgspec
import pytest

from stream.core.entities.offers import MOST, VERDICTS, Carried, Offer, Offers, Transaction, accepted, find, note, peek
from stream.core.event import OfferEvent
from stream.core.money import ONE

EUR = 2


def event(time, *, shown=True, id="e1", version=0, slot="cart"):
    return OfferEvent("checkout", "c1", shown, "offer", slot, time, version, id, "shop")


def carried(offer="offer", verdict="upsell", gross=1000, kept=None):
    return Carried(offer, VERDICTS.index(verdict), gross, gross if kept is None else kept)


def test_the_first_time_in_the_order_of_facts_counts_however_they_arrive():
    events = [event(2, id="b", slot="late"), event(1, id="c", version=1, slot="second"), event(1, id="d", slot="first")]
    for order in permutations(events):
        offer = Offer("offer")
        for each in order:
            note(offer, each)
        assert offer.key() == ("offer", "first")
        assert offer.shown[0] == 1


def test_a_second_time_and_a_repeated_delivery_change_nothing():
    offer = Offer("offer")
    assert note(offer, event(2))
    assert not note(offer, event(2)), "repeated"
    assert not note(offer, event(1)), "repeated, with another body: the identity is that of the one that counts"
    assert not note(offer, event(3, id="e2"))
    assert note(offer, event(1, id="e3"))


def test_an_offer_that_was_only_declined_has_the_slot_of_that():
    offer = Offer("offer")
    note(offer, event(1, shown=False, slot="exit"))
    assert offer.key() == ("offer", "exit")
    note(offer, event(2, id="e2", slot=None))
    assert offer.key() == ("offer", "unknown"), "shown, nobody said where"


def test_beyond_64_offers_an_entity_has_the_one_offer_other():
    record = Offers(0, [])
    for number in range(MOST):
        find(record, f"offer-{number}")
    assert peek(record, "one more") is None
    assert find(record, "one more").id == "other"
    assert find(record, "yet another") is find(record, "one more") is peek(record, "a third")
    assert find(record, "offer-3").id == "offer-3"
    assert len(record.offers) == MOST + 1


def test_the_name_other_takes_no_place():
    record = Offers(0, [])
    find(record, "other")
    for number in range(MOST):
        assert find(record, f"offer-{number}").id != "other"


def test_the_first_transaction_that_has_an_offer_accepts_it():
    record = Offers(0, [])
    first, second = (Transaction(name, 1, "EUR", EUR, [carried()]) for name in (b"1", b"2"))
    (one,) = accepted(record, (), (), [first, second])
    assert (one.transaction, one.slot) == (b"1", "unknown")
    (other,) = accepted(record, (one,), (), [first._replace(offers=()), second])
    assert other.transaction == b"2", "the first one has it no more"
    (kept,) = accepted(record, (one,), (one,), [second])
    assert kept == one, "the first one can change no more"


def test_a_slot_that_was_counted_stays_where_the_record_of_offers_was_forgotten():
    record = Offers(0, [])
    note(find(record, "offer"), event(1))
    transaction = Transaction(b"1", 1, "EUR", EUR, [carried()])
    before = accepted(record, (), (), [transaction])
    assert before[0].slot == "cart"
    assert accepted(Offers(9, []), before, (), [transaction]) == before


def test_offers_beyond_the_bound_are_accepted_as_one_with_exact_sums():
    record = Offers(0, [Offer(f"offer-{number}") for number in range(MOST)])
    third = Carried.of("x", VERDICTS.index("nothing"), ONE // 3, ONE // 3, EUR, is_reversed=False)
    offers = [third, msgspec.structs.replace(third, offer="y"), msgspec.structs.replace(third, offer="z")]
    (other,) = accepted(record, (), (), [Transaction(b"1", 1, "EUR", EUR, offers)])
    assert (other.offer, other.carried.gross, other.carried.kept) == ("other", 100, 100)


@pytest.mark.parametrize(
    ("share", "kept", "is_reversed"), [(0, 833, False), (ONE // 2, 417, False), (ONE, 0, True), (2 * ONE, 0, True)]
)
def test_a_share_is_taken_from_the_exact_amount(share, kept, is_reversed):
    whole = Carried.of("x", 0, ONE * 25 // 3, ONE * 25 // 3, EUR, is_reversed=False)
    left = whole.lost(share, EUR)
    assert (left.gross, left.kept, left.reversed) == (833, kept, is_reversed)
