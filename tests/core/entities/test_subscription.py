"""A history of events in any order of arrival: what is put in order, settled, stale, forgotten. What each event means is in `test_history.py`."""

import random

import msgspec
from support.carts import item
from support.stories import Story

BASE = item("P1", 5, base=True)
PRO = item("Q1", 1, "80", base=True, product="P")
DAY = 24
LATENESS = 72
"""Hours."""


def created(**more):
    story = Story()
    story.subscription("created", [BASE], id="made", **more)
    return story


def seats(quantity):
    return [item("P1", quantity, base=True)]


def test_categories_have_the_kinds_of_their_own_items_and_what_was_removed_has_none():
    story = Story()
    addon = item("A1", 1, "3", product="addon", category="addons")
    story.subscription("created", [item("P1", 1, "10", base=True, category="plans"), addon])
    story.subscription("changed", [item("F1", 1, "4", base=True, category="small")], at=1, id="down")
    assert story.judgement("down") == "known | downsell plan 6.00, downsell removed 3.00 | 13.00 -> 4.00"
    story.subscription("changed", [item("P1", 1, "10", base=True, category="plans")], at=2, id="back")
    assert story.judgement("back") == "known | restored restored 6.00 | 4.00 -> 10.00"
    categories = story.offline.figures().slice("total", "subscription").categories
    kinds = {name: figures.plain()["kind_transactions"] for name, figures in categories.items()}
    assert {name: (each["downsell"], each["restored"], each["any"]) for name, each in kinds.items()} == {
        "plans": (0, 1, 0),
        "addons": (0, 0, 0),
        "small": (1, 0, 0),
    }


def test_a_refund_reverses_a_settled_transaction():
    story = created()
    story.subscription("changed", seats(6), at=1, id="up")
    story.subscription("change_scheduled", [BASE], at=100)
    story.subscription("refunded", at=200)
    assert story.reversal("up") == "transaction upsell final=60.00 upsell=10.00"
    assert story.sales["up"].version == 2


def test_a_refund_before_any_transaction_is_unmatched_until_there_is_one():
    story = Story()
    story.subscription("refunded", at=2)
    assert story.results == ["unmatched"]
    story.subscription("created", [BASE], at=1, id="made")
    assert story.reversal("made") == "transaction final=50.00"


def test_an_event_older_than_the_lateness_is_stale():
    story = created()
    story.subscription("changed", [PRO], at=28 + LATENESS)
    story.subscription("changed", seats(6), at=28)
    story.subscription("changed", seats(7), at=27.9)
    assert story.results == ["applied", "applied", "applied", "stale"]


def test_a_late_event_is_put_in_order_and_later_events_are_judged_again():
    story = created()
    story.subscription("changed", seats(8), at=20, id="late news")
    assert story.judgement("late news") == "known | upsell quantity 30.00 | 50.00 -> 80.00"
    story.subscription("changed", seats(7), at=10, id="came late")
    assert story.judgement("came late") == "known | upsell quantity 20.00 | 50.00 -> 70.00"
    assert story.judgement("late news") == "known | upsell quantity 10.00 | 70.00 -> 80.00"
    counts = story.counts("subscription")
    assert counts["kind_transactions"]["upsell"] == 2
    assert counts["revenue"]["EUR"]["upsell"] == "30.00"


def test_a_late_event_can_withdraw_a_transaction():
    story = Story()
    story.subscription("trial_converted", [BASE], at=2, id="conversion", intent=[PRO])
    assert story.sale().kinds == ["downsell"]
    step = story.subscription("created", [PRO], at=1, id="paid already")
    assert [(each.judged.event_id, each.judged.version) for each in step.versions if each.withdrawn] == [
        ("conversion", 2)
    ]
    assert [each.judged.kinds for each in step.versions if each.publish] == [[]]
    counts = story.counts("subscription")
    assert counts["transactions"] == 1
    assert counts["kind_transactions"]["downsell"] == 0
    assert counts["customers"] == {"all": 1, "upsell": 0, "cross_sell": 0, "any": 0}


def test_a_late_event_can_leave_nothing_to_change():
    story = created()
    story.subscription("changed", seats(6), at=20, id="repeated")
    assert story.judgement("repeated") == "known | upsell quantity 10.00 | 50.00 -> 60.00"
    step = story.subscription("changed", seats(6), at=10, id="up")
    assert (step.result, set(story.sales)) == ("applied", {"made", "up"})
    assert [version.judged.event_id for version in step.versions if version.withdrawn] == ["repeated"]
    counts = story.counts("subscription")
    assert (counts["opportunities"], counts["transactions"], counts["kind_transactions"]["upsell"]) == (2, 2, 1)


def test_a_late_event_leaves_a_swap_as_it_was_read():
    story = created()
    story.subscription("canceled", at=10)
    story.subscription("created", [PRO], at=20, id="swap", subscription="s2")
    story.subscription("changed", [PRO, item("A1", 1, "7")], at=40, id="add", subscription="s2")
    story.subscription("changed", seats(4), at=30, id="late", subscription="s2")
    assert story.judgement("swap") == "known | upsell plan 30.00 | 50.00 -> 80.00"
    assert story.judgement("late") == "known | downsell plan 40.00 | 80.00 -> 40.00"
    assert story.judgement("add") == (
        "known | upsell plan 30.00, restored restored 10.00, cross_sell addon 7.00 | 40.00 -> 87.00"
    )


def test_equal_times_are_ordered_by_entityversion_then_type_then_id():
    story = Story()
    story.subscription("refunded", id="1", version=2)
    story.subscription("changed", seats(8), id="4", version=2)
    story.subscription("changed", seats(7), id="3", version=2)
    story.subscription("changed", seats(6), id="9", version=1)
    story.subscription("created", [BASE], id="5", version=1)
    assert [story.judgement(name) for name in ("5", "9", "3", "4")] == [
        "known |  | 50.00 -> 50.00",
        "known | upsell quantity 10.00 | 50.00 -> 60.00",
        "known | upsell quantity 10.00 | 60.00 -> 70.00",
        "known | upsell quantity 10.00 | 70.00 -> 80.00",
    ]
    assert story.reversal("4") == "transaction upsell final=80.00 upsell=10.00"


def test_shares_of_a_settled_transaction_add_up():
    story = created()
    story.subscription("refunded", at=1, refund=("r", "0.5"))
    story.subscription("change_scheduled", [PRO], at=100)
    for at, name in ((101, "r"), (102, "s")):
        story.subscription("refunded", at=at, refund=(name, "0.25"))
    assert story.reversal("made") == "final=37.50"
    story.subscription("refunded", at=300, refund=("t", "0.25"))
    assert story.reversal("made") == "transaction final=50.00"
    assert [version.judged.version for version in story.subscription("refunded", at=301).versions] == []
    assert story.counts("subscription")["reversed_transactions"]["all"] == 1


def test_any_order_of_arrival_within_the_lateness_ends_in_the_same_figures():
    events = [
        ("created", [BASE], {"channel": "web", "trialing": True, "previous": seats(4)}),
        ("trial_converted", [BASE], {"segment": "x"}),
        ("changed", [PRO], {}),
        ("refunded", None, {"refund": ("r", "0.3")}),
        ("refunded", None, {"refund": ("r", "0.5")}),
        ("changed", [PRO, item("A1")], {"channel": "phone"}),
        ("changed", [], {}),
        ("renewed", None, {"at": 40}),
    ]
    ends, orders = set(), random.Random(2)
    for _ in range(100):
        story = Story()
        for number in orders.sample(range(len(events)), len(events)):
            kind, items, more = events[number]
            story.subscription(kind, items, **{"at": number, "id": str(number)} | more)
        judgements = tuple((name, story.judgement(name), story.reversal(name)) for name in sorted(story.sales))
        ends.add((repr(story.counts("subscription")), judgements))
    ((_, judgements),) = ends
    assert judgements == (
        ("1", "known | upsell quantity 10.00 | 40.00 -> 50.00", ""),
        ("2", "known | upsell plan 30.00 | 50.00 -> 80.00", "final=24.00 upsell=9.00"),
        ("5", "known | cross_sell addon 10.00 | 80.00 -> 90.00", ""),
        ("7", "known |  | 90.00 -> 90.00", ""),
    )


def test_labels_are_those_of_the_event_or_else_the_newest_before_it():
    story = created(channel="web")
    story.subscription("changed", [PRO], at=1, id="up", segment="vip")
    assert (story.sales["up"].channel, story.sales["up"].segment) == ("web", "vip")
    assert (story.sales["made"].channel, story.sales["made"].segment) == ("web", None)


def test_labels_of_a_change_that_changes_nothing_are_taken_over():
    story = created(channel="web")
    assert story.subscription("changed", [BASE], at=1, channel="phone", segment="vip").result == "unchanged"
    story.subscription("changed", seats(6), at=2, id="up")
    assert (story.sales["up"].channel, story.sales["up"].segment) == ("phone", "vip")
    assert (story.sales["made"].channel, story.sales["made"].segment) == ("web", None)


def test_an_ended_subscription_expires_400_days_after_its_end_and_an_active_one_never():
    story = created()
    story.subscription("renewed", at=500 * DAY, id="still here")
    assert story.judgement("still here") == "known |  | 50.00 -> 50.00"
    story.subscription("canceled", at=501 * DAY)
    story.subscription("changed", [PRO], at=902 * DAY, id="stranger")
    assert story.judgement("stranger") == "unknown |  | 0.00 -> 80.00"


def test_many_events_settle_the_oldest_early_and_all_count():
    story = created()
    for number in range(400):
        story.subscription("changed", seats(6 + number), at=number / 100)
    assert story.counts("subscription")["kind_transactions"]["upsell"] == 400


def test_a_settled_identity_is_a_duplicate_and_an_older_event_is_stale():
    story = created()
    for number in range(100):
        story.subscription("changed", seats(6 + number), at=number / 100, id=f"up{number}")
    assert story.subscription("changed", seats(7), at=1 / 100, id="up1").result == "duplicate"
    assert story.subscription("changed", seats(7), at=1 / 100, id="new").result == "stale"
    assert story.subscription("changed", seats(105), at=99 / 100, id="up99").result == "duplicate"
    assert story.counts("subscription")["transactions"] == 101


def test_a_repeated_identity_is_a_duplicate_also_much_later():
    story = created()
    story.subscription("changed", [PRO], at=3 * DAY)
    assert story.subscription("changed", [BASE], at=9 * DAY, id="made").result == "duplicate"
    assert story.counts("subscription")["transactions"] == 2


def test_the_largest_amounts_of_a_subscription_can_be_stored():
    story = Story()
    largest = item("P1", 1, "1000000000000", base=True)
    story.subscription("created", [largest])
    story.subscription("changed", [item("Q1", 10**9, "0.01", base=True)], at=1, id="down")
    story.subscription("changed", [largest], at=2, id="back")
    story.subscription("refunded", at=3, refund=("r", "0.9999999999"))
    assert story.judgement("down") == "known | downsell plan 999990000000.00 | 1000000000000.00 -> 10000000.00"
    assert story.judgement("back") == "known | restored restored 999990000000.00 | 10000000.00 -> 1000000000000.00"
    assert story.reversal("back") == "final=999999999900.00 restored=999989999900.00"
    assert msgspec.msgpack.encode(story.offline.figures().select("total", "subscription").revenue["EUR"])
