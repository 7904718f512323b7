"""The `global` metrics of the manifest in the Prometheus text format, from the figures of all shards.

Rules: once a label set was counted (so it is in the total), it has a series in every window: a count falls to 0 and does not disappear. A KPI has a
series only if it has a value. If there would be too many series, details are withheld. That depends only on the label sets of the total, which only
grow and are the same for every worker: so all workers withhold the same details, and a detail does not come and go.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from stream.core.config import MICROSECONDS
from stream.core.counting.cells import Count
from stream.core.counting.figures import ALL, JOURNEYS, PARTS, TOTAL, Figures, WindowFigures
from stream.core.counting.kpi import AMOUNT_KPIS, KPIS, CustomerKind
from stream.core.event import Journey
from stream.core.money import exponent, plain
from stream.observe.manifest import METRICS
from stream.observe.state import JourneyState, ShardView, is_up
from stream.tables.interface import KnownTopic, ServerMemory

WINDOW_SERIES = 11_500
"""Largest number of series of the rolling windows. The rest of `SERIES` is for the worker's own metrics, for targets and for partitions."""

Detail = Literal["channel_segment", "revenue", "reversed"]
DETAILS: tuple[Detail, ...] = ("channel_segment", "revenue", "reversed")
"""What is withheld if there are too many series, in this order, until the rest fits. `channel_segment`: counts by channel and segment (then they are
by segment only, with channel `all`). `revenue` and `reversed`: revenue (with the KPIs of money) or reversals by channel and by segment."""

_CATEGORY_KINDS = {
    "all": Count.TRANSACTIONS,
    "upsell": Count.UPSELL,
    "cross_sell": Count.CROSS_SELL,
    "downsell": Count.DOWNSELL,
    "any": Count.ANY,
}
_KINDS = {
    "upsell": Count.UPSELL,
    "cross_sell": Count.CROSS_SELL,
    "downsell": Count.DOWNSELL,
    "restored": Count.RESTORED,
    "any": Count.ANY,
}
_REVERSED = {
    "all": Count.REVERSED_ALL,
    "upsell": Count.REVERSED_UPSELL,
    "cross_sell": Count.REVERSED_CROSS_SELL,
    "downsell": Count.REVERSED_DOWNSELL,
    "restored": Count.REVERSED_RESTORED,
    "any": Count.REVERSED_ANY,
}
_INTENTS = {"known": Count.KNOWN, "unknown": Count.UNKNOWN, "incomparable": Count.INCOMPARABLE}
_BUYERS = {
    CustomerKind.ALL: Count.TRANSACTIONS,
    CustomerKind.UPSELL: Count.UPSELL,
    CustomerKind.CROSS_SELL: Count.CROSS_SELL,
    CustomerKind.ANY: Count.ANY,
}
"""A label set has customers of a kind if it has these transactions."""

_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})

Key = tuple[str, tuple[str, ...]]
"""A series: its metric, and its label values in the order of the manifest, without the window."""


class Facts(msgspec.Struct, frozen=True):
    """What is shown besides the figures."""

    shards: Sequence[ShardView] = ()
    states: Mapping[str, JourneyState] = {}
    """By journey."""
    topics: Mapping[str, KnownTopic] = {}
    memory: ServerMemory | None = None
    targets: Mapping[tuple[str, str, str], float] = {}
    """(kpi, journey, segment) -> ratio."""


class Exposition(msgspec.Struct, frozen=True):
    """The text, and the details that it leaves out."""

    text: bytes
    withheld: tuple[Detail, ...]


def render(
    figures: Figures,
    windows: Sequence[str],
    facts: Facts,
) -> Exposition:
    """Render all metrics. `windows`: the windows to show; the figures may have others."""
    withheld = _withheld(figures, len(windows))
    families: defaultdict[str, list[str]] = defaultdict(list)
    for journey in JOURNEYS:
        seen = {key: _series(*key) for key, _ in _samples(journey, figures.slice(TOTAL, journey), withheld)}
        for window in windows:
            cut = figures.slice(window, journey)
            values = dict(_samples(journey, cut, withheld))
            for key, series in seen.items():
                families[key[0]].append(f'{series},window="{window}"}} {values.get(key, "0")}\n')
            for key, value in (*_rates(journey, cut), *_amounts(journey, cut, withheld)):
                families[key[0]].append(f'{_series(*key)},window="{window}"}} {value}\n')
    for key, value in (*_targets(facts.targets), *_facts(facts), *_view(withheld)):
        families[key[0]].append(f"{_series(*key)}}} {value}\n")
    return Exposition(_text(families), withheld)


def render_down(journeys: Iterable[str]) -> bytes:
    """What is left of the metrics if the figures of these journeys cannot be read."""
    lines = [f"{_series('upsell_journey_up', (journey,))}}} 0\n" for journey in journeys]
    return _text({"upsell_journey_up": lines})


def _text(families: Mapping[str, Sequence[str]]) -> bytes:
    return "".join(
        f"# HELP {name} {METRICS[name].help}\n# TYPE {name} {METRICS[name].type}\n{''.join(lines)}"
        for name, lines in families.items()
    ).encode()


def _withheld(figures: Figures, windows: int) -> tuple[Detail, ...]:
    """The smallest number of details, in their order, that must be withheld."""
    ever = {journey: figures.slice(TOTAL, journey) for journey in JOURNEYS}
    rates = sum(section[0] in kpi.dimensions for cut in ever.values() for section in cut.sets for kpi in KPIS)
    # A set may have a value for a KPI of money in a window even if the total, with several currencies, has none.
    sections = [section[0] for cut in ever.values() for section in cut.sets]
    for count in range(len(DETAILS)):
        withheld = DETAILS[:count]
        samples = sum(1 for journey, cut in ever.items() for _ in _samples(journey, cut, withheld))
        with_money = sections.count("all") if "revenue" in withheld else len(sections)
        if (rates + samples + len(AMOUNT_KPIS) * with_money) * windows <= WINDOW_SERIES:
            return DETAILS[:count]
    return DETAILS


def _samples(journey: Journey, cut: WindowFigures, withheld: Sequence[Detail]) -> Iterator[tuple[Key, str]]:
    """All values in a window that are not 0, without KPIs."""
    for (channel, segment), vector in _by_segment(cut) if "channel_segment" in withheld else cut.pairs.items():
        place = (journey, channel, segment)
        if vector[Count.OPPORTUNITIES]:
            yield ("upsell_window_opportunities", place), str(vector[Count.OPPORTUNITIES])
        if vector[Count.TRANSACTIONS]:
            yield ("upsell_window_transactions", place), str(vector[Count.TRANSACTIONS])
        yield from _positions("upsell_window_kind_transactions", _KINDS, vector, place)
    for (dimension, value), figures in cut.sets.items():
        place = (journey, dimension, value)
        # The total has no numbers of customers; its transactions show which kinds of customers there were.
        for kind, position in _BUYERS.items():
            count = figures.sales[position] if figures.customers is None else figures.customers[kind]
            if count:
                yield ("upsell_window_customers", (kind, *place)), str(count)
        if dimension == "all" or "reversed" not in withheld:
            yield from _positions("upsell_window_reversed_transactions", _REVERSED, figures.sales, place)
        if figures.revenue is not None and (dimension == "all" or "revenue" not in withheld):
            for currency, amounts in figures.revenue.items():
                places = exponent(currency)
                for name, part in PARTS.items():
                    if amounts[part]:
                        yield ("upsell_window_revenue", (name, currency, *place)), plain(amounts[part], places)
    yield from _positions("upsell_window_intent_transactions", _INTENTS, cut.sets["all", ALL].sales, (journey,))
    for category, figures in cut.categories.items():
        yield from _positions(
            "upsell_window_category_transactions", _CATEGORY_KINDS, figures.sales, (category, journey)
        )


def _by_segment(cut: WindowFigures) -> Iterator[tuple[tuple[str, str], list[int]]]:
    """The counts of each segment, with channel `all`."""
    for (dimension, value), figures in cut.sets.items():
        if dimension == "segment":
            yield (ALL, value), figures.sales


def _positions(
    metric: str, positions: Mapping[str, Count], vector: list[int], place: tuple[str, ...]
) -> Iterator[tuple[Key, str]]:
    """The values at these positions of a vector, with the name as the first label."""
    for name, position in positions.items():
        if vector[position]:
            yield (metric, (name, *place)), str(vector[position])


def _rates(journey: Journey, cut: WindowFigures) -> Iterator[tuple[Key, str]]:
    """The KPIs that have a value."""
    for section, figures in cut.sets.items():
        for kpi, value in figures.rates.items():
            if value is not None:
                yield ("upsell_kpi_ratio", (kpi, journey, *section)), repr(value)


def _amounts(journey: Journey, cut: WindowFigures, withheld: Sequence[Detail]) -> Iterator[tuple[Key, str]]:
    """The KPIs of money that have a value."""
    for section, figures in cut.sets.items():
        if section[0] == "all" or "revenue" not in withheld:
            for kpi, found in figures.amounts.items():
                if found is not None:
                    yield ("upsell_kpi_amount", (kpi, found[0], journey, *section)), found[1]


def _targets(targets: Mapping[tuple[str, str, str], float]) -> Iterator[tuple[Key, str]]:
    for place, ratio in targets.items():
        yield ("upsell_target_ratio", place), repr(ratio)


def _facts(facts: Facts) -> Iterator[tuple[Key, str]]:
    for view in facts.shards:
        place = (view.shard.topic, str(view.shard.partition))
        if view.stream_time:
            yield ("upsell_newest_event_timestamp_seconds", place), repr(view.stream_time / MICROSECONDS)
        if view.age is not None:
            yield ("upsell_shard_age_seconds", place), repr(view.age / MICROSECONDS)
        if view.halt is not None:
            yield ("upsell_shard_halt_info", (*place, view.halt.reason)), "1"
    for journey, state in facts.states.items():
        yield ("upsell_journey_up", (journey,)), str(int(is_up(state)))
    for name, topic in facts.topics.items():
        yield ("upsell_input_topic_partitions", (name,)), str(topic.partitions)
    if facts.memory is not None:
        yield ("upsell_redis_memory_bytes", ("used",)), str(facts.memory.used)
        if facts.memory.limit:
            yield ("upsell_redis_memory_bytes", ("limit",)), str(facts.memory.limit)


def _view(withheld: Sequence[Detail]) -> Iterator[tuple[Key, str]]:
    for detail in DETAILS:
        yield ("upsell_view_withheld", (detail,)), str(int(detail in withheld))


@lru_cache(maxsize=2 * WINDOW_SERIES)
def _series(metric: str, values: tuple[str, ...]) -> str:
    """`metric{label="value"` without the closing brace, so that the label `window` can follow."""
    names = METRICS[metric].labels
    labels = ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in zip(names, values, strict=False))
    return f"{metric}{{{labels}"
