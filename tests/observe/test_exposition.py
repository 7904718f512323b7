import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.summaries import AT, SMALL, SMALL_CUSTOMERS, full, full_cells, sale, shard

from stream.core.counting.cells import CATEGORY, MONEY, SALES
from stream.core.counting.figures import Figures, ShardFigures
from stream.core.counting.summary import decode_summary
from stream.core.shard.write_set import ShardId
from stream.observe.exposition import DETAILS, WINDOW_SERIES, Facts, render
from stream.observe.state import JourneyState, ShardView
from stream.tables.interface import Halt, KnownTopic, ServerMemory

TWO = ("5m", "1h")
EIGHT = ("1m", "5m", "15m", "1h", "6h", "24h", "7d", "30d")


def figures_of(shards):
    return Figures(ShardFigures(decode_summary(one.summary, one.recent), one.customers) for one in shards)


def shown(shards, windows=TWO):
    """(metric, label values in the order of the labels' names) -> value, of the metrics of windows."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(render(figures_of(shards), windows, Facts()).text.decode())
        for sample in family.samples
        if "window" in sample.labels
    }


def only(samples, metric):
    return {labels: value for (name, *labels_), value in samples.items() if name == metric for labels in [(*labels_,)]}


def test_values():
    samples = shown([shard(cells=SMALL, customers=SMALL_CUSTOMERS)], ("1h",))
    new = 'a "new"\\one'
    # The order of labels: channel, journey, kind, segment, window; or dimension, journey, kind or kpi, value, window.
    assert only(samples, "upsell_window_opportunities") == {("web", "checkout", new, "1h"): 10}
    assert only(samples, "upsell_window_transactions") == {("web", "checkout", new, "1h"): 4}
    assert only(samples, "upsell_window_kind_transactions") == {
        ("web", "checkout", "upsell", new, "1h"): 2,
        ("web", "checkout", "cross_sell", new, "1h"): 1,
        ("web", "checkout", "downsell", new, "1h"): 1,
        ("web", "checkout", "restored", new, "1h"): 1,
        ("web", "checkout", "any", new, "1h"): 3,
    }
    sections = [("all", "all"), ("channel", "web"), ("segment", new)]
    assert only(samples, "upsell_window_reversed_transactions") == {
        (dimension, "checkout", kind, value, "1h"): 1
        for dimension, value in sections
        for kind in ("all", "upsell", "restored")
    }
    parts = {"initial": 10, "upsell": 2.5, "cross_sell": 0.5, "downsell": 0.1, "restored": 0.2, "final": 12.5}
    assert only(samples, "upsell_window_revenue") == {
        ("EUR", dimension, "checkout", part, value, "1h"): amount
        for dimension, value in sections
        for part, amount in {**parts, "total": 16, "reversed": 0.05}.items()
    }
    assert only(samples, "upsell_window_intent_transactions") == {
        ("known", "checkout", "1h"): 4,
        ("unknown", "checkout", "1h"): 1,
        ("incomparable", "checkout", "1h"): 1,
    }
    assert only(samples, "upsell_window_category_transactions") == {
        ("shoes", "checkout", "all", "1h"): 3,
        ("shoes", "checkout", "upsell", "1h"): 2,
        ("shoes", "checkout", "cross_sell", "1h"): 1,
        ("shoes", "checkout", "any", "1h"): 2,
    }  # without `restored`, which the category has, too
    customers = only(samples, "upsell_window_customers")
    assert customers["all", "checkout", "all", "all", "1h"] == 4
    assert customers["all", "checkout", "upsell", "all", "1h"] == 1
    assert customers["channel", "checkout", "upsell", "web", "1h"] == 0
    assert "restored" not in {kind for _, _, kind, _, _ in customers}
    rates = only(samples, "upsell_kpi_ratio")
    assert rates["all", "checkout", "upsell_cross_sell_rate", "all", "1h"] == 0.3
    assert rates["all", "checkout", "upsell_revenue_ratio", "all", "1h"] == 1.25
    assert rates["all", "checkout", "customer_upsell_rate", "all", "1h"] == 0.25
    assert rates["all", "checkout", "order_value_lift", "all", "1h"] == (1000 / 3) / (250 / 1)
    assert {kpi for _, _, kpi, _, _ in rates if kpi == "cross_sell_ratio"} == {"cross_sell_ratio"}
    assert {dimension for dimension, _, kpi, _, _ in rates if kpi == "cross_sell_ratio"} == {"segment"}
    amounts = {"revenue_per_opportunity": 1.6, "average_order_value": 4, "extra_revenue_per_transaction": 0.75}
    assert only(samples, "upsell_kpi_amount") == {
        ("EUR", dimension, "checkout", kpi, value, "1h"): amount
        for dimension, value in sections
        for kpi, amount in amounts.items()
    }


def test_a_count_falls_to_zero_and_a_rate_ends():
    samples = shown([shard(cells={}, total=SMALL)])
    assert {*only(samples, "upsell_window_opportunities").values()} == {0}
    assert {*only(samples, "upsell_window_customers").values()} == {0}
    assert {*only(samples, "upsell_window_revenue").values()} == {0}
    assert not only(samples, "upsell_kpi_ratio")
    assert not only(samples, "upsell_kpi_amount")


def test_what_was_never_counted_has_no_series():
    samples = shown([shard(cells={(SALES, "web", "new"): sale(opportunities=1)})])
    assert {name for name, *_ in samples} == {"upsell_window_opportunities", "upsell_kpi_ratio"}
    assert {*only(samples, "upsell_kpi_ratio").values()} == {0}  # its denominator is opportunities


def test_windows_that_the_settings_do_not_name_are_not_shown():
    samples = shown([shard(cells=SMALL, windows=("5m", "7d"))], ("5m", "1h"))
    assert {labels[-1] for labels in samples} == {"5m", "1h"}


def test_shards_states_and_targets():
    views = [
        ShardView(ShardId("checkout-events", 3), "checkout", AT, 1_500_000, 0, 0, None),
        ShardView(ShardId("checkout-events", 4), "checkout", 0, 0, 0, 0, Halt("topic_recreated", "text", AT)),
        ShardView(ShardId("checkout-events", 5), None, 0, None, 0, 0, Halt("partitions_grown", "text", AT)),
    ]
    facts = Facts(
        shards=views,
        states={"checkout": JourneyState("partial"), "subscription": JourneyState("empty")},
        topics={"checkout-events": KnownTopic("checkout", 5, AT)},
        memory=ServerMemory(1000, 4000),
        targets={("upsell_ratio", "checkout", "all"): 0.25},
    )
    exposition = render(Figures([]), TWO, facts)
    lines = [line for line in exposition.text.decode().splitlines() if not line.startswith("#")]
    assert lines == [
        'upsell_target_ratio{kpi="upsell_ratio",journey="checkout",segment="all"} 0.25',
        'upsell_newest_event_timestamp_seconds{topic="checkout-events",partition="3"} 1767323045.0',
        'upsell_shard_age_seconds{topic="checkout-events",partition="3"} 1.5',
        'upsell_shard_age_seconds{topic="checkout-events",partition="4"} 0.0',
        'upsell_shard_halt_info{topic="checkout-events",partition="4",reason="topic_recreated"} 1',
        'upsell_shard_halt_info{topic="checkout-events",partition="5",reason="partitions_grown"} 1',
        'upsell_journey_up{journey="checkout"} 0',
        'upsell_journey_up{journey="subscription"} 1',
        'upsell_input_topic_partitions{topic="checkout-events"} 5',
        'upsell_redis_memory_bytes{kind="used"} 1000',
        'upsell_redis_memory_bytes{kind="limit"} 4000',
        'upsell_view_withheld{detail="channel_segment"} 0',
        'upsell_view_withheld{detail="revenue"} 0',
        'upsell_view_withheld{detail="reversed"} 0',
    ]


def cells_of(**kept):
    """All cells, with fewer values of some labels."""
    positions = {"channel": 1, "segment": 2, "currency": 3}
    cells = full_cells()
    for label, count in kept.items():
        place = positions[label]
        values = sorted({key[place] for key in cells if key[0] == MONEY})[:count]
        cells = {key: vector for key, vector in cells.items() if len(key) <= place or key[place] in values}
    return cells


@pytest.mark.parametrize(
    ("cells", "windows", "withheld"),
    [
        (cells_of(channel=6, segment=10, currency=1), EIGHT[:4], ()),
        (cells_of(channel=9, segment=17, currency=1), EIGHT[:4], DETAILS[:1]),
        (full_cells(), EIGHT[:4], DETAILS[:2]),
        (cells_of(currency=1), EIGHT, DETAILS),
        (full_cells(), EIGHT, DETAILS),
    ],
    ids=["usual", "many labels", "all labels", "all labels and windows, one currency", "all labels and windows"],
)
def test_detail_is_withheld_in_its_order_and_sums_stay_right(cells, windows, withheld):
    shards = [shard(topic, 0, cells, windows=windows) for topic in ("checkout-events", "subscription-events")]
    exposition = render(figures_of(shards), windows, Facts())
    assert exposition.withheld == withheld
    samples = shown(shards, windows)
    assert len(samples) <= WINDOW_SERIES
    transactions = only(samples, "upsell_window_transactions")
    pairs = [key for key in cells if key[0] == SALES]
    assert sum(transactions.values()) == 7 * len(pairs) * 2 * len(windows)
    assert ({channel for channel, *_ in transactions} == {"all"}) == ("channel_segment" in withheld)
    assert ({key[1] for key in only(samples, "upsell_window_revenue")} == {"all"}) == ("revenue" in withheld)
    money = only(samples, "upsell_kpi_amount")
    assert bool(money) == (len({key[3] for key in cells if key[0] == MONEY}) == 1)
    assert ({key[1] for key in money} <= {"all"}) == ("revenue" in withheld or not money)
    reversals = only(samples, "upsell_window_reversed_transactions")
    assert ({dimension for dimension, *_ in reversals} == {"all"}) == ("reversed" in withheld)
    assert {dimension for dimension, *_ in only(samples, "upsell_kpi_ratio")} == {"all", "channel", "segment"}


def test_what_is_withheld_does_not_follow_the_windows():
    busy, quiet = full(EIGHT, 1), []
    for one in busy:
        summary = decode_summary(one.summary, one.recent)
        windows = [(name, []) for name, _ in summary.windows]
        quiet.append(
            msgspec.structs.replace(
                one, summary=msgspec.msgpack.encode(msgspec.structs.replace(summary, windows=windows))
            )
        )
    assert render(figures_of(quiet), EIGHT, Facts()).withheld == render(figures_of(busy), EIGHT, Facts()).withheld


def test_label_values_are_escaped():
    nasty = 'say "hi"\\n,}\nand go'
    samples = shown([shard(cells={(SALES, nasty, "new"): sale(transactions=3), (CATEGORY, nasty): [1] + [0] * 5})])
    assert only(samples, "upsell_window_transactions")[nasty, "checkout", "new", "1h"] == 3
