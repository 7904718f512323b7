"""What `classify --as-of` says of the past: the documents of history, explain, offers and drivers, of events from files."""

from collections.abc import Callable
from typing import Any, NamedTuple

from stream.cli.drivers import show as show_drivers
from stream.cli.explain import show as show_explanation
from stream.cli.history import show as show_history
from stream.cli.offers import show as show_offers
from stream.core.config import CoreConfig
from stream.core.counting.kpi import KPIS
from stream.core.event import Journey
from stream.core.offline import Offline
from stream.observe.past import Past, explain_document, history_document
from stream.observe.queries import DriversQuery, ExplainQuery, HistoryQuery, HistoryStep, OffersQuery, parse
from stream.observe.selling import PastDays, drivers_document, offers_document


class Question(NamedTuple):
    """One of the options that ask for the past."""

    option: str
    document: Callable[[Offline, CoreConfig, int], dict[str, Any]]
    """Given the moment in microseconds. Raises `WrongQueryError`."""
    show: Callable[[dict[str, Any]], None]


def questions(
    step: HistoryStep | None, kpi: str | None, journey: Journey | None, *, offers: bool, drivers: bool
) -> list[Question]:
    """What is asked: the history by `step`, why a `kpi` changed, offers or drivers. All but the explanation are of everything that is kept."""
    found = []
    if step is not None:
        found.append(_history(step, journey))
    if kpi is not None:
        found.append(_explanation(kpi, journey))
    if offers:
        found.append(_offers(journey))
    if drivers:
        found.append(_drivers(journey))
    return found


def _of(journey: Journey | None) -> list[tuple[str, str]]:
    return [] if journey is None else [("journey", journey)]


def _history(step: HistoryStep, journey: Journey | None) -> Question:
    query = parse(HistoryQuery, [("step", step), *_of(journey)])

    def document(offline: Offline, config: CoreConfig, now: int) -> dict[str, Any]:
        return history_document(Past(offline.timeline(), {}, config, now), query, query.everything(now, config))

    return Question("--history", document, lambda answer: show_history(answer, KPIS[0].name))


def _explanation(kpi: str, journey: Journey | None) -> Question:
    query = parse(ExplainQuery, [("kpi", kpi), *_of(journey)])

    def document(offline: Offline, config: CoreConfig, now: int) -> dict[str, Any]:
        return explain_document(Past(offline.timeline(), {}, config, now), query, query.spans(now, config))

    return Question("--explain", document, show_explanation)


def _offers(journey: Journey | None) -> Question:
    query = parse(OffersQuery, _of(journey))

    def document(offline: Offline, config: CoreConfig, now: int) -> dict[str, Any]:
        return offers_document(PastDays(offline.days(), config, now), query, query.everything(now, config))

    return Question("--offers", document, show_offers)


def _drivers(journey: Journey | None) -> Question:
    query = parse(DriversQuery, _of(journey))

    def document(offline: Offline, config: CoreConfig, now: int) -> dict[str, Any]:
        return drivers_document(PastDays(offline.days(), config, now), query, query.everything(now, config))

    return Question("--drivers", document, show_drivers)
