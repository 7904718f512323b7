"""What the APIs of the past may be asked: the parameters of history, explain, offers and drivers, and the hours or days that they mean.

Rules: a query is strict. An unknown parameter, a value that is not allowed and a range beyond what is kept are errors that say what is allowed. The API and
the commands read the same models, so they accept the same values.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from stream.core.config import DAY, QUARTER, CoreConfig
from stream.core.counting.drivers import KINDS, Kind
from stream.core.counting.explain import explainable
from stream.core.counting.history import HOUR, Step, Table, tables_of
from stream.core.counting.kpi import KPIS
from stream.core.counting.timeline import rfc3339
from stream.core.event import Journey
from stream.events.fields import parse_time

_AGO: Final = re.compile(r"([1-9][0-9]{0,4})([hd])")
_BLANK_FOR_PLUS: Final = re.compile(r" (?=[0-9]{2}:[0-9]{2}$)")
"""In the query of a URL `+` means a blank."""
_STEPS: Final[Mapping[str, Step]] = {"1h": "h", "1d": "d"}
_DEFAULT: Final[Mapping[Step, int]] = {"h": DAY, "d": 14 * DAY}
"""What is shown without `from`."""
_WEEK: Final = 7
"""Days of offers and drivers that are shown without `from`, with the running day."""
_KPIS: Final = {kpi.name: kpi for kpi in KPIS}
MOST_ROWS: Final = 10_000
"""Rows in one answer."""
ROWS: Final = 100
"""Rows of each kind of drivers without `limit`."""

HistoryStep = Literal["1h", "1d"]
OffersStep = Literal["all", "1d"]
Format = Literal["json", "csv"]
Against = Literal["yesterday", "last_week", "previous"]


class WrongQueryError(ValueError):
    """A query that cannot be answered. The message says what is allowed."""


def _moment(text: str) -> str:
    if text != "now" and _AGO.fullmatch(text) is None:
        try:
            parse_time(_BLANK_FOR_PLUS.sub("+", text))
        except ValueError:
            raise ValueError(
                f"{text!r} is neither `now`, nor how long ago like 6h or 2d, nor a time like 2026-01-31T12:00:00Z"
            ) from None
    return text


def _kpi(name: str) -> str:
    if name not in explainable():
        raise ValueError(f"{name!r} cannot be explained; allowed are {', '.join(explainable())}")
    return name


def _limit(text: Any) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,6}", str(text)) else 0
    if not 1 <= number <= MOST_ROWS:
        raise ValueError(f"{text!r} is not allowed; allowed are 1 to {MOST_ROWS}")
    return number


Moment = Annotated[str, AfterValidator(_moment)]
"""`now`, how long ago (`6h`, `2d`), or a time in RFC 3339."""


class Span(NamedTuple):
    """Some consecutive hours or days."""

    step: Step
    first: int
    after: int
    """Number of the first hour or day, and of the one after the last."""

    @property
    def tables(self) -> list[Table]:
        """Each of them."""
        return [Table(self.step, number) for number in range(self.first, self.after)]

    def earlier(self, periods: int) -> "Span":
        """As long, and earlier by so many hours or days."""
        return self._replace(first=self.first - periods, after=self.after - periods)


class Query(BaseModel):
    """The parameters of one API."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class _Cells(Query):
    """Of the history's cells."""

    journey: Journey | None = None
    dimension: Literal["all", "channel", "segment"] = "all"
    value: str | None = None
    begin: Moment | None = Field(None, alias="from")
    end: Moment | None = Field(None, alias="to")

    @model_validator(mode="after")
    def _value_of_a_dimension(self) -> Self:
        if self.value is not None and self.dimension == "all":
            raise ValueError("value: only with dimension=channel or dimension=segment")
        return self


class HistoryQuery(_Cells):
    """The parameters of `/api/v1/history`."""

    step: HistoryStep = "1h"
    format: Format | None = None

    def span(self, now: int, config: CoreConfig) -> Span:
        """The hours or days that are asked for; `now` in microseconds.

        Raises:
            WrongQueryError: there are none, or they are no longer kept.
        """
        step = _STEPS[self.step]
        end = now if self.end is None else _time(self.end, now)
        begin = (
            max(end - _DEFAULT[step], _oldest(step, now, config).begin(config.time_zone))
            if self.begin is None
            else _time(self.begin, now)
        )
        return _kept(_span(step, begin, min(end, now), config), now, config)

    def everything(self, now: int, config: CoreConfig) -> Span:
        """All hours or days that are kept."""
        step = _STEPS[self.step]
        return _span(step, _oldest(step, now, config).begin(config.time_zone), now, config)


class ExplainQuery(_Cells):
    """The parameters of `/api/v1/explain`."""

    journey: Journey = "checkout"
    kpi: Annotated[str, AfterValidator(_kpi)] = "upsell_cross_sell_rate"
    against: Against = "yesterday"

    def spans(self, now: int, config: CoreConfig) -> tuple[Span, Span]:
        """The hours before, and the hours in question: without `from` and `to` the last full hour.

        Raises:
            WrongQueryError: there are none, or they are no longer kept.
        """
        kpi = _KPIS[self.kpi]
        if self.dimension not in kpi.dimensions:
            others = ", ".join(sorted(kpi.dimensions))
            raise WrongQueryError(
                f"kpi: {kpi.name} exists for dimension={others} only; cross_sell_rate is the same for all"
            )
        running = now - now % HOUR
        end = running if self.end is None else min(_time(self.end, now), now)
        begin = _floor(end - 1) if self.begin is None else _time(self.begin, now)
        span = _kept(_span("h", begin, end, config), now, config)
        length = {"yesterday": 24, "last_week": 7 * 24, "previous": span.after - span.first}[self.against]
        if span.after - span.first > length:
            raise WrongQueryError(
                f"against={self.against}: the period is longer than {length} hours; take a shorter one, or against=previous"
            )
        before = span.earlier(length)
        try:
            return _kept(before, now, config), span
        except WrongQueryError as error:
            raise WrongQueryError(f"against={self.against}: {error}") from None


class _Days(Query):
    """Of whole days."""

    journey: Journey | None = None
    begin: Moment | None = Field(None, alias="from")
    end: Moment | None = Field(None, alias="to")

    def span(self, now: int, config: CoreConfig) -> Span:
        """The days that are asked for; `now` in microseconds.

        Raises:
            WrongQueryError: there are none, or they are no longer kept.
        """
        end = now if self.end is None else min(_time(self.end, now), now)
        if self.begin is not None:
            return _kept(_span("d", _time(self.begin, now), end, config), now, config)
        last = _span("d", end - 1, end, config).first
        first = max(last - _WEEK + 1, min(last, _oldest("d", now, config).number))
        return _kept(Span("d", first, last + 1), now, config)

    def everything(self, now: int, config: CoreConfig) -> Span:
        """All days that are kept."""
        return _span("d", _oldest("d", now, config).begin(config.time_zone), now, config)


class OffersQuery(_Days):
    """The parameters of `/api/v1/offers`."""

    offer_id: str | None = Field(None, min_length=1)
    slot: str | None = Field(None, min_length=1)
    step: OffersStep = "all"
    format: Format | None = None


class DriversQuery(_Days):
    """The parameters of `/api/v1/drivers`."""

    journey: Journey = "checkout"
    kind: Kind | None = None
    product: str | None = Field(None, min_length=1)
    limit: Annotated[int, BeforeValidator(_limit)] = ROWS
    format: Format | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of rows to show."""
        return KINDS if self.kind is None else (self.kind,)

    @model_validator(mode="after")
    def _csv_of_one_kind(self) -> Self:
        if self.format == "csv" and self.kind is None:
            raise ValueError(
                f"format: csv only with one kind; add kind={', kind='.join(KINDS[:-1])} or kind={KINDS[-1]}"
            )
        return self


Q = TypeVar("Q", bound=Query)


def parse(model: type[Q], parameters: Iterable[tuple[str, Any]]) -> Q:
    """A query from its parameters.

    Raises:
        WrongQueryError: a parameter is not known, is given twice, or has a value that is not allowed.
    """
    given: dict[str, Any] = {}
    for name, value in parameters:
        if name in given:
            raise WrongQueryError(f"{name}: given twice")
        given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise WrongQueryError("; ".join(_explained(model, each) for each in error.errors())) from None


def _explained(model: type[Query], error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    match error["type"]:
        case "extra_forbidden":
            allowed = ", ".join(field.alias or own for own, field in model.model_fields.items())
            return f"{name}: no such parameter; allowed are {allowed}"
        case "literal_error":
            return f"{name}: {error['input']!r} is not allowed; allowed are {error['ctx']['expected'].replace(chr(39), '').replace(' or ', ', ')}"
        case "value_error":
            text = str(error["ctx"]["error"])
            return f"{name}: {text}" if name else text
        case _:
            return f"{name}: {error['msg']}"


def _time(moment: str, now: int) -> int:
    if moment == "now":
        return now
    ago = _AGO.fullmatch(moment)
    if ago is not None:
        return now - int(ago[1]) * (HOUR if ago[2] == "h" else DAY)
    return parse_time(_BLANK_FOR_PLUS.sub("+", moment))


def _floor(time: int) -> int:
    return time - time % HOUR


def _span(step: Step, begin: int, end: int, config: CoreConfig) -> Span:
    """All hours or days that lie in [begin, end) with any part."""
    if begin >= end:
        zone = config.time_zone
        raise WrongQueryError(
            f"from: {rfc3339(begin, zone)} is not before to, {rfc3339(end, zone)}; nothing after the present is known"
        )
    first, last = (
        next(table for table in tables_of(time // QUARTER, config.time_zone) if table.step == step)
        for time in (begin, end - 1)
    )
    return Span(step, first.number, last.number + 1)


def _oldest(step: Step, now: int, config: CoreConfig) -> Table:
    """The oldest hour or day that is kept."""
    kept = config.hours_kept if step == "h" else config.days_kept
    return next(table for table in tables_of((now - kept) // QUARTER, config.time_zone) if table.step == step)


def _kept(span: Span, now: int, config: CoreConfig) -> Span:
    oldest = _oldest(span.step, now, config)
    if span.first < oldest.number:
        hours, days = (kept // DAY for kept in (config.hours_kept, config.days_kept))
        other = "; days are kept longer (step=1d)" if span.step == "h" and days > hours else ""
        kept, what = (hours, "hours") if span.step == "h" else (days, "days")
        since = rfc3339(oldest.begin(config.time_zone), config.time_zone)
        raise WrongQueryError(f"from: {what} are kept for {kept} days, now from {since} on{other}")
    return span
