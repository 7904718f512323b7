"""Types of the options' values."""

import math
from typing import Any

import click

from stream.events.fields import parse_time


class Number(click.FloatRange):
    """A finite number in a range. click's own type accepts `nan` for every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse the number; raises `click.BadParameter` if it is not finite or not in the range."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
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
