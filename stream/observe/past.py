"""The past of the figures as documents: the history by hour or day, and why a rate changed.

Rules: one read of the tables an answer, of at most `ROOM` bytes. What follows from it is computed in a thread, because it may take longer than the event
loop should wait. A row holds a figure set of `stream.core.counting.figures` without customers. Periods that are not over, or that begin before the history
is complete, are partial; those that end before it is are left out.
"""

import asyncio
import csv
import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from stream.core.config import MICROSECONDS, CoreConfig
from stream.core.counting.cells import Cells, Count
from stream.core.counting.explain import Explanation, Part, Ratio, currencies, explain, ratios
from stream.core.counting.figures import ALL, DECIMALS, FigureSet
from stream.core.counting.history import Table
from stream.core.counting.kpi import KPIS, Dimension
from stream.core.counting.timeline import Timeline, rfc3339
from stream.core.event import Journey
from stream.core.labels import OTHER, UNKNOWN
from stream.core.shard.past import decode_past
from stream.core.shard.write_set import StoredHistory
from stream.observe.queries import MOST_ROWS, ExplainQuery, HistoryQuery, Span, WrongQueryError
from stream.observe.state import ShardView
from stream.tables.interface import Tables, TooLargeError


class Source(NamedTuple):
    """Where answers are read from."""

    tables: Tables
    views: Sequence[ShardView]
    """Which shards there are."""
    config: CoreConfig
    now: int
    """Microseconds."""


Build = Callable[[], dict[str, Any]]
"""Makes a document of what was read, which may take long. Raises `WrongQueryError`."""


class Past(NamedTuple):
    """What was read for an answer."""

    timeline: Timeline
    registry: Mapping[str, Collection[str]]
    """Registered values by label."""
    config: CoreConfig
    now: int
    """Microseconds."""


ROOM: Final = 32_000_000
"""Bytes of records that one answer may be made of."""
_KPIS: Final = {kpi.name: kpi for kpi in KPIS}


async def read_history(source: Source, query: HistoryQuery) -> Build:
    """What `/api/v1/history` needs.

    Raises:
        WrongQueryError: the query cannot be answered.
        TablesUnavailableError, IncompatibleStateError: from the tables.
        UnreadableStateError: a newer version stored it.
    """
    span = query.span(source.now, source.config)
    past = await read_past(source, query.journey, (span,))
    return lambda: history_document(past, query, span)


async def read_explanation(source: Source, query: ExplainQuery) -> Build:
    """What `/api/v1/explain` needs; raises as `read_history` does."""
    spans = query.spans(source.now, source.config)
    past = await read_past(source, query.journey, spans)
    return lambda: explain_document(past, query, spans)


async def read_past(source: Source, journey: Journey | None, spans: Sequence[Span]) -> Past:
    """The history of a journey (None: of both) in some hours or days, which are of one step; raises as `read_history` does."""
    names = [table.name for span in spans for table in span.tables]
    stored = await stored_of(source, journey, names, len(names), "hour" if spans[0].step == "h" else "day")
    registry = await source.tables.register_labels((), {})
    timeline = await asyncio.to_thread(_timeline, stored, spans[0], source.config.time_zone, source.now)
    return Past(timeline, registry, source.config, source.now)


async def stored_of(
    source: Source, journey: Journey | None, names: Sequence[str], periods: int, period: str
) -> list[StoredHistory]:
    """Records of the shards of a journey (None: of both), which are those of so many hours or days.

    Raises:
        WrongQueryError: they are too much for one answer.
    """
    shards = [view.shard for view in source.views if journey is None or view.journey == journey]
    try:
        return await source.tables.history(shards, names, ROOM)
    except TooLargeError:
        fewer = max(1, periods // 4)
        raise WrongQueryError(
            f"from: this range is more than {ROOM // 1_000_000} MB of history; ask for a shorter one, such as {fewer} {period}{'s' * (fewer > 1)}"
        ) from None


def _timeline(stored: Sequence[StoredHistory], span: Span, zone: tzinfo, now: int) -> Timeline:
    decoded = (decode_past(each, span.step, zone, now) for each in stored)
    return Timeline(past for past in decoded if past is not None)


def history_document(past: Past, query: HistoryQuery, span: Span) -> dict[str, Any]:
    """The answer to `/api/v1/history`.

    Raises:
        WrongQueryError: the value is not known, or there are more than `MOST_ROWS` rows.
    """
    zone = past.config.time_zone
    journeys = past.timeline.journeys if query.journey is None else (query.journey,)
    values = _values(past, query, journeys, [span])
    rows = len(span.tables) * len(values) * len(journeys)
    if rows > MOST_ROWS:
        fewer = MOST_ROWS * len(span.tables) // rows
        raise WrongQueryError(
            f"from: {rows:,} rows, and {MOST_ROWS:,} are allowed; ask for at most {fewer} {'hours' if span.step == 'h' else 'days'}, one journey, or "
            "one value"
        )
    begin = Table(span.step, span.first).begin(zone)
    since = max(past.timeline.since(journey) for journey in journeys)
    return {
        "step": query.step,
        "from": rfc3339(begin, zone),
        "to": rfc3339(Table(span.step, span.after).begin(zone), zone),
        "time_zone": str(zone),
        "as_of": rfc3339(past.now // MICROSECONDS * MICROSECONDS),
        "since": rfc3339(since) if since > begin else None,
        "dimension": query.dimension,
        "rows": [*_rows(past, query.dimension, span, journeys, values)],
    }


def _rows(
    past: Past, dimension: Dimension, span: Span, journeys: Sequence[Journey], values: Sequence[str]
) -> Iterator[dict[str, Any]]:
    zone, timeline = past.config.time_zone, past.timeline
    empty = FigureSet(dimension, [0] * len(Count), {}, None)
    for table in span.tables:
        begin, end = table.begin(zone), table.end(zone)
        for journey in journeys:
            since = timeline.since(journey)
            if end > since:
                head = {"start": rfc3339(begin, zone), "journey": journey, "partial": begin < since or end > past.now}
                sets = timeline.figures(journey, [table]).sets
                for value in values:
                    yield {**head, "value": value, **sets.get((dimension, value), empty).plain()}


def _values(
    past: Past, query: HistoryQuery | ExplainQuery, journeys: Sequence[Journey], spans: Sequence[Span]
) -> list[str]:
    """The values of a dimension to show: the one that is asked for, or all that counted something."""
    if query.dimension == ALL:
        return [ALL]
    seen = {
        value
        for span in spans
        for journey in journeys
        for dimension, value in past.timeline.figures(journey, span.tables).sets
        if dimension == query.dimension
    }
    if query.value is None:
        return sorted(seen)
    known = sorted(seen | {*past.registry.get(query.dimension, ()), OTHER, UNKNOWN})
    if query.value not in known:
        raise WrongQueryError(f"value: {query.value!r} is no {query.dimension}; known are {', '.join(known)}")
    return [query.value]


def csv_of(document: Mapping[str, Any]) -> str:
    """The rows of a history as CSV."""
    return rows_as_csv(document["rows"], ["start"])


def rows_as_csv(rows: Iterable[Mapping[str, Any]], first: Sequence[str]) -> str:
    """Rows as CSV, with a header; amounts have a column for each currency. Some columns come `first`, also where there is no row."""
    flat = [dict(_flat(row)) for row in rows]
    columns = dict.fromkeys(first)
    for row in flat:
        columns.update(dict.fromkeys(row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _flat(row: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        own = (*path, name)
        if isinstance(value, Mapping) and not (path == ("amounts",) and "value" in value):
            yield from _flat(value, own)
        elif isinstance(value, Mapping):
            yield "_".join(own), value["value"]
            yield "_".join((*own, "currency")), value["currency"]
        elif isinstance(value, bool):
            yield name, str(value).lower()
        else:
            yield "_".join(own), "" if value is None else _harmless(value)


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula, with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        Decimal(text)
    except ArithmeticError:
        return False
    return True


def explain_document(past: Past, query: ExplainQuery, spans: tuple[Span, Span]) -> dict[str, Any]:
    """The answer to `/api/v1/explain`.

    Raises:
        WrongQueryError: the value is not known, or amounts are in several currencies.
    """
    timeline, zone, kpi = past.timeline, past.config.time_zone, _KPIS[query.kpi]
    _values(past, query, [query.journey], spans)
    before, after = (
        _within(timeline.cells(query.journey, span.tables), query.dimension, query.value) for span in spans
    )
    found = currencies(before, after)
    is_money = not isinstance(kpi.numerator, Count)
    if is_money and len(found) > 1:
        raise WrongQueryError(
            f"kpi: {kpi.name} has no value where there are several currencies ({', '.join(found)}); name a channel or a segment that has one"
        )
    currency = found[0] if is_money and found else None
    explained = explain(ratios(kpi, before, currency), ratios(kpi, after, currency))
    begin = Table(spans[0].step, spans[0].first).begin(zone)
    since = timeline.since(query.journey)
    return {
        "kpi": kpi.name,
        "formula": kpi.formula,
        "journey": query.journey,
        "dimension": query.dimension,
        "value": query.value or ALL,
        "against": query.against,
        "as_of": rfc3339(past.now // MICROSECONDS * MICROSECONDS),
        "since": rfc3339(since) if since > begin else None,
        "before": _period(spans[0], explained.before, past, since),
        "after": _period(spans[1], explained.after, past, since),
        **_change(explained),
    }


def _within(cells: Cells, dimension: str, value: str | None) -> Cells:
    place = {"channel": 1, "segment": 2}.get(dimension)
    if place is None or value is None:
        return cells
    return {key: vector for key, vector in cells.items() if key[place] == value}


def _period(span: Span, ratio: Ratio, past: Past, since: int) -> dict[str, Any]:
    zone = past.config.time_zone
    begin, end = (Table(span.step, number).begin(zone) for number in (span.first, span.after))
    return {
        "from": rfc3339(begin, zone),
        "to": rfc3339(end, zone),
        "partial": begin < since or end > past.now,
        **_ratio(ratio),
    }


def _change(explained: Explanation) -> dict[str, Any]:
    return {
        "change": None if explained.change is None else _number(explained.change),
        "exact": None if explained.change is None else str(explained.change),
        "parts": [_part(part, explained) for part in explained.parts],
        "main": None if explained.main is None else [_cell(part) for part in explained.main],
    }


def _part(part: Part, explained: Explanation) -> dict[str, Any]:
    return {
        **_cell(part),
        "change": _number(part.total),
        "rate": _number(part.rate),
        "mix": _number(part.mix),
        "exact": str(part.total),
        "before": {**_ratio(part.before), "share": _share(part.before, explained.before)},
        "after": {**_ratio(part.after), "share": _share(part.after, explained.after)},
    }


def _cell(part: Part) -> dict[str, str]:
    channel, segment = part.cell
    return {"channel": channel, "segment": segment}


def _ratio(ratio: Ratio) -> dict[str, Any]:
    """Amounts are in minor units."""
    value = ratio.value
    return {
        "numerator": ratio.numerator,
        "denominator": ratio.denominator,
        "value": None if value is None else _number(value),
    }


def _share(part: Ratio, whole: Ratio) -> float:
    return _number(Fraction(part.denominator, whole.denominator))


def _number(value: Fraction) -> float:
    return round(float(value), DECIMALS)
