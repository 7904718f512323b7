from stream.core.config import DEFAULT_WINDOWS, Window
from stream.core.counting.cells import CATEGORY, MONEY, SALES
from stream.core.counting.delta import Bookings
from stream.core.entities.assessment import NO_LOSS, Amounts, Loss, Opportunity, Sale

SECOND = 1_000_000


def sale(time=7 * SECOND, **parts):
    given = {
        "key": b"k", "member": b"m", "time": time, "channel": "web", "segment": "new", "currency": "EUR", "intent": 0,
        "kinds": 0b1001, "amounts": Amounts(100, 20, 0, 0, 120), "categories": (("shoes", 0b1001),), "loss": NO_LOSS,
    }  # fmt: skip
    return Sale(**{**given, **parts})


def test_a_slice_lies_within_one_pane_of_every_window():
    assert Bookings(DEFAULT_WINDOWS).slice == 5 * SECOND
    assert Bookings((Window.parse("7m"), Window.parse("1h"))).slice == SECOND


def test_sales_that_look_alike_are_one_vector():
    bookings = Bookings(DEFAULT_WINDOWS)
    bookings.opportunity(Opportunity(7 * SECOND, "web", "new"), 1)
    bookings.sale(sale(), 1)
    bookings.sale(sale(loss=Loss(True, 0b1001, Amounts(final=120))), 1)
    bookings.sale(sale(intent=1, kinds=0, currency="", categories=()), 1)
    assert bookings.take() == {
        2: {
            (SALES, "web", "new"): [1, 3, 2, 0, 0, 2, 1, 1, 0, 0, 1, 2, 1, 0],
            (MONEY, "web", "new", "EUR"): [200, 40, 0, 0, 240, 240, 120],
            (CATEGORY, "shoes"): [2, 2, 0, 0, 2],
        }
    }
    assert bookings.take() == {}


def test_what_was_booked_and_taken_back_leaves_nothing():
    bookings = Bookings(DEFAULT_WINDOWS)
    for sign in (1, -1):
        bookings.opportunity(Opportunity(SECOND, "web", "new"), sign)
        bookings.sale(sale(), sign)
    assert not any(bookings.take().values())
