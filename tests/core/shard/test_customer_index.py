from support.contributions import sale

from stream.core.config import DAY, NEVER, CoreConfig
from stream.core.entities.assessment import ANY, UPSELL
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


def test_a_renamed_customer_has_the_scores_and_nothing_is_left_under_the_old_name():
    one = index(b"anna", b"erased")
    one.purchase(None, sale(member=b"anna", time=NOW))
    one.drain(10**6)
    record = one.records.get(b"anna")
    one.rename(b"anna", b"erased", record)
    one.put(b"erased", record)
    written = one.drain(10**6)
    assert written.scores[b"all|all|all"] == {b"anna": None, b"erased": NOW}
    assert written.customers[b"anna"] is None
    assert written.customers[b"erased"]
