"""What sells, as documents: offers and drivers over some days.

Rules: as in `stream.observe.past`. Ranges are whole days. One answer reads only the sorts of records that it shows. A key that nothing was counted under
has no row. What has no place on a day of a shard lies in `other`, so a row may lack something where `other` is not empty; its rates have no value then.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any, Final, NamedTuple

import msgspec

from stream.core.config import MICROSECONDS, CoreConfig
from stream.core.counting.days import Days
from stream.core.counting.drivers import SORTS, Row, drivers
from stream.core.counting.history import Table
from stream.core.counting.offers import offer_rows
from stream.core.counting.timeline import rfc3339
from stream.core.entities.basket import PRODUCTS
from stream.core.entities.offers import OFFERS
from stream.core.entities.tally import Key
from stream.core.event import Journey
from stream.core.shard.past import decode_days
from stream.core.shard.write_set import StoredHistory
from stream.observe.past import Build, Source, rows_as_csv, stored_of
from stream.observe.queries import MOST_ROWS, DriversQuery, OffersQuery, Span, WrongQueryError


class PastDays(NamedTuple):
    """What was read for an answer."""

    days: Days
    config: CoreConfig
    now: int
    """Microseconds."""


_HEADS: Final = {
    "offers": ("start", "journey", "partial", "offer_id", "slot"),
    "paths": ("intent", "product", "reason"),
    "pairs": ("intent", "cross_sell"),
    "products": ("product",),
}
"""First columns of CSV. They are empty in the rows of what lies beyond the bounds, save where and when."""


async def read_offers(source: Source, query: OffersQuery) -> Build:
    """What `/api/v1/offers` needs.

    Raises:
        WrongQueryError: the query cannot be answered.
        TablesUnavailableError, IncompatibleStateError: from the tables.
        UnreadableStateError: a newer version stored it.
    """
    span = query.span(source.now, source.config)
    past = await read_days(source, query.journey, span, [OFFERS])
    return lambda: offers_document(past, query, span)


async def read_drivers(source: Source, query: DriversQuery) -> Build:
    """What `/api/v1/drivers` needs; raises as `read_offers` does."""
    span = query.span(source.now, source.config)
    sorts = dict.fromkeys((PRODUCTS, *(SORTS[kind] for kind in query.kinds)))
    past = await read_days(source, query.journey, span, [*sorts])
    return lambda: drivers_document(past, query, span)


async def read_days(source: Source, journey: Journey | None, span: Span, sorts: Sequence[str]) -> PastDays:
    """What a journey (None: both) counted on some days, in records of these sorts; raises as `read_offers` does."""
    names = [f"{sort}:{table.number}" for table in span.tables for sort in sorts]
    stored = await stored_of(source, journey, names, len(span.tables), "day")
    days = await asyncio.to_thread(_days, stored, source.config.time_zone, source.now)
    return PastDays(days, source.config, source.now)


def _days(stored: Sequence[StoredHistory], zone: tzinfo, now: int) -> Days:
    decoded = (decode_days(each, zone, now) for each in stored)
    return Days(days for days in decoded if days is not None)


def offers_document(past: PastDays, query: OffersQuery, span: Span) -> dict[str, Any]:
    """The answer to `/api/v1/offers`.

    Raises:
        WrongQueryError: there are more than `MOST_ROWS` rows.
    """
    journeys = past.days.journeys if query.journey is None else (query.journey,)
    parts = (
        [span._replace(first=number, after=number + 1) for number in range(span.first, span.after)]
        if query.step == "1d"
        else [span]
    )
    rows: list[dict[str, Any]] = []
    other: list[dict[str, Any]] = []
    for part in parts:
        for journey in journeys:
            if _end(part, past) > past.days.since(journey):
                own, rest = _offers(past, query, part, journey)
                rows += own
                other += rest
        if len(rows) > MOST_ROWS:
            raise WrongQueryError(
                f"from: more than {MOST_ROWS:,} rows; ask for fewer days, step=all, one journey, one offer_id or one slot"
            )
    return {"step": query.step, **_head(past, span, journeys), "rows": rows, "other": other}


def _offers(
    past: PastDays, query: OffersQuery, span: Span, journey: Journey
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of one journey; and one of what lies beyond the bound, if anything does."""
    ordinals = range(span.first, span.after)
    total = past.days.total(journey, OFFERS, ordinals)
    head = {
        "start": rfc3339(_begin(span, past), past.config.time_zone),
        "journey": journey,
        "partial": _is_partial(span, past, [journey]),
    }

    def is_wanted(key: Key) -> bool:
        offer_id, slot = key
        return query.offer_id in (None, offer_id) and query.slot in (None, slot)

    rows, other = offer_rows(total.tallies, is_wanted, total.is_complete)
    rest: list[dict[str, Any]] = []
    if other is not None:
        counts = msgspec.to_builtins(other)
        rest.append({**head, **{name: counts[name] for name in counts if name not in ("offer_id", "slot")}})
    return [{**head, **msgspec.to_builtins(row)} for row in rows], rest


def drivers_document(past: PastDays, query: DriversQuery, span: Span) -> dict[str, Any]:
    """The answer to `/api/v1/drivers`.

    Raises:
        WrongQueryError: there are more than `MOST_ROWS` rows.
    """
    found = drivers(past.days, query.journey, range(span.first, span.after), query.kinds, query.limit, query.product)
    if sum(len(own.rows) for own in found.kinds.values()) > MOST_ROWS:
        raise WrongQueryError(
            f"limit: more than {MOST_ROWS:,} rows of all kinds together; ask for one kind, or at most limit={MOST_ROWS // len(query.kinds)}"
        )
    return {
        **_head(past, span, [query.journey]),
        "journey": query.journey,
        "transactions": found.transactions,
        "reversed": found.reversed,
        "known": found.known,
        **{kind: [_driver(row) for row in own.rows] for kind, own in found.kinds.items()},
        "left_out": {kind: own.left_out for kind, own in found.kinds.items()},
        "other": {kind: msgspec.to_builtins(own.other) for kind, own in found.kinds.items()},
    }


def _driver(row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(row)
    counted = fields.pop("counted")
    names = {name: fields.pop(name) for name in ("intent", "product", "cross_sell", "reason") if name in fields}
    return {**names, **counted, **fields}


def _head(past: PastDays, span: Span, journeys: Sequence[Journey]) -> dict[str, Any]:
    zone = past.config.time_zone
    begin = _begin(span, past)
    since = max(past.days.since(journey) for journey in journeys)
    return {
        "from": rfc3339(begin, zone),
        "to": rfc3339(_end(span, past), zone),
        "time_zone": str(zone),
        "as_of": rfc3339(past.now // MICROSECONDS * MICROSECONDS),
        "since": rfc3339(since) if since > begin else None,
        "partial": _is_partial(span, past, journeys),
    }


def _begin(span: Span, past: PastDays) -> int:
    return Table("d", span.first).begin(past.config.time_zone)


def _end(span: Span, past: PastDays) -> int:
    return Table("d", span.after).begin(past.config.time_zone)


def _is_partial(span: Span, past: PastDays, journeys: Sequence[Journey]) -> bool:
    return _end(span, past) > past.now or _begin(span, past) < max(past.days.since(journey) for journey in journeys)


def offers_csv(document: Mapping[str, Any]) -> str:
    """The rows of offers as CSV; what lies beyond the bounds has rows without offer and slot."""
    return rows_as_csv([*document["rows"], *document["other"]], _HEADS["offers"])


def drivers_csv(document: Mapping[str, Any]) -> str:
    """The rows of drivers of one kind as CSV; what lies beyond the bounds is a row without products."""
    (kind,) = document["left_out"]
    other = document["other"][kind]
    return rows_as_csv([*document[kind], *([other] if other["transactions"] else [])], _HEADS[kind])
