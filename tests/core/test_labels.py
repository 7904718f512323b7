import pytest
from support.carts import item, line

from stream.core.event import CheckoutEvent, CheckoutType, SubscriptionEvent, SubscriptionType
from stream.core.labels import BOUNDS, OTHER, UNKNOWN, LabelRegistry


def cart(*categories, channel=None, segment=None, currency="EUR"):
    products = tuple(line("P", "a", category=category) for category in categories)
    return CheckoutEvent(
        CheckoutType.STARTED, "s", "i", 0, 0, "c", "anna", currency, products, channel=channel, segment=segment
    )


def plans(**parts):
    return SubscriptionEvent(SubscriptionType.RENEWED, "s", "i", 0, 0, "sub", "anna", "EUR", **parts)


def test_values_are_registered_first_come_first_served_up_to_the_bound():
    registry = LabelRegistry()
    assert not registry.may_overflow
    registry.register([("channel", f"c{number}") for number in range(BOUNDS["channel"] + 1)])
    assert registry.may_overflow
    assert registry.label("channel", "c7") == "c7"
    assert registry.label("channel", "c8") == OTHER
    assert not registry.is_unregistered("channel", "c8"), "it can get no place any more"


@pytest.mark.parametrize("value", [None, "", OTHER, UNKNOWN])
def test_values_without_a_place_are_never_requested(value):
    registry = LabelRegistry()
    assert not registry.is_unregistered("segment", value)
    assert registry.unregistered([cart(value, channel=value, segment=value)]) == [("currency", "EUR")]


def test_absent_and_unknown_count_as_unknown():
    assert [LabelRegistry().label("channel", value) for value in (None, UNKNOWN, OTHER)] == [UNKNOWN, UNKNOWN, OTHER]


def test_labels_are_requested_once_in_order_of_appearance():
    events = [cart("hats", "shoes", "hats", channel="web"), cart("care", "hats", segment="new", currency="USD")]
    registry = LabelRegistry()
    expected = [
        ("channel", "web"), ("currency", "EUR"), ("category", "hats"), ("category", "shoes"), ("segment", "new"),
        ("currency", "USD"), ("category", "care"),
    ]  # fmt: skip
    assert registry.unregistered(events) == expected
    registry.register(expected)
    assert registry.unregistered(events) == []
    assert registry.without_series(events[0]) == []


def test_categories_of_previous_items_count_where_an_event_has_no_items():
    registry = LabelRegistry({"currency": ["EUR"]})
    before, after = (item("P", category="before"),), (item("P", category="after"),)
    assert registry.unregistered([plans(previous=before)]) == [("category", "before")]
    assert registry.unregistered([plans(previous=before, items=after)]) == [("category", "after")]
    assert registry.unregistered([plans(previous=before, items=())]) == []


def test_a_list_in_the_settings_closes_its_name():
    registry = LabelRegistry({"segment": ["vip"], "channel": []})
    assert registry.may_overflow
    assert registry.bounds().keys() == {"channel", "category", "currency"}
    assert not registry.is_unregistered("segment", "new")
    assert [registry.label("segment", value) for value in ("vip", "new", None)] == ["vip", OTHER, UNKNOWN]
    assert registry.without_series(cart(segment="new"))[0] == ("segment", "new")


def test_a_list_beyond_the_bound_is_refused():
    with pytest.raises(ValueError, match="9 values for channel, at most 8 are allowed"):
        LabelRegistry({"channel": map(str, range(9))})


def test_the_registry_of_the_application_replaces_what_is_known():
    registry = LabelRegistry({"segment": ["vip"]})
    registry.register([("channel", "web")])
    registry.update({"channel": ["app"], "segment": ["new"]})
    assert [registry.label("channel", value) for value in ("web", "app")] == [OTHER, "app"]
    assert registry.label("segment", "vip") == "vip"


def test_what_the_application_lost_is_found():
    registry = LabelRegistry({"segment": ["vip"]})
    registry.register([("channel", "web"), ("channel", "app"), ("currency", "EUR")])
    assert registry.missing_from({"channel": ["app"]}) == [("channel", "web"), ("currency", "EUR")]
