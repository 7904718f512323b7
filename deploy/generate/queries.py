"""How queries are written, the same on every dashboard.

Rules: a global gauge is read by `view` (one worker of many; the last value of 2 minutes), a worker's counter by `per_second`. No panel reads a metric in
another way.
"""

from collections.abc import Iterable
from typing import NamedTuple

ENV = 'env="$env"'
JOURNEY = 'journey=~"$journey"'
WINDOW = 'window="$window"'


class Series(NamedTuple):
    """A query, and the name of its series: a legend that may contain `{{label}}`, or the name of a table's column."""

    expr: str
    name: str


def view(metric: str, *matchers: str, offset: str = "") -> str:
    """A global gauge. Every worker has the same value, so one is enough; the last value of 2 minutes, so that one failed scrape leaves no gap."""
    ago = f" offset {offset}" if offset else ""
    return f"max without (instance, pod) (last_over_time({metric}{{{', '.join((ENV, *matchers))}}}[2m]{ago}))"


def ratio(kpi: str, *matchers: str, offset: str = "") -> str:
    """A KPI in the chosen window."""
    return view("upsell_kpi_ratio", f'kpi="{kpi}"', *matchers, offset=offset)


def target(kpi: str, *matchers: str) -> str:
    """The operator's target of a KPI."""
    return view("upsell_target_ratio", f'kpi="{kpi}"', *matchers)


def by_segment(*matchers: str) -> str:
    """KPIs by segment, and of `all`, with the labels that targets have. The matchers choose the dimensions."""
    value = view("upsell_kpi_ratio", *matchers)
    return f'max by (kpi, journey, segment) (label_replace({value}, "segment", "$1", "value", "(.+)"))'


def by_value(expr: str, label: str) -> str:
    """The sum of a figure by journey and one more label."""
    return f"sum by (journey, {label}) ({expr})"


def matrix(*matchers: str) -> str:
    """Every KPI in every window, with a label `figure` that names the row of a table."""
    return f'max by (figure, window) (label_join({view("upsell_kpi_ratio", *matchers)}, "figure", " · ", "journey", "kpi"))'


def per_second(metric: str, *by: str, matchers: Iterable[str] = ()) -> str:
    """The rate of a counter over all workers."""
    grouping = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouping} (rate({metric}{{{', '.join((ENV, *matchers))}}}[$__rate_interval]))"


def quantile(q: float, histogram: str) -> str:
    """A quantile of a histogram over all workers."""
    return f"histogram_quantile({q}, {per_second(f'{histogram}_bucket', 'le')})"
