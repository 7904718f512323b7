"""A number as an option's value."""

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A number in a range; neither `nan`, which every range lets pass, nor infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raise `click.BadParameter` unless it is one."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no finite number", param, ctx)
        return number
