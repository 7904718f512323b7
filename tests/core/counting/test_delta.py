from support.contributions import SECOND, sale

from stream.core.config import DEFAULT_WINDOWS, Window
from stream.core.counting.cells import CATEGORY, MONEY, SALES
from stream.core.counting.delta import Delta
from stream.core.entities.assessment import Amounts, Loss, Opportunity


def test_a_slice_lies_within_one_pane_of_every_window():
    assert Delta(DEFAULT_WINDOWS).slice == 5 * SECOND
    assert Delta((Window.parse("7m"), Window.parse("1h"))).slice == SECOND


def test_sales_that_look_alike_are_one_vector():
    delta = Delta(DEFAULT_WINDOWS)
    delta.opportunity(Opportunity(7 * SECOND, "web", "new"), 1)
    delta.sale(sale(), 1)
    delta.sale(sale(loss=Loss(True, 0b1001, Amounts(final=120))), 1)
    delta.sale(sale(intent=1, kinds=0, currency="", categories=()), 1)
    restored = Amounts(initial=100, restored=30, final=130)
    delta.sale(
        sale(
            kinds=0b10000,
            amounts=restored,
            categories=(("shoes", 0b10000),),
            loss=Loss(False, 0b10000, Amounts(restored=30, final=30)),
        ),
        1,
    )
    slices, quarters = delta.drain()
    assert quarters == {}, "contributions of versions before the history"
    assert slices == {
        2: {
            (SALES, "web", "new"): [1, 4, 2, 0, 0, 2, 1, 1, 0, 0, 1, 3, 1, 0, 1, 1, 1],
            (MONEY, "web", "new", "EUR"): [300, 40, 0, 0, 370, 370, 150, 30, 240, 130],
            (CATEGORY, "shoes"): [3, 2, 0, 0, 2, 1],
        }
    }
    assert delta.drain() == ({}, {})


def test_restored_of_a_transaction_without_known_intent_is_in_no_amount():
    delta = Delta(DEFAULT_WINDOWS)
    delta.sale(sale(intent=2, kinds=0, amounts=Amounts(restored=30, final=130), categories=()), 1)
    assert delta.drain()[0][2][MONEY, "web", "new", "EUR"] == [0, 0, 0, 0, 0, 130, 0, 0, 0, 0]


def test_an_added_and_subtracted_sale_leaves_nothing():
    delta = Delta(DEFAULT_WINDOWS)
    for sign in (1, -1):
        delta.opportunity(Opportunity(SECOND, "web", "new"), sign)
        delta.sale(sale(), sign)
    assert not any(any(cells.values()) for cells in delta.drain())
