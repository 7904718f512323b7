"""Alerts on sales, and on the events that the figures are made of.

Rules: there is no minimum count; a rate is called low only if chance does not explain it (`recording.Z`), so a few bad sales page nobody. A page
also needs the newest figures to be low, so it ends soon after the rate has recovered. Thresholds are set by the operator: `upsell_target_ratio`.
What is wrong from the first day on has no last week to differ from, so silence and unknown intents are also judged on their own.
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
    SUCCESSES,
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
# The dashboard Segment has nothing about all segments together. `/d/` stands outside the condition: the chart replaces what precedes it.
_SEGMENT = (
    f'/d/upsell-{{{{ if eq $labels.segment "all" }}}}live?{_PLACE}'
    f"{{{{ else }}}}segment?{_PLACE}&var-segment={{{{ urlquery $labels.segment }}}}{{{{ end }}}}"
)

_TARGET = "upsell:target_ratio:max"


def _in_any_window(*conditions: str) -> str:
    either = "  or\n".join(conditions)
    return f"max without (window) (\n{either})"


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
_REVERSALS = f'{PROPORTION}{{kpi="{REVERSED}", window="24h"}}'
_MANY_UNKNOWN = 0.5
"""A share of unknown intents that is too large whatever it was last week."""

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
_no_opportunities = partial(_alert, name="UpsellNoOpportunities", hold="5m", dashboard=_LIVE)
_unknown_intents = partial(
    _alert,
    name="UpsellUnknownIntentsHigh",
    hold="5m",
    keep="5m",
    severity="warning",
    scope="input",
    dashboard=_LIVE,
)


def _opportunities(windows: str) -> str:
    return (
        f'{TRIALS}{{kpi="upsell_cross_sell_rate", segment="all", window{"=~" if "|" in windows else "="}"{windows}"}}'
    )


def _unknown_share(window: str) -> str:
    return f'{PROPORTION}{{kpi="{UNKNOWN}", window="{window}"}}'


def _fewer_than(share: float) -> str:
    """Opportunities fell below a share of last week's. The difference of two Poisson counts has the variance of their sum."""
    now = _opportunities("1h")
    then = f"{now} offset 1w"
    return f"    {now} / {then} < {share}\nand\n    ({then} - {now}) / sqrt({then} + {now}) > {Z}"


def _silent(a_day: int, window: str, hours_before: str = "") -> str:
    """No opportunity in the window, nor in the hours before it, in a shop that has so many a day that this is no chance.

    Even where such an hour has only a twentieth of the mean, nine or more would be expected. If last week had none either, that is usual.
    """
    now, then = _opportunities(window), f"{_opportunities(window)} offset 1w"
    if hours_before:
        known = f"{now} offset {hours_before}"
        now, then = (f"max_over_time({_opportunities(window)}[{hours_before}]{ago})" for ago in ("", " offset 1w"))
        now = f"({now} and {known})"
    return (
        f"    {_opportunities('24h')} >= {a_day}\n"
        f"  and ignoring (window)\n    {now} == 0\n"
        f"  unless ignoring (window)\n    {then} == 0\n"
    )


def _mostly_unknown(window: str, newest: str) -> str:
    """Most intents are unknown in the window and still in the newest one. Three standard errors: 36 of 36 are enough, 20 of 20 are not."""
    all_, unknown = (f'{name}{{kpi="{UNKNOWN}", window="{window}"}}' for name in (TRIALS, SUCCESSES))
    return (
        f"    {_unknown_share(window)}\n"
        f"  and\n    {unknown} - 3 * sqrt({unknown}) > {_MANY_UNKNOWN} * {all_}\n"
        f"  and ignoring (window)\n    {_unknown_share(newest)} > {_MANY_UNKNOWN}\n"
    )


ALERTS: tuple[Alert, ...] = (
    _alert(
        name="UpsellRateBelowTarget",
        expr=_in_any_window(_rate_below("1h", "5m"), _rate_below(f"{SIX_HOURS}|24h", "1h")),
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
    _no_opportunities(
        expr=_in_any_window(_silent(50_000, "5m"), _silent(4_300, "1h"), _silent(720, "1h", "5h")),
        severity="critical",
        summary="No {{ $labels.journey }} opportunities any more",
        description=(
            "The last 24 hours had {{ $value | humanize }} opportunities, and now there are none. "
            "Either the shop is down, or its events no longer arrive."
        ),
    ),
    _no_opportunities(
        # The journey is known for six hours, and had nothing in them; a shop that had something may pause for a weekend.
        expr=(
            f"    upsell:journey_up:max and upsell:journey_up:max offset 6h\n"
            f"unless ignoring (kpi, segment, window)\n"
            f"    max without (window) (max_over_time({_opportunities('5m|1h|24h')}[2d])) > 0"
        ),
        severity="warning",
        summary="No {{ $labels.journey }} opportunities at all",
        description=(
            "There were none in three days, or none since the workers started at least six hours ago. Events do not arrive, or not on the topic that is read. "
            "A journey that the shop does not have can be switched off: set its topic to an empty string."
        ),
    ),
    _unknown_intents(
        # The difference and not the quotient, since there may have been none a week ago.
        expr=f"    {_unknown_share('1h')} > {_unknown_share('1h')} offset 1w + 0.05\nand\n    {WEEK_Z} > {Z}",
        inhibits="rates",
        summary="Unusually many {{ $labels.journey }} sales have no known intent",
        description=(
            "In the last hour the intent of {{ $value | humanizePercentage }} of the transactions is unknown, more than a week ago. "
            "Such a transaction cannot be an upsell, so the rates are too low."
        ),
    ),
    # It may be so for good, where most sales have no cart. So it does not inhibit the alerts on rates, whose targets were set for that.
    _unknown_intents(
        expr=_in_any_window(_mostly_unknown("1h", "5m"), _mostly_unknown("24h", "1h")),
        summary="Most {{ $labels.journey }} sales have no known intent",
        description=(
            "The intent of {{ $value | humanizePercentage }} of the transactions is unknown. "
            "Such a transaction cannot be an upsell, so the rates are too low."
        ),
    ),
)
