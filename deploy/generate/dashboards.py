"""The Grafana dashboards as classic JSON: `python -m deploy.generate.dashboards [DIRECTORY]`, by default those that are committed.

Rules: identities of dashboards and panels never change once released, since alerts and bookmarks hold them. Live and Pipeline show the whole shop, Segment one
segment of one journey. What a panel reads is in the metric manifest; tests/deploy/test_dashboards.py runs every query.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from deploy.generate.panels import (
    ANY_IS_BAD,
    ENV,
    FACTOR,
    JOURNEY,
    KPI,
    PER_SECOND,
    SOURCE,
    UNITS,
    WINDOW,
    Column,
    Series,
    bands,
    by_segment,
    by_value,
    figures,
    kpi_now,
    lines,
    matrix,
    now,
    per_second,
    quantile,
    ratio,
    side_by_side,
    states,
    target,
    thresholds,
    view,
)
from stream.core.config import DEFAULT_WINDOWS

TAG = "upsell-stream"
LIVE, SEGMENT, PIPELINE = "upsell-live", "upsell-segment", "upsell-pipeline"
_COMMITTED = Path(__file__).parents[1] / "grafana" / "dashboards"

_RATE = "upsell_cross_sell_rate"
_ALL = 'dimension="all"'
_ALL_OR_SEGMENT = 'dimension=~"all|segment"'
_ONE = ('dimension="segment"', 'value="$segment"')
_NO_SEGMENT = 'segment="all"'
_WINDOWS = [window.name for window in DEFAULT_WINDOWS]
_ALERTS = 'alertname=~"Upsell.+", alertname!="UpsellWatchdog"'
_TO_SEGMENT = (
    f"/d/{SEGMENT}?${{datasource:queryparam}}&${{env:queryparam}}&${{window:queryparam}}"
    "&var-journey=${__data.fields.journey:percentencode}&var-segment=${__data.fields.segment:percentencode}&${__url_time_range}"
)


def live() -> dashboard.Dashboard:
    """How the shop does now, against its targets, its other windows and last week."""
    opportunities = view("upsell_window_opportunities", JOURNEY, WINDOW)
    transactions = view("upsell_window_transactions", JOURNEY, WINDOW)
    kinds = view("upsell_window_kind_transactions", 'kind=~"upsell|cross_sell|downsell"', JOURNEY, WINDOW)
    revenue = view("upsell_window_revenue", _ALL, JOURNEY, WINDOW, 'part=~"initial|final|upsell|cross_sell"')
    categories = view("upsell_window_category_transactions", 'kind="all"', JOURNEY, WINDOW)

    def of_category(kind: str) -> str:
        part = view("upsell_window_category_transactions", f'kind="{kind}"', JOURNEY, WINDOW)
        return f"{by_value(part, 'category')} / {by_value(f'({categories} > 0)', 'category')}"

    def of_segment(kpi: str) -> str:
        values = by_segment(f'kpi="{kpi}"', 'dimension="segment"', JOURNEY, WINDOW)
        return f"max by (journey, segment) ({values})"

    targets = f"max by (kpi, journey, segment) ({view('upsell_target_ratio', JOURNEY)})"
    reached = f"{by_segment(_ALL_OR_SEGMENT, JOURNEY, WINDOW)} and on (kpi, journey, segment) {targets}"

    return (
        _dashboard(LIVE, "Upsell: live", "Upsell and cross-sell rates of the shop as it is now.", "now-6h")
        .with_variable(_label("journey", "upsell_kpi_ratio", several=True))
        .with_variable(_label("window", "upsell_kpi_ratio", chosen="1h"))
        .with_row(_row(100, "Now"))
        .with_panel(
            kpi_now(1, "Upsell and cross-sell rate", _RATE, Series(ratio(_RATE, _ALL, JOURNEY, WINDOW), "{{journey}}"))
        )
        .with_panel(kpi_now(2, "Revenue ratio", "upsell_revenue_ratio", _live("upsell_revenue_ratio")))
        .with_panel(kpi_now(3, "Upsell ratio", "upsell_ratio", _live("upsell_ratio")))
        .with_panel(kpi_now(4, "Cross-sell rate", "cross_sell_rate", _live("cross_sell_rate")))
        .with_panel(kpi_now(5, "Customers with either", "customer_any_rate", _live("customer_any_rate")))
        .with_panel(
            now(
                6,
                "Transactions",
                "Paid orders, first payments, changes and renewals in the chosen window.",
                units.Short,
                Series(f"sum by (journey) ({transactions})", "{{journey}}"),
            )
        )
        .with_row(_row(101, "Rates against target"))
        .with_panel(
            lines(
                10,
                "Upsell and cross-sell rate against target",
                "The rate in the chosen window, and the target where one is set. Horizontal lines: the bands.",
                UNITS["percent"],
                Series(ratio(_RATE, _ALL, JOURNEY, WINDOW), "{{journey}}"),
                Series(target(_RATE, JOURNEY, _NO_SEGMENT), "{{journey}} target"),
                colors=bands(KPI[_RATE]),
            )
        )
        .with_panel(
            lines(
                11,
                "Revenue ratio against target",
                "What was paid for every unit of money that was intended. Horizontal lines: the bands.",
                FACTOR,
                Series(ratio("upsell_revenue_ratio", _ALL, JOURNEY, WINDOW), "{{journey}}"),
                Series(
                    view("upsell_target_ratio", 'kpi="upsell_revenue_ratio"', JOURNEY, _NO_SEGMENT),
                    "{{journey}} target",
                ),
                colors=bands(KPI["upsell_revenue_ratio"]),
                floor=None,
            )
        )
        .with_panel(
            figures(
                13,
                "Every target",
                "Each target of the settings against the value in the chosen window. Below 100 % is not yet an alert: that takes evidence enough.",
                ("kpi", "journey", "segment"),
                Column(targets, "target", UNITS["percent"]),
                Column(reached, "value", UNITS["percent"]),
                Column(
                    f"({reached}) / on (kpi, journey, segment) ({targets} > 0)",
                    "of target",
                    units.PercentUnit,
                    thresholds((None, "orange"), (1, "green")),
                ),
                height=6,
            )
        )
        .with_panel(
            states(
                12,
                "Alerts",
                "Every alert that was pending or firing in the time shown. An empty panel is good news.",
                Series(
                    "max by (alertname, severity, journey, segment) "
                    f'(2 * ALERTS{{{ENV}, alertstate="firing", {_ALERTS}}} or ALERTS{{{ENV}, alertstate="pending", {_ALERTS}}})',
                    "{{alertname}} {{journey}} {{segment}}",
                ),
                {"1": ("pending", "yellow"), "2": ("firing", "red")},
            )
        )
        .with_row(_row(102, "Windows and last week"))
        .with_panel(
            side_by_side(
                20,
                "Windows side by side",
                "Every KPI in every window. Ratios as percentages: a revenue ratio of 1.06 is 106 %.",
                matrix(_ALL, JOURNEY),
                _WINDOWS,
            )
        )
        .with_panel(
            lines(
                21,
                "Upsell and cross-sell rate by window",
                "Short windows show what happens now, long ones what is usual.",
                UNITS["percent"],
                Series(ratio(_RATE, _ALL, JOURNEY), "{{journey}} {{window}}"),
            )
        )
        .with_panel(
            lines(
                22,
                "Rate now against last week",
                "The same hour of the same weekday, a week before. Nothing until a week of figures is stored.",
                UNITS["percent"],
                Series(ratio(_RATE, _ALL, JOURNEY, WINDOW), "{{journey}}"),
                Series(ratio(_RATE, _ALL, JOURNEY, WINDOW, offset="1w"), "{{journey}} last week"),
            )
        )
        .with_panel(
            lines(
                23,
                "Opportunities now against last week",
                "Volume in the chosen window, and the same a week before.",
                units.Short,
                Series(f"sum by (journey) ({opportunities})", "{{journey}}"),
                Series(
                    f"sum by (journey) ({view('upsell_window_opportunities', JOURNEY, WINDOW, offset='1w')})",
                    "{{journey}} last week",
                ),
            )
        )
        .with_row(_row(103, "Volume and revenue"))
        .with_panel(
            lines(
                30,
                "Volume",
                "Opportunities and the transactions that came of them, in the chosen window.",
                units.Short,
                Series(f"sum by (journey) ({opportunities})", "{{journey}} opportunities"),
                Series(f"sum by (journey) ({transactions})", "{{journey}} transactions"),
                width=8,
            )
        )
        .with_panel(
            lines(
                31,
                "Transactions by kind",
                "In the chosen window; a transaction may have several kinds.",
                units.Short,
                Series(by_value(kinds, "kind"), "{{journey}} {{kind}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                32,
                "Revenue",
                "Amounts in the chosen window, of transactions with known intent, in major units of each currency; subscriptions as MRR.",
                units.Short,
                Series(revenue, "{{journey}} {{part}} {{currency}}"),
                width=8,
            )
        )
        .with_row(_row(104, "Segments, channels and categories"))
        .with_panel(
            figures(
                40,
                "Segments",
                "One row for each segment, in the chosen window; a click on the name opens it.",
                ("journey", "segment"),
                Column(by_value(opportunities, "segment"), "opportunities", units.Short),
                Column(by_value(transactions, "segment"), "transactions", units.Short),
                Column(of_segment(_RATE), "rate", UNITS["percent"], bands(KPI[_RATE])),
                Column(
                    f"""max by (journey, segment) ({target(_RATE, JOURNEY, 'segment!="all"')})""",
                    "target",
                    UNITS["percent"],
                ),
                Column(
                    of_segment("cross_sell_ratio"),
                    "cross-sell ratio",
                    UNITS["percent"],
                    bands(KPI["cross_sell_ratio"]),
                ),
                Column(of_segment("upsell_revenue_ratio"), "revenue ratio", FACTOR, bands(KPI["upsell_revenue_ratio"])),
                link=("segment", "Open the segment", _TO_SEGMENT),
            )
        )
        .with_panel(
            lines(
                41,
                "Upsell and cross-sell rate by channel",
                "In the chosen window.",
                UNITS["percent"],
                Series(ratio(_RATE, 'dimension="channel"', JOURNEY, WINDOW), "{{journey}} {{value}}"),
            )
        )
        .with_panel(
            figures(
                42,
                "Categories",
                "Transactions with a line of the category, and how many of them it was an upsell or a cross-sell in.",
                ("journey", "category"),
                Column(by_value(categories, "category"), "transactions", units.Short),
                Column(of_category("upsell"), "upsell ratio", UNITS["percent"]),
                Column(of_category("cross_sell"), "cross-sell rate", UNITS["percent"], bands(KPI["cross_sell_rate"])),
                width=12,
            )
        )
    )


def segment() -> dashboard.Dashboard:
    """One segment of one journey in depth."""
    rate = ratio(_RATE, *_ONE, JOURNEY, WINDOW)
    wanted = target(_RATE, JOURNEY, 'segment="$segment"')
    here = (JOURNEY, 'segment="$segment"', 'channel=~"$channel"', WINDOW)
    opportunities = by_value(view("upsell_window_opportunities", *here), "channel")
    transactions = by_value(view("upsell_window_transactions", *here), "channel")

    def kind(name: str) -> str:
        return by_value(view("upsell_window_kind_transactions", f'kind="{name}"', *here), "channel")

    reversed_ = view("upsell_window_reversed_transactions", *_ONE, JOURNEY, WINDOW)
    return (
        _dashboard(
            SEGMENT, "Upsell: segment", "One segment of one journey: rates, channels, revenue, customers.", "now-24h"
        )
        .with_variable(_label("journey", "upsell_kpi_ratio", chosen="checkout"))
        .with_variable(_label("segment", "upsell_window_opportunities"))
        .with_variable(_label("channel", "upsell_window_opportunities", several=True))
        .with_variable(_label("window", "upsell_kpi_ratio", chosen="1h"))
        .with_row(_row(100, "$segment now"))
        .with_panel(kpi_now(1, "Upsell and cross-sell rate", _RATE, _one(_RATE)))
        .with_panel(
            now(
                2,
                "Target",
                f"What `{_RATE}` is to reach in this segment; none where the settings name none.",
                UNITS["percent"],
                Series(wanted, "target"),
            )
        )
        .with_panel(kpi_now(3, "Upsell ratio", "upsell_ratio", _one("upsell_ratio")))
        .with_panel(kpi_now(4, "Cross-sell ratio", "cross_sell_ratio", _one("cross_sell_ratio")))
        .with_panel(kpi_now(5, "Revenue ratio", "upsell_revenue_ratio", _one("upsell_revenue_ratio")))
        .with_panel(kpi_now(6, "Customers with either", "customer_any_rate", _one("customer_any_rate")))
        .with_row(_row(101, "Over time"))
        .with_panel(
            lines(
                10,
                "Rate against target and the whole shop",
                "This segment in the chosen window, its target where one is set, and all segments together.",
                UNITS["percent"],
                Series(rate, "{{value}}"),
                Series(wanted, "target"),
                Series(ratio(_RATE, _ALL, JOURNEY, WINDOW), "all segments"),
                colors=bands(KPI[_RATE]),
            )
        )
        .with_panel(
            lines(
                11,
                "Rate now against last week",
                "The same hour of the same weekday, a week before.",
                UNITS["percent"],
                Series(rate, "{{value}}"),
                Series(ratio(_RATE, *_ONE, JOURNEY, WINDOW, offset="1w"), "{{value}} last week"),
            )
        )
        .with_panel(
            side_by_side(
                12,
                "Windows side by side",
                "Every KPI of the segment in every window. Ratios as percentages: a revenue ratio of 1.06 is 106 %.",
                matrix(*_ONE, JOURNEY),
                _WINDOWS,
            )
        )
        .with_panel(
            lines(
                13,
                "Volume",
                "Opportunities and transactions of the chosen channels in the chosen window.",
                units.Short,
                Series(f"sum ({opportunities})", "opportunities"),
                Series(f"sum ({transactions})", "transactions"),
            )
        )
        .with_row(_row(102, "Channels, revenue and customers"))
        .with_panel(
            figures(
                20,
                "Channels",
                "One row for each chosen channel; one row `all` where the detail is withheld to keep the bound of series.",
                ("journey", "channel"),
                Column(opportunities, "opportunities", units.Short),
                Column(transactions, "transactions", units.Short),
                Column(f"{kind('any')} / ({opportunities} > 0)", "rate", UNITS["percent"], bands(KPI[_RATE])),
                Column(f"{kind('upsell')} / ({transactions} > 0)", "upsell ratio", UNITS["percent"]),
                Column(
                    f"{kind('cross_sell')} / ({transactions} > 0)",
                    "cross-sell ratio",
                    UNITS["percent"],
                    bands(KPI["cross_sell_ratio"]),
                ),
            )
        )
        .with_panel(
            lines(
                21,
                "Revenue",
                "In major units of each currency; `total` and `reversed` of all transactions, the rest of those with known intent.",
                units.Short,
                Series(view("upsell_window_revenue", *_ONE, JOURNEY, WINDOW), "{{part}} {{currency}}"),
            )
        )
        .with_panel(
            lines(
                22,
                "Customers",
                "Distinct customers with a transaction (all), and with one of a kind.",
                units.Short,
                Series(view("upsell_window_customers", *_ONE, JOURNEY, WINDOW), "{{kind}}"),
                width=6,
            )
        )
        .with_panel(
            lines(
                23,
                "Reversed transactions",
                "Transactions of the window that lost everything (all) or a kind to refunds and cancellations. KPIs are gross: this does not lower them.",
                units.Short,
                Series(reversed_, "{{kind}}"),
                width=6,
            )
        )
    )


def pipeline() -> dashboard.Dashboard:
    """Whether events flow, and what is in the way."""
    shard = 'topic=~"$topic"'
    watermark = view("upsell_newest_event_timestamp_seconds", shard)
    age = view("upsell_shard_age_seconds", shard)
    lag = f"sum by (topic, partition) (upsell_consumer_lag_records{{{ENV}, {shard}}})"
    intents = view("upsell_window_intent_transactions", 'window="5m"')
    return (
        _dashboard(PIPELINE, "Upsell: pipeline", "Throughput, lag, delay and failures of the workers.", "now-3h")
        .with_variable(_label("topic", "upsell_newest_event_timestamp_seconds", several=True))
        .with_row(_row(100, "Now"))
        .with_panel(
            now(
                1,
                "Workers ready",
                "Workers that are assigned, have claimed their state and commit.",
                units.Short,
                Series(f"sum (upsell_ready{{{ENV}}})", "ready"),
                colors=thresholds((None, "red"), (1, "green")),
            )
        )
        .with_panel(
            now(
                2,
                "Workers not ready",
                "Workers that are scraped but not ready.",
                units.Short,
                Series(f"sum (1 - upsell_ready{{{ENV}}})", "not ready"),
                colors=ANY_IS_BAD,
            )
        )
        .with_panel(
            now(
                3,
                "Halted shards",
                "Shards that stand still until somebody mends them: see the log of their worker.",
                units.Short,
                # A shard that never halted has no series.
                Series(f"sum (upsell_shard_halted{{{ENV}}}) or 0 * sum (upsell_ready{{{ENV}}})", "halted"),
                colors=ANY_IS_BAD,
            )
        )
        .with_panel(now(4, "Lag", "Records that wait to be committed.", units.Short, Series(f"sum ({lag})", "lag")))
        .with_panel(
            now(
                5,
                "Oldest shard",
                "Time since the shard that is longest without a commit or tick had one. Above 30 s its windows stand still.",
                units.Seconds,
                Series(f"max ({age})", "age"),
                colors=thresholds((None, "green"), (30, "red")),
            )
        )
        .with_panel(
            now(
                6,
                "Versions",
                "Workers of each version.",
                units.Short,
                Series(f"count by (version) (upsell_build_info{{{ENV}}})", "{{version}}"),
            )
        )
        .with_row(_row(101, "Throughput, lag and delay"))
        .with_panel(
            lines(
                10,
                "Events by result",
                "What became of the records read: applied, duplicate, stale, late, unmatched, test, rejected.",
                PER_SECOND,
                Series(per_second("upsell_events_total", "result", matchers=(shard,)), "{{result}}"),
                stacked=True,
            )
        )
        .with_panel(
            lines(
                11,
                "Events by type",
                "All results together.",
                PER_SECOND,
                Series(per_second("upsell_events_total", "type", matchers=(shard,)), "{{type}}"),
            )
        )
        .with_panel(
            lines(
                12,
                "Consumer lag",
                "Records that are not committed yet, by partition.",
                units.Short,
                Series(lag, "{{topic}}/{{partition}}"),
            )
        )
        .with_panel(
            lines(
                13,
                "Delay",
                "From an event's own time to its commit. Producers that send late are in it, too.",
                units.Seconds,
                *(Series(quantile(q, "upsell_event_delay_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
            )
        )
        .with_panel(
            lines(
                14,
                "Watermark age",
                "How old the newest event of a shard is. Old without lag means that nothing was sent.",
                units.Seconds,
                Series(f"time() - {watermark}", "{{topic}}/{{partition}}"),
            )
        )
        .with_panel(
            lines(
                15,
                "Shard age",
                "Time since a shard's last commit or tick; its owner ticks every 5 s.",
                units.Seconds,
                Series(age, "{{topic}}/{{partition}}"),
                colors=thresholds((None, "green"), (30, "red")),
            )
        )
        .with_row(_row(102, "Commits"))
        .with_panel(
            lines(
                20,
                "Commits",
                "Batches committed, and attempts that failed and were made again.",
                PER_SECOND,
                Series(per_second("upsell_commits_total"), "commits"),
                Series(per_second("upsell_commit_failures_total", "reason"), "failed: {{reason}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                21,
                "Commit duration",
                "With all attempts.",
                units.Seconds,
                *(Series(quantile(q, "upsell_commit_duration_seconds"), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)),
                width=8,
            )
        )
        .with_panel(
            lines(
                22,
                "Batch size",
                "Records in a committed batch, on average. Near the setting `batch_records`, the worker is catching up.",
                units.Short,
                Series(
                    f"{per_second('upsell_batch_events_sum')} / {per_second('upsell_batch_events_count')}", "records"
                ),
                width=8,
            )
        )
        .with_row(_row(103, "What is in the way"))
        .with_panel(
            lines(
                30,
                "Dead letters",
                "Records that could not be used, by reason; the originals are in the dead letter topic.",
                PER_SECOND,
                Series(per_second("upsell_dead_letters_total", "reason"), "{{reason}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                31,
                "Rebalances and lost shards",
                "Times that partitions were assigned anew, and shards lost to another owner in the midst of work.",
                units.Short,
                Series(f"sum (increase(upsell_rebalances_total{{{ENV}}}[$__rate_interval]))", "rebalances"),
                Series(f"sum (increase(upsell_fenced_total{{{ENV}}}[$__rate_interval]))", "fenced"),
                width=8,
            )
        )
        .with_panel(
            lines(
                32,
                "Label values without a place",
                "Values of channel, segment, category or currency that were counted as `other`.",
                PER_SECOND,
                Series(per_second("upsell_label_overflow_total", "label"), "{{label}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                33,
                "What is known of the intent",
                "Transactions of the last 5 minutes. Where `unknown` grows, `started` events are missing and rates are too low.",
                units.Short,
                Series(intents, "{{journey}} {{intent}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                34,
                "Newly counted transactions",
                "As they are judged, by journey: unlike the windows never corrected, and counted again when replayed.",
                PER_SECOND,
                Series(per_second("upsell_transactions_total", "journey", matchers=('kind="all"',)), "{{journey}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                35,
                "Details withheld",
                "1: a detail of the windows is not exposed, to keep the bound of series.",
                units.Short,
                Series(view("upsell_view_withheld"), "{{detail}}"),
                width=8,
            )
        )
    )


DASHBOARDS: dict[str, Callable[[], dashboard.Dashboard]] = {LIVE: live, SEGMENT: segment, PIPELINE: pipeline}


def _live(kpi: str) -> Series:
    return Series(ratio(kpi, _ALL, JOURNEY, WINDOW), "{{journey}}")


def _one(kpi: str) -> Series:
    return Series(ratio(kpi, *_ONE, JOURNEY, WINDOW), "{{value}}")


def _row(identity: int, title: str) -> dashboard.Row:
    return dashboard.Row(title).id(identity)


def _dashboard(uid: str, title: str, description: str, since: str) -> dashboard.Dashboard:
    version = f"upsell_build_info{{{ENV}}}"
    appeared = f"sum by (version) ({version}) unless sum by (version) ({version} offset 5m)"
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time(since, "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Upsell dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .annotation(_annotation("Deploys", "blue", appeared, "{{version}}", "new version"))
        .annotation(
            _annotation(
                "Alerts",
                "red",
                f'ALERTS{{{ENV}, alertstate="firing", {_ALERTS}}}',
                "{{alertname}}",
                "{{severity}} {{journey}} {{segment}}",
            )
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("data source").type("prometheus"))
        .with_variable(_label("env", "upsell_build_info", within=""))
    )


def _annotation(name: str, color: str, expr: str, title: str, text: str) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .enable(True)
        .icon_color(color)
        .datasource(SOURCE)
        .expr(expr)
        .title_format(title)
        .text_format(text)
        .step("60s")
    )


def _label(
    label: str, metric: str, *, within: str = f"{{{ENV}}}", several: bool = False, chosen: str | None = None
) -> dashboard.QueryVariable:
    """A variable of the values that a label has. `several`: several may be chosen, at first all."""
    query = f"label_values({metric}{within}, {label})"
    variable = (
        dashboard.QueryVariable(label)
        .label(label)
        .query({"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
        .datasource(SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if several:
        variable.multi(True).include_all(True).all_value(".*")
        variable.current(models.VariableOption(text="All", value="$__all", selected=True))
    elif chosen is not None:
        variable.current(models.VariableOption(text=chosen, value=chosen, selected=True))
    return variable


def render(built: Any) -> str:
    """As it is committed."""
    return json.dumps(built, cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(directory: Path) -> None:
    """Write every dashboard to the directory."""
    for uid, build in DASHBOARDS.items():
        (directory / f"{uid}.json").write_text(render(build().build()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else _COMMITTED)
