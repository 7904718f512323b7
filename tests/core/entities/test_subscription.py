"""A subscription from its events: trials, changes, renewals, restorations, additional products and refunds, in any order of arrival."""

import itertools

import msgspec
import pytest
from support.carts import item
from support.stories import Story

BASE = item("P1", 5, base=True)
PRO = item("Q1", 1, "80", base=True, product="P")
DAY = 24


def created(**more):
    story = Story()
    story.subscription("created", [BASE], id="made", **more)
    return story


def test_created_is_one_opportunity_and_one_transaction_judged_against_itself():
    story = created()
    assert story.judgement() == "known |  | 50.00 -> 50.00"
    counts = story.counts("subscription")
    assert (counts["opportunities"], counts["transactions"]) == (1, 1)


def test_a_second_created_changes_nothing():
    story = created()
    story.subscription("created", [PRO], at=1)
    assert story.counts("subscription")["opportunities"] == 1
    story.subscription("changed", [item("P1", 6, base=True)], at=2, id="up")
    assert story.judgement("up") == "known | upsell quantity 10.00 | 50.00 -> 60.00"


def test_created_with_an_explicit_intent_is_judged_against_it():
    story = created(intent=[item("P1", 3, base=True)])
    assert story.judgement() == "known | upsell quantity 20.00 | 30.00 -> 50.00"


def test_a_trial_is_an_opportunity_and_its_conversion_the_transaction():
    story = created(trialing=True)
    counts = story.counts("subscription")
    assert (counts["opportunities"], counts["transactions"]) == (1, 0)
    story.subscription("changed", [item("P1", 7, base=True)], at=1)
    story.subscription("trial_converted", [item("P1", 7, base=True)], at=2)
    assert story.judgement() == "known | upsell quantity 20.00 | 50.00 -> 70.00"
    counts = story.counts("subscription")
    assert (counts["opportunities"], counts["transactions"]) == (1, 1)


def test_a_conversion_of_a_paid_subscription_changes_nothing():
    story = created()
    story.subscription("trial_converted", [PRO], at=1)
    assert story.counts("subscription")["transactions"] == 1


def test_a_conversion_is_judged_against_the_explicit_intent_of_the_trial():
    story = created(trialing=True, intent=[item("P1", 4, base=True)])
    story.subscription("trial_converted", [BASE], at=2)
    assert story.judgement() == "known | upsell quantity 10.00 | 40.00 -> 50.00"


def test_a_conversion_without_created_is_judged_against_the_first_items():
    story = Story()
    story.subscription("changed", [item("P1", 4, base=True)], trialing=True)
    story.subscription("changed", [item("P1", 9, base=True)], at=1)
    story.subscription("trial_converted", [BASE], at=2)
    assert story.judgement() == "known | upsell quantity 10.00 | 40.00 -> 50.00"
    counts = story.counts("subscription")
    assert (counts["opportunities"], counts["transactions"]) == (0, 1)


def test_a_conversion_as_first_event_is_judged_against_its_previous_items():
    story = Story()
    story.subscription("change_scheduled", [PRO])
    story.subscription("trial_converted", [BASE], at=1)
    assert story.judgement() == "unknown |  | 0.00 -> 50.00"
    story = Story()
    story.subscription("trial_converted", [BASE], previous=[item("P1", 4, base=True)])
    assert story.judgement() == "known | upsell quantity 10.00 | 40.00 -> 50.00"


def test_a_free_plan_has_its_category_and_a_verdict():
    story = Story()
    story.subscription("created", [item("P1", 1, "10", base=True, category="plans")])
    story.subscription("changed", [item("F1", 1, "0", base=True, category="free")], at=1, id="down")
    assert story.judgement("down") == "known | downsell plan 10.00 | 10.00 -> 0.00"
    categories = story.offline.figures().slice("total", "subscription").categories
    assert {name: figures.plain()["kind_transactions"]["downsell"] for name, figures in categories.items()} == {
        "plans": 0,
        "free": 1,
    }


def test_a_change_is_one_opportunity_and_one_transaction():
    story = created()
    story.subscription("changed", [BASE, item("A1", 1, "7")], at=1, id="add")
    assert story.judgement("add") == "known | cross_sell addon 7.00 | 50.00 -> 57.00"
    counts = story.counts("subscription")
    assert (counts["opportunities"], counts["transactions"]) == (2, 2)


def test_a_scheduled_change_counts_nowhere_until_changed():
    story = created()
    story.subscription("change_scheduled", [PRO], at=1)
    assert story.counts("subscription")["opportunities"] == 1
    story.subscription("changed", [PRO], at=2, id="up")
    assert story.judgement("up") == "known | upsell plan 30.00 | 50.00 -> 80.00"


def test_a_renewal_with_the_same_plans_has_no_verdict():
    story = created()
    story.subscription("renewed", at=30 * DAY, id="plain")
    story.subscription("renewed", [item("P1", 5, "12", base=True)], at=60 * DAY, id="dearer")
    assert story.judgement("plain") == "known |  | 50.00 -> 50.00"
    assert story.judgement("dearer") == "known |  | 50.00 -> 60.00"


def test_a_renewal_with_other_quantities_is_judged_as_changed_and_once():
    story = created()
    story.subscription("renewed", [item("P1", 6, base=True)], at=30 * DAY, id="more")
    story.subscription("changed", [item("P1", 6, base=True)], at=30 * DAY + 1, id="again")
    assert story.judgement("more") == "known | upsell quantity 10.00 | 50.00 -> 60.00"
    assert story.judgement("again") == "known |  | 60.00 -> 60.00"


def test_a_return_to_the_initial_items_has_no_verdict():
    story = created()
    story.subscription("changed", [item("P1", 2, base=True)], at=1, id="down")
    story.subscription("changed", [BASE], at=30, id="back")
    story.subscription("changed", [item("P1", 6, base=True)], at=60, id="above")
    assert story.judgement("down") == "known | downsell quantity 30.00 | 50.00 -> 20.00"
    assert story.judgement("back") == "known |  | 20.00 -> 50.00"
    assert story.judgement("above") == "known | upsell quantity 10.00 | 50.00 -> 60.00"


def test_a_first_change_is_judged_against_its_previous_items():
    story = Story()
    story.subscription("changed", [PRO], previous=[BASE])
    assert story.judgement() == "known | upsell plan 30.00 | 50.00 -> 80.00"


def test_without_state_and_previous_the_intent_is_unknown():
    story = Story()
    story.subscription("changed", [PRO], id="first")
    story.subscription("changed", [BASE], at=1, id="second")
    assert story.judgement("first") == "unknown |  | 0.00 -> 80.00"
    assert story.judgement("second") == "known | downsell plan 30.00 | 80.00 -> 50.00"


def test_another_currency_is_incomparable_and_sets_new_initial_items():
    story = created()
    story.subscription("changed", [PRO], at=1, id="dollars", currency="USD")
    story.subscription("changed", [item("Q1", 2, "80", base=True, product="P")], at=2, id="more", currency="USD")
    assert story.judgement("dollars") == "incomparable |  | 0.00 -> 80.00"
    assert story.judgement("more") == "known | upsell quantity 80.00 | 80.00 -> 160.00"


def test_a_cancellation_is_no_transaction_and_a_return_is_judged_against_the_last_items():
    story = created()
    story.subscription("canceled", at=1)
    assert story.counts("subscription")["transactions"] == 1
    story.subscription("renewed", [item("P1", 6, base=True)], at=2, id="back")
    assert story.judgement("back") == "known | upsell quantity 10.00 | 50.00 -> 60.00"


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        ("other", "known | cross_sell additional_product 50.00 | 50.00 -> 50.00"),
        ("P", "known | upsell quantity 50.00 | 50.00 -> 50.00"),
    ],
)
def test_an_additional_product_of_a_customer_with_another_active_paid_subscription(product, expected):
    story = created()
    again = item("P1", 5, base=True, product=product)
    story.subscription("created", [again], at=1, id="second", subscription="s2")
    assert story.judgement("second") == expected


@pytest.mark.parametrize("spoiler", ["trial", "canceled", "other customer", "explicit intent"])
def test_no_additional_product(spoiler):
    story = created(trialing=spoiler == "trial")
    if spoiler == "canceled":
        story.subscription("canceled", at=1)
    more = {"customer": "bert"} if spoiler == "other customer" else {}
    if spoiler == "explicit intent":
        more = {"intent": [item("Z1", 1, "9", base=True)]}
    story.subscription("created", [item("Z1", 1, "9", base=True)], at=2, id="second", subscription="s2", **more)
    assert story.judgement("second") == "known |  | 9.00 -> 9.00"


def test_an_additional_product_is_not_restated_by_later_events_of_other_subscriptions():
    story = created()
    story.subscription("created", [item("Z1", 1, "9")], at=1, id="second", subscription="s2")
    story.subscription("canceled", at=0.5)
    story.subscription("changed", [item("Z1", 2, "9")], at=2, id="more", subscription="s2")
    assert story.judgement("second") == "known | cross_sell additional_product 9.00 | 9.00 -> 9.00"
    assert story.judgement("more") == "known | upsell quantity 9.00 | 9.00 -> 18.00"


def test_a_refund_reverses_the_newest_transaction_once():
    story = created()
    story.subscription("changed", [item("P1", 6, base=True)], at=1, id="up")
    story.subscription("refunded", at=2)
    story.subscription("refunded", at=3)
    assert story.results == ["applied"] * 4
    assert story.reversal("up") == "transaction upsell final=60.00 upsell=10.00"
    assert story.reversal("made") == ""


def test_a_refund_reverses_a_settled_transaction():
    story = created()
    story.subscription("changed", [item("P1", 6, base=True)], at=1, id="up")
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
    story.subscription("changed", [PRO], at=40)
    story.subscription("changed", [BASE], at=16)
    story.subscription("changed", [BASE], at=15.9)
    assert story.results == ["applied", "applied", "applied", "stale"]


def test_a_late_event_is_put_in_order_and_later_events_are_judged_again():
    story = created()
    story.subscription("changed", [item("P1", 8, base=True)], at=20, id="late news")
    assert story.judgement("late news") == "known | upsell quantity 30.00 | 50.00 -> 80.00"
    story.subscription("changed", [item("P1", 7, base=True)], at=10, id="came late")
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


def test_any_order_of_arrival_within_the_lateness_ends_in_the_same_figures():
    def apply_event(story, number):
        match number:
            case 0:
                story.subscription("created", [BASE], id="0", channel="web", trialing=True)
            case 1:
                story.subscription("trial_converted", [BASE], at=1, id="1", segment="x")
            case 2:
                story.subscription("changed", [PRO], at=2, id="2")
            case 3:
                story.subscription("refunded", at=3, id="3")
            case 4:
                story.subscription("changed", [PRO, item("A1")], at=4, id="4", channel="phone")
            case 5:
                story.subscription("canceled", at=5, id="5")

    ends = set()
    for order in itertools.permutations(range(6)):
        story = Story()
        for number in order:
            apply_event(story, number)
        judgements = tuple((name, story.judgement(name), story.reversal(name)) for name in ("1", "2", "4"))
        ends.add((repr(story.counts("subscription")), judgements))
    assert len(ends) == 1


def test_labels_are_those_of_the_event_or_else_the_newest_before_it():
    story = created(channel="web")
    story.subscription("changed", [PRO], at=1, id="up", segment="vip")
    assert (story.sales["up"].channel, story.sales["up"].segment) == ("web", "vip")
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
        story.subscription("changed", [item("P1", 6 + number, base=True)], at=number / 100)
    assert story.counts("subscription")["kind_transactions"]["upsell"] == 400


def test_a_settled_identity_is_a_duplicate_and_an_older_event_is_stale():
    story = created()
    for number in range(100):
        story.subscription("changed", [item("P1", 6 + number, base=True)], at=number / 100, id=f"up{number}")
    assert story.subscription("changed", [item("P1", 7, base=True)], at=1 / 100, id="up1").result == "duplicate"
    assert story.subscription("changed", [item("P1", 7, base=True)], at=1 / 100, id="new").result == "stale"
    assert story.subscription("changed", [item("P1", 105, base=True)], at=99 / 100, id="up99").result == "duplicate"
    assert story.counts("subscription")["transactions"] == 101


def test_a_repeated_identity_is_a_duplicate_also_much_later():
    story = created()
    story.subscription("changed", [PRO], at=3 * DAY)
    assert story.subscription("changed", [BASE], at=9 * DAY, id="made").result == "duplicate"
    assert story.counts("subscription")["transactions"] == 2


def test_the_largest_amounts_of_a_subscription_can_be_stored():
    story = Story()
    story.subscription("created", [item("P1", 10**9, "0.01", base=True)])
    story.subscription("changed", [item("P1", 1, "1000000000000", base=True)], at=1, id="down")
    assert story.judgement("down") == ("known | downsell quantity 1000000000000.00 | 10000000.00 -> 1000000000000.00")
    assert msgspec.msgpack.encode(story.offline.figures().select("total", "subscription").revenue["EUR"])
