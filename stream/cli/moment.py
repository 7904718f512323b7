"""A time as an option's value."""

from typing import Any

import click

from stream.events.fields import parse_time


class Moment(click.ParamType):
    """RFC 3339 with any offset, to microseconds since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raise `click.BadParameter` unless it is a time."""
        try:
            return parse_time(value)
        except ValueError as error:
            self.fail(f"{value!r} is no time like 2026-01-31T12:00:00Z ({error})", param, ctx)
