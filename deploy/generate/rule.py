"""What a Prometheus rule is here, and how rules become a file.

Rules: expressions and durations are written in real time. `TimeScale` rewrites them for a trial in which time passes faster, and nothing else does.
A record's name is `level:metric:operation`. Every alert has what its receiver needs: severity, team, scope, summary, description, and links to its
runbook and its dashboard.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

Severity = Literal["critical", "warning", "none"]
Team = Literal["commerce", "platform"]
Scope = Literal["kpi", "input", "pipeline"]
"""What an alert is about: sales, the incoming events, or the product itself."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = r"\d+[smhdw]"
_SHORTEST_RANGE = 15
"""Seconds; a shorter range would hold too few scrapes, at any time scale."""
_SHORTEST_WINDOW = 60
"""Seconds; the product has no shorter rolling window."""


@dataclasses.dataclass(frozen=True)
class TimeScale:
    """Durations at a time scale: 1 is real time; at 1/30 an hour becomes two minutes."""

    factor: float = 1.0

    def span(self, duration: str) -> str:
        """A `for`, an offset, or a subquery's range and step; at least 1 s."""
        return self._scaled(duration, 1)

    def range(self, duration: str) -> str:
        """The range of a range selector."""
        return self._scaled(duration, _SHORTEST_RANGE)

    def window(self, name: str) -> str:
        """The name of the product's rolling window; other names stay as they are."""
        return self._scaled(name, _SHORTEST_WINDOW, "hms") if re.fullmatch(_DURATION, name) else name

    def expression(self, promql: str) -> str:
        """PromQL with its ranges, subqueries, offsets and `window` matchers scaled. Plain numbers, such as the ages of shards, stay."""
        promql = re.sub(rf"\[({_DURATION})\]", lambda m: f"[{self.range(m[1])}]", promql)
        promql = re.sub(rf"\[({_DURATION}):({_DURATION})\]", lambda m: f"[{self.span(m[1])}:{self.span(m[2])}]", promql)
        promql = re.sub(rf"\boffset ({_DURATION})", lambda m: f"offset {self.span(m[1])}", promql)
        return re.sub(
            r'\b(window=~?)"([^"]*)"', lambda m: f'{m[1]}"{"|".join(map(self.window, m[2].split("|")))}"', promql
        )

    def _scaled(self, duration: str, shortest: int, units: str = "wdhms") -> str:
        """In the largest of the units that divides it."""
        if self.factor == 1:
            return duration
        seconds = max(shortest, round(int(duration[:-1]) * _UNITS[duration[-1]] * self.factor))
        unit = next(unit for unit in units if seconds % _UNITS[unit] == 0)
        return f"{seconds // _UNITS[unit]}{unit}"


@dataclasses.dataclass(frozen=True)
class Links:
    """Where alerts lead; addresses without a slash at the end."""

    runbooks: str = "docs/runbooks"
    """By default the folder in this repository: there is no public copy to link to."""
    grafana: str = "http://localhost:3000"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A recording rule."""

    name: str
    expr: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def lines(self, scale: TimeScale) -> Iterator[str]:
        """YAML, as a member of a group."""
        yield f"  - record: {self.name}"
        yield from _block("expr", scale.expression(self.expr))
        if self.labels:
            yield from _mapping("labels", {name: _quoted(value) for name, value in self.labels.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alert:
    """An alerting rule."""

    name: str
    expr: str
    hold: str = ""
    """`for`: how long the expression must hold before the alert fires."""
    keep: str = ""
    """`keep_firing_for`: how long the alert fires after the expression has stopped holding."""
    severity: Severity
    team: Team
    scope: Scope
    inhibits: Literal["", "kpi", "rates"] = ""
    """What cannot be trusted while it fires: all KPIs of the environment, or the rates and revenue of the journey."""
    summary: str
    description: str
    dashboard: str
    """Path and variables below Grafana's address."""

    @property
    def labels(self) -> dict[str, str]:
        """Labels that the rule adds to those of its series."""
        added = {"severity": self.severity, "team": self.team, "scope": self.scope}
        return added | ({"inhibits": self.inhibits} if self.inhibits else {})

    def lines(self, scale: TimeScale, links: Links) -> Iterator[str]:
        """YAML, as a member of a group. Addresses are without quotes, because the chart replaces their beginning."""
        yield f"  - alert: {self.name}"
        yield from _block("expr", scale.expression(self.expr))
        if self.hold:
            yield f"    for: {scale.span(self.hold)}"
        if self.keep:
            yield f"    keep_firing_for: {scale.span(self.keep)}"
        yield from _mapping("labels", self.labels)
        yield from _mapping(
            "annotations",
            {
                "summary": _quoted(self.summary),
                "description": _quoted(self.description),
                "runbook_url": f"{links.runbooks}/{self.name}.md",
                "dashboard_url": f"{links.grafana}{self.dashboard}",
            },
        )


@dataclasses.dataclass(frozen=True)
class Group:
    """Rules that Prometheus evaluates in order, so that a rule reads what an earlier one has just recorded."""

    name: str
    rules: tuple[Record | Alert, ...]


def render(groups: Iterable[Group], scale: TimeScale, links: Links) -> str:
    """A rule file. Written without a YAML library, so that the rules can be made where only the product is installed."""
    lines = ["# Generated by deploy/generate/rules.py; change that instead.", "groups:"]
    for group in groups:
        lines += [f"- name: {group.name}", "  rules:"]
        for rule in group.rules:
            lines += rule.lines(scale, links) if isinstance(rule, Alert) else rule.lines(scale)
    return "\n".join(lines) + "\n"


def _mapping(name: str, values: Mapping[str, str]) -> Iterator[str]:
    yield f"    {name}:"
    yield from (f"      {key}: {value}" for key, value in values.items())


def _block(name: str, text: str) -> Iterator[str]:
    # The indicator: the first line of an expression may be indented itself.
    yield f"    {name}: |2-"
    yield from (f"      {line}".rstrip() for line in text.splitlines())


def _quoted(text: str) -> str:
    """A string of JSON is one of YAML."""
    return json.dumps(text, ensure_ascii=False)
