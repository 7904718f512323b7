"""Alerts on sales, and on the events that the figures are made of.

Rules: there is no minimum count; a rate is called low only if chance does not explain it (`recording.Z`), so a few bad sales page nobody. A page
also needs the newest figures to be low, so it ends soon after the rate has recovered. Thresholds are set by the operator: `upsell_target_ratio`.
"""

from functools import partial

from deploy.generate.recording import (
    COUNTED,
    PROPORTION,
    REVENUE,
    REVENUE_RATIO,
    REVENUE_UPPER_BOUND,
    REVERSED,
    SIX_HOURS,
    TRIALS,
    UNKNOWN,
    UPPER_BOUND,
    WEEK_Z,
)
from deploy.generate.rule import Alert

Z = 4
"""Standard errors between now and last week. With 3 there would be false alarms several times a month: two weeks vary by chance, in two windows each."""

_KPI = "{{ $labels.kpi }} of {{ $labels.journey }}"
_PLACE = "var-env={{ $labels.env }}&var-journey={{ $labels.journey }}"
_LIVE = f"/d/upsell-live?{_PLACE}"
_SEGMENT = f"/d/upsell-segment?{_PLACE}&var-segment={{{{ $labels.segment }}}}"

_TARGET = "upsell:target_ratio:max"


def _rate_below(windows: str, newest: str) -> str:
    """The bound in one of the windows is below the target, and so is the newest rate."""
    return (
        f'    {UPPER_BOUND}{{window=~"{windows}"}} < ignoring (window) group_left () {_TARGET}\n'
        f"  and ignoring (window)\n"
        f'    ({PROPORTION}{{window="{newest}"}} < ignoring (window) {_TARGET})\n'
    )


_REVENUE_TARGET = f'{_TARGET}{{kpi=~"{"|".join(kpi.name for kpi in REVENUE)}"}}'
_WEEKLY = "|".join(kpi.name for kpi in COUNTED if "all" in kpi.dimensions)
_RATE = f'{PROPORTION}{{kpi=~"{_WEEKLY}", segment="all", window=~"1h|24h"}}'
_OPPORTUNITIES = f'{TRIALS}{{kpi="upsell_cross_sell_rate", segment="all", window="1h"}}'
_REVERSALS = f'{PROPORTION}{{kpi="{REVERSED}", window="24h"}}'
_UNKNOWN_INTENTS = f'{PROPORTION}{{kpi="{UNKNOWN}", window="1h"}}'

_alert = partial(Alert, team="commerce", scope="kpi", keep="10m")
_opportunities_drop = partial(
    _alert,
    name="UpsellOpportunitiesDrop",
    hold="5m",
    summary="Far fewer {{ $labels.journey }} opportunities than a week ago",
    description=(
        "The last hour had {{ $value | humanizePercentage }} of the opportunities of the same hour last week. "
        "Either fewer customers came, or events are missing."
    ),
    dashboard=_LIVE,
)


def _fewer_than(share: float) -> str:
    """Opportunities fell below a share of last week's. The difference of two Poisson counts has the variance of their sum."""
    now, then = _OPPORTUNITIES, f"{_OPPORTUNITIES} offset 1w"
    return f"    {now} / {then} < {share}\nand\n    ({then} - {now}) / sqrt({then} + {now}) > {Z}"


ALERTS: tuple[Alert, ...] = (
    _alert(
        name="UpsellRateBelowTarget",
        expr=f"max without (window) (\n{_rate_below('1h', '5m')}  or\n{_rate_below(f'{SIX_HOURS}|24h', '1h')})",
        hold="5m",
        severity="critical",
        summary=f"{_KPI} in segment {{{{ $labels.segment }}}} is below its target",
        description=(
            "The rate is at most {{ $value | humanizePercentage }} (99.98 % confidence), which is below the target. "
            "The newest rate is below it as well."
        ),
        dashboard=_SEGMENT,
    ),
    _alert(
        name="UpsellRevenueBelowTarget",
        expr=(
            f"max without (window) (\n"
            f"    {REVENUE_UPPER_BOUND} < ignoring (window) {_REVENUE_TARGET}\n"
            f"  and ignoring (window)\n"
            f'    ({REVENUE_RATIO}{{window="1h"}} < ignoring (window) {_REVENUE_TARGET})\n'
            f")"
        ),
        hold="5m",
        severity="critical",
        summary=f"{_KPI} in segment {{{{ $labels.segment }}}} is below its target",
        description=(
            "Over 24 hours it is at most {{ $value | humanize }}, allowing for how much its hours vary, which is below the target. "
            "The last hour is below it as well."
        ),
        dashboard=_SEGMENT,
    ),
    _alert(
        name="UpsellRateBelowLastWeek",
        expr=f"min without (window) (\n    {_RATE} / {_RATE} offset 1w < 0.8\n  and\n    {WEEK_Z} < -{Z}\n)",
        hold="5m",
        severity="warning",
        summary=f"{_KPI} is lower than a week ago",
        description="It is {{ $value | humanizePercentage }} of its value at the same time last week. Chance does not explain the difference.",
        dashboard=_LIVE,
    ),
    _opportunities_drop(severity="critical", expr=_fewer_than(0.2)),
    _opportunities_drop(severity="warning", expr=_fewer_than(0.5)),
    _alert(
        name="UpsellReversalsHigh",
        expr=f"    {_REVERSALS} / {_REVERSALS} offset 1w > 1.5\nand\n    {WEEK_Z} > {Z}",
        hold="15m",
        severity="warning",
        summary="Unusually many {{ $labels.journey }} sales are refunded or canceled",
        description="Over 24 hours the share of reversed transactions is {{ $value | humanize }} times that of a week ago.",
        dashboard=_LIVE,
    ),
    _alert(
        name="UpsellUnknownIntentsHigh",
        # The difference and not the quotient, since there may have been none a week ago.
        expr=f"    {_UNKNOWN_INTENTS} > {_UNKNOWN_INTENTS} offset 1w + 0.05\nand\n    {WEEK_Z} > {Z}",
        hold="5m",
        keep="15m",
        severity="warning",
        scope="input",
        summary="Unusually many {{ $labels.journey }} sales have no known intent",
        description=(
            "In the last hour the intent of {{ $value | humanizePercentage }} of the transactions is unknown, more than a week ago. "
            "Such a transaction cannot be an upsell, so the rates are too low."
        ),
        dashboard=_LIVE,
    ),
)
