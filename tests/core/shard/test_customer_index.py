import pytest
from support.carts import item
from support.contributions import sale

from stream.core.config import DAY, NEVER, CoreConfig
from stream.core.entities.assessment import ANY, UPSELL
from stream.core.entities.customer import CANCELED, Canceled
from stream.core.event import SubscriptionEvent, SubscriptionType
from stream.core.shard.customer_index import CustomerIndex
from stream.core.shard.event_time import EventTime

NOW = 20_000 * DAY


def index(*members, **settings):
    config = CoreConfig(**settings)
    one = CustomerIndex(config, EventTime(config, NEVER, NEVER), set())
    for member in members:
        one.records.load(member, None)
    one.advance(NOW)
    return one


def scores(one, name):
    return dict(one.scores().get(name, {}))


def test_a_purchase_scores_its_customer_in_the_sets_of_its_kinds_and_labels():
    one = index(b"anna")
    one.purchase(None, sale(member=b"anna", time=NOW, kinds=UPSELL | ANY))
    written = one.drain(10**6)
    assert set(written.scores) == {
        f"{kind}|{place}".encode()
        for kind in ("all", "upsell", "any")
        for place in ("all|all", "channel|web", "segment|new")
    }
    assert all(members == {b"anna": NOW} for members in written.scores.values())
    assert one.sets_changed


def test_the_newest_purchase_is_the_score():
    one = index(b"anna")
    for key, time in ((b"1", NOW - 5), (b"2", NOW), (b"3", NOW - 9)):
        one.purchase(None, sale(key=key, member=b"anna", time=time))
    assert scores(one, b"all|all|all") == {b"anna": NOW}


def test_a_withdrawn_purchase_leaves_the_score_of_the_one_before_and_then_none():
    one = index(b"anna")
    first, second = (sale(key=key, member=b"anna", time=time) for key, time in ((b"1", NOW - 5), (b"2", NOW)))
    for each in (first, second):
        one.purchase(None, each)
    one.purchase(second, None)
    assert scores(one, b"all|all|all") == {b"anna": NOW - 5}
    one.purchase(first, None)
    assert scores(one, b"all|all|all") == {b"anna": None}
    assert one.drain(10**6).customers == {b"anna": None}, "an empty record is deleted"


def test_a_purchase_that_becomes_another_customers_moves():
    one = index(b"anna", b"bert")
    before = sale(member=b"anna", time=NOW)
    one.purchase(None, before)
    one.purchase(before, sale(member=b"bert", time=NOW))
    assert scores(one, b"all|all|all") == {b"anna": None, b"bert": NOW}


def test_purchases_that_no_window_holds_score_nothing():
    one = index(b"anna")
    one.purchase(None, sale(member=b"anna", time=one.counted_after))
    assert scores(one, b"all|all|all") == {}
    assert index(forget_customers=False).counted_after == NEVER


def test_a_record_may_be_removed_when_its_purchase_left_the_windows_and_no_entity_holds_its_id():
    one = index(b"anna")
    one.purchase(None, sale(member=b"anna", time=NOW))
    assert one.drain(10**6).customer_expiry == {b"anna": NOW + one.horizon}
    one.link(b"anna", "c1", 20_100)
    assert one.drain(10**6).customer_expiry == {b"anna": 20_100 * DAY}
    one.link(b"anna", "s1", None)
    assert one.drain(10**6).customer_expiry == {b"anna": None}
    one.unlink(b"anna", "s1")
    one.unlink(b"anna", "c1")
    assert one.drain(10**6).customer_expiry == {b"anna": NOW + one.horizon}


def test_active_subscriptions_are_listed_under_one_customer():
    one = index(b"anna", b"bert")
    one.set_active("s1", b"", b"anna", "app")
    one.set_active("s2", b"", b"anna", "storage")
    assert one.active_products(b"anna", "s3") == ("app", "storage")
    assert one.active_products(b"anna", "s1") == ("storage",)
    one.set_active("s1", b"anna", b"bert", "app")
    assert (one.active_products(b"anna", ""), one.active_products(b"bert", "")) == (("storage",), ("app",))
    one.set_active("s1", b"bert", b"", "")
    assert one.active_products(b"bert", "") == ()


def canceled(time, currency="EUR"):
    return Canceled(time, currency, (item("P1"),), (item("P1"),))


def cancel(one, name, time, *, again=True, currency="EUR"):
    one.set_canceled(name, b"anna", b"anna", canceled(time, currency), again=again)
    one.link(b"anna", name, NOW // DAY + 400)


def created(time, entity="new", currency="EUR"):
    return SubscriptionEvent(SubscriptionType.CREATED, "shop", "e", time, 0, entity, "anna", currency)


def found(one, member, event):
    return list(one.canceled_before(member, event))


@pytest.mark.parametrize(
    ("time", "entity", "currency", "expected"),
    [
        (NOW, "new", "EUR", ["s1"]),
        (NOW + DAY, "new", "EUR", ["s1"]),
        (NOW + DAY + 1, "new", "EUR", []),
        (NOW - 1, "new", "EUR", []),
        (NOW, "s1", "EUR", []),
        (NOW, "new", "USD", []),
    ],
    ids=["at once", "24 hours later", "later", "before it", "the same subscription", "another currency"],
)
def test_which_canceled_subscriptions_a_new_one_continues(time, entity, currency, expected):
    one = index(b"anna", b"bert")
    cancel(one, "s1", NOW)
    assert found(one, b"anna", created(time, entity, currency)) == expected
    assert found(one, b"bert", created(time, entity, currency)) == []


def test_canceled_subscriptions_are_continued_in_order_of_cancellation():
    one = index(b"anna")
    for name, time in (("s3", NOW), ("s2", NOW - 5), ("s1", NOW)):
        cancel(one, name, time)
    assert found(one, b"anna", created(NOW)) == ["s2", "s1", "s3"]


def test_a_continued_subscription_is_listed_only_when_it_is_canceled_again():
    one = index(b"anna")
    cancel(one, "s1", NOW)
    one.set_canceled("s1", b"anna", b"anna", canceled(NOW, "USD"))
    assert found(one, b"anna", created(NOW, currency="USD")) == ["s1"], "what was listed changes"
    one.set_canceled("s1", b"anna", b"anna", None)
    one.set_canceled("s1", b"anna", b"anna", canceled(NOW))
    assert found(one, b"anna", created(NOW)) == []
    cancel(one, "s1", NOW)
    assert found(one, b"anna", created(NOW)) == ["s1"]


def test_a_canceled_subscription_is_listed_under_one_customer():
    one = index(b"anna", b"bert")
    cancel(one, "s1", NOW)
    one.set_canceled("s1", b"anna", b"bert", canceled(NOW))
    one.unlink(b"anna", "s1")
    one.link(b"bert", "s1", NOW // DAY + 400)
    assert (found(one, b"anna", created(NOW)), found(one, b"bert", created(NOW))) == ([], ["s1"])
    assert one.drain(10**6).customers[b"anna"] is None, "an empty record is deleted"
    one.set_canceled("s1", b"bert", b"anna", None)
    assert found(one, b"bert", created(NOW)) == []


def test_a_subscription_that_is_forgotten_is_not_continued():
    one = index(b"anna", lateness=0)
    one._time.advance(NOW + DAY)
    cancel(one, "s1", NOW - 5)
    one.link(b"anna", "s1", NOW // DAY - 1)
    assert found(one, b"anna", created(NOW)) == ["s1"]
    one._time.observe(NOW)
    assert found(one, b"anna", created(NOW)) == []


def test_a_bounded_number_of_canceled_subscriptions_is_listed_and_none_that_is_forgotten():
    one = index(b"anna", lateness=0)
    for number in range(CANCELED + 4):
        cancel(one, f"s{number}", NOW + number)
    assert found(one, b"anna", created(NOW + DAY)) == [f"s{number}" for number in range(4, CANCELED + 4)]
    for number in range(CANCELED + 4):
        one.link(b"anna", f"s{number}", NOW // DAY + 1)
    one._time.advance(NOW + 3 * DAY)
    one._time.observe(NOW + 3 * DAY)
    cancel(one, "last", NOW + 3 * DAY)
    assert list(one.records.get(b"anna").canceled) == ["last"]


def test_a_renamed_customer_has_the_scores_and_nothing_is_left_under_the_old_name():
    one = index(b"anna", b"erased")
    one.purchase(None, sale(member=b"anna", time=NOW))
    cancel(one, "s1", NOW)
    one.drain(10**6)
    record = one.records.get(b"anna")
    one.rename(b"anna", b"erased", record)
    one.put(b"erased", record)
    written = one.drain(10**6)
    assert written.scores[b"all|all|all"] == {b"anna": None, b"erased": NOW}
    assert written.customers[b"anna"] is None
    assert written.customers[b"erased"]
    assert found(one, b"erased", created(NOW)) == ["s1"]
    assert found(one, b"anna", created(NOW)) == []
