from support.sales import LINES, line, version

from stream.observe.sales import KEPT, SHOWN, NewestSales

SHARD = ("checkout-events", 0)


def sales_of(*versions):
    sales = NewestSales()
    sales.add(*SHARD, versions)
    return sales.newest()


def test_newest_first_by_their_own_time():
    early, late = (version(time, kinds=["upsell"], time=f"2026-01-0{time}T00:00:00Z") for time in "12")
    assert [sale.time[:10] for sale in sales_of(late, early)] == ["2026-01-02", "2026-01-01"]


def test_only_upsells_and_cross_sells_are_flagged():
    assert sales_of(version("a", kinds=["downsell"]), version("b", kinds=["restored"]), version("c")) == []
    [sale] = sales_of(version(kinds=["cross_sell", "downsell"], lines=LINES))
    assert (sale.kinds, sale.products) == (["cross_sell"], ["bag", "<b>belt</b>"])


def test_a_new_version_replaces_the_older_one():
    [sale] = sales_of(version(kinds=["upsell"]), version(kinds=["upsell"], reversed_kinds=["upsell"], upsell="3.00"))
    assert (sale.upsell, sale.reversed) == ("3.00", True)
    assert sales_of(version(kinds=["upsell"]), version(kinds=[])) == []
    assert sales_of(version(kinds=["upsell"]), version(kinds=["upsell"], withdrawn=True)) == []


def test_it_is_bounded_in_number_and_size():
    many = [
        version(str(number), kinds=["upsell"], time=f"2026-01-02T03:04:05.{number:06}Z") for number in range(2 * KEPT)
    ]
    assert [sale.time[20:26] for sale in sales_of(*many)] == [f"{2 * KEPT - 1 - place:06}" for place in range(SHOWN)]
    [sale] = sales_of(version(kinds=["upsell"], lines=[line("upsell", letter * 1000) for letter in "abcdef"]))
    assert [len(name) for name in sale.products] == [80, 80, 80]


def test_a_shard_that_moves_away_has_no_sales():
    sales = NewestSales()
    for partition in (0, 1):
        sales.add("checkout-events", partition, [version(kinds=["upsell"], upsell=f"{partition}.00")])
    sales.drop_shard("checkout-events", 0)
    assert [sale.upsell for sale in sales.newest()] == ["1.00"]
