"""Alerts on what is sold, and on what the figures are made of.

Rules: no minimum count; a rate is called low when chance does not explain it (`recording.Z`), so few sales page nobody however they went.
A page also needs the newest figures to be low, and so ends soon after the rate is back. Thresholds are the operator's: `upsell_target_ratio`.
"""

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
from deploy.generate.rule import DAY, HOUR, MINUTE, WEEK, Alert, Group, Severity, Times

_FACE = "{{ $labels.kpi }} of {{ $labels.journey }} in segment {{ $labels.segment }}"
_WHERE = "var-env={{ $labels.env }}&var-journey={{ $labels.journey }}"
_LIVE = f"/d/upsell-live?{_WHERE}"
_SEGMENT = f"/d/upsell-segment?{_WHERE}&var-segment={{{{ $labels.segment }}}}"

Z = 4
"""Standard errors between now and last week. Three would speak up several times a month without a cause: two weeks' chances, and two windows."""


def group(times: Times) -> Group:
    """All of them."""
    return Group(
        "upsell-kpi-alerts",
        (
            _rate_below_target(times),
            _revenue_below_target(times),
            _rate_below_last_week(times),
            *_opportunities_drop(times),
            _reversals_high(times),
            _unknown_intents_high(times),
        ),
    )


def _rate_below_target(times: Times) -> Alert:
    target = "upsell:target_ratio:max"
    five, hour, day = times.window(5 * MINUTE), times.window(HOUR), times.window(DAY)

    def low(windows: str, newest: str) -> str:
        return (
            f'    {UPPER_BOUND}{{window=~"{windows}"}} < ignoring (window) group_left () {target}\n'
            f"  and ignoring (window)\n"
            f'    ({PROPORTION}{{window="{newest}"}} < ignoring (window) {target})\n'
        )

    return Alert(
        name="UpsellRateBelowTarget",
        expr=f"max without (window) (\n{low(hour, five)}  or\n{low(f'{SIX_HOURS}|{day}', hour)})",
        hold=times.span(5 * MINUTE),
        keep=times.span(10 * MINUTE),
        severity="critical",
        team="commerce",
        scope="kpi",
        summary=f"{_FACE} is below its target",
        description=(
            "With 99.98 % confidence the rate is {{ $value | humanizePercentage }} at most, less than the target, and the newest rate is below it, too."
        ),
        dashboard=_SEGMENT,
    )


def _revenue_below_target(times: Times) -> Alert:
    target = f'upsell:target_ratio:max{{kpi=~"{"|".join(kpi.name for kpi in REVENUE)}"}}'
    newest = f'{REVENUE_RATIO}{{window="{times.window(HOUR)}"}}'
    return Alert(
        name="UpsellRevenueBelowTarget",
        expr=(
            f"max without (window) (\n"
            f"    {REVENUE_UPPER_BOUND} < ignoring (window) {target}\n"
            f"  and ignoring (window)\n"
            f"    ({newest} < ignoring (window) {target})\n"
            f")"
        ),
        hold=times.span(5 * MINUTE),
        keep=times.span(10 * MINUTE),
        severity="critical",
        team="commerce",
        scope="kpi",
        summary=f"{_FACE} is below its target",
        description=(
            "Over a day it is {{ $value | humanize }} at most, as far as its hours scatter, which is less than the target, and the last hour is below it, too."
        ),
        dashboard=_SEGMENT,
    )


def _rate_below_last_week(times: Times) -> Alert:
    kpis = "|".join(kpi.name for kpi in COUNTED if "all" in kpi.dimensions)
    now = f'{PROPORTION}{{kpi=~"{kpis}", segment="all", window=~"{times.window(HOUR)}|{times.window(DAY)}"}}'
    return Alert(
        name="UpsellRateBelowLastWeek",
        expr=f"min without (window) (\n    {now} / {now} offset {times.span(WEEK)} < 0.8\n  and\n    {WEEK_Z} < -{Z}\n)",
        hold=times.span(5 * MINUTE),
        keep=times.span(10 * MINUTE),
        severity="warning",
        team="commerce",
        scope="kpi",
        summary="{{ $labels.kpi }} of {{ $labels.journey }} is lower than a week ago",
        description="It is {{ $value | humanizePercentage }} of what it was at the same time last week, by more than chance explains.",
        dashboard=_LIVE,
    )


def _opportunities_drop(times: Times) -> tuple[Alert, Alert]:
    now = f'{TRIALS}{{kpi="upsell_cross_sell_rate", segment="all", window="{times.window(HOUR)}"}}'
    then = f"{now} offset {times.span(WEEK)}"

    def drop(severity: Severity, share: float) -> Alert:
        return Alert(
            name="UpsellOpportunitiesDrop",
            # The difference of two Poisson counts has the variance of their sum.
            expr=f"    {now} / {then} < {share}\nand\n    ({then} - {now}) / sqrt({then} + {now}) > {Z}",
            hold=times.span(5 * MINUTE),
            keep=times.span(10 * MINUTE),
            severity=severity,
            team="commerce",
            scope="kpi",
            summary="Far fewer opportunities of {{ $labels.journey }} than a week ago",
            description="The last hour had {{ $value | humanizePercentage }} of the opportunities of the same hour last week.",
            dashboard=_LIVE,
        )

    return drop("critical", 0.2), drop("warning", 0.5)


def _reversals_high(times: Times) -> Alert:
    now = f'{PROPORTION}{{kpi="{REVERSED}", window="{times.window(DAY)}"}}'
    return Alert(
        name="UpsellReversalsHigh",
        expr=f"    {now} / {now} offset {times.span(WEEK)} > 1.5\nand\n    {WEEK_Z} > {Z}",
        hold=times.span(15 * MINUTE),
        keep=times.span(10 * MINUTE),
        severity="warning",
        team="commerce",
        scope="kpi",
        summary="Unusually many sales of {{ $labels.journey }} are refunded or canceled",
        description="The share of reversed transactions of a day is {{ $value | humanize }} times that of a week ago.",
        dashboard=_LIVE,
    )


def _unknown_intents_high(times: Times) -> Alert:
    now = f'{PROPORTION}{{kpi="{UNKNOWN}", window="{times.window(HOUR)}"}}'
    return Alert(
        name="UpsellUnknownIntentsHigh",
        # There may have been none a week ago, so the difference counts, not the quotient.
        expr=f"    {now} > {now} offset {times.span(WEEK)} + 0.05\nand\n    {WEEK_Z} > {Z}",
        hold=times.span(5 * MINUTE),
        keep=times.span(15 * MINUTE),
        severity="warning",
        team="commerce",
        scope="input",
        summary="Unusually many sales of {{ $labels.journey }} without a known intent",
        description=(
            "In the last hour {{ $value | humanizePercentage }} had none, more than a week ago. They can be no upsell, so the rates are too low."
        ),
        dashboard=_LIVE,
    )
