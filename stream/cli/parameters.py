"""Types of the options' values."""

import math
import re
import sys
from datetime import timedelta
from time import time_ns
from typing import Any, Final

import click

from stream.events.fields import parse_time
from stream.simulate.incident import IncidentWish

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_LONGEST: Final = timedelta(days=400)


class Number(click.FloatRange):
    """A finite number in a range. click's own type accepts `nan` for every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse the number; raises `click.BadParameter` if it is not finite or not in the range."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class Limit(click.IntRange):
    """A number of things to print, at least 0, or `all`."""

    name = "number|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the number; `all` is more than there can be. Raises `click.BadParameter` if it is neither."""
        if value == "all":
            return sys.maxsize
        try:
            number: int = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is neither a number nor all", param, ctx)
        return number


class Time(click.ParamType):
    """A time in RFC 3339, converted to microseconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the time; raises `click.BadParameter` if it is not RFC 3339."""
        try:
            return parse_time(value)
        except ValueError as error:
            self.fail(f"{value!r} is not a time like 2026-01-31T12:00:00Z ({error})", param, ctx)


class Duration(click.ParamType):
    """A length of time such as `90m`, `12h` or `30d`, of at most 400 days, converted to a timedelta."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Parse the duration; raises `click.BadParameter` if it is not a whole number with a unit, or too long."""
        match = re.fullmatch(r"([1-9][0-9]{0,6})([mhd])", value)
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
        if duration is None or duration > _LONGEST:
            self.fail(
                f"{value!r} is not a whole number with m, h or d, such as 15m, 1h or 2d, of at most 400d", param, ctx
            )
        return duration


class Cell(click.ParamType):
    """A drop of sales: channel, segment, hours and factor, separated by commas; what is left out at the end, the seed decides."""

    name = "cell"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> IncidentWish:
        """Parse the cell; raises `click.BadParameter` if it has too many parts, hours that are no whole number, or a factor that is not from 0 to 1."""
        if isinstance(value, IncidentWish):
            return value
        parts: list[str] = value.split(",")
        channel, segment, hours, factor = (parts + [""] * 3)[:4]
        if len(parts) > 4 or not re.fullmatch(r"([1-9][0-9]{0,3})?", hours):
            self.fail(f"{value!r} is not CHANNEL,SEGMENT,HOURS,FACTOR, such as web,vip,3,0.2", param, ctx)
        share = Number(0, 1).convert(factor, param, ctx) if factor else None
        return IncidentWish(channel or None, segment or None, int(hours) if hours else None, share)


class Since(Time):
    """A time in RFC 3339, or how long ago (`15m`, `1h`, `2d`, at most 400 days), converted to microseconds since the epoch."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse the time or the duration; raises `click.BadParameter` if it is neither."""
        if re.fullmatch(r"[0-9.]+ *[a-z]*", value, re.IGNORECASE):
            ago = Duration().convert(value, param, ctx)
            return time_ns() // 1_000 - ago // timedelta(microseconds=1)
        return super().convert(value, param, ctx)
