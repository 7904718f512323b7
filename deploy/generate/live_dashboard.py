"""The dashboard Live: the whole shop now, compared with its targets, other windows and last week."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import units

from deploy.generate import segment_dashboard
from deploy.generate.frame import ALERTS, ALL, NO_SEGMENT, RATE, WINDOWS, empty, row, variable
from deploy.generate.panels import (
    FACTOR,
    KPI,
    UNITS,
    Column,
    bands,
    figures,
    kpi_now,
    lines,
    now,
    side_by_side,
    state_of_figures,
    states,
    thresholds,
)
from deploy.generate.queries import ENV, JOURNEY, WINDOW, Series, by_segment, by_value, matrix, ratio, target, view

UID = "upsell-live"
_ALL_OR_SEGMENT = 'dimension=~"all|segment"'
_TO_SEGMENT = (
    f"/d/{segment_dashboard.UID}?${{datasource:queryparam}}&${{env:queryparam}}&${{window:queryparam}}"
    "&var-journey=${__data.fields.journey:percentencode}&var-segment=${__data.fields.segment:percentencode}&${__url_time_range}"
)


def live() -> dashboard.Dashboard:
    """The whole dashboard."""
    opportunities = view("upsell_window_opportunities", JOURNEY, WINDOW)
    transactions = view("upsell_window_transactions", JOURNEY, WINDOW)
    kinds = view("upsell_window_kind_transactions", 'kind=~"upsell|cross_sell|downsell|restored"', JOURNEY, WINDOW)
    revenue = view("upsell_window_revenue", ALL, JOURNEY, WINDOW, 'part=~"initial|final|upsell|cross_sell|restored"')
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
        empty(UID, "Upsell: live", "Current upsell and cross-sell rates of the whole shop.", "now-6h")
        .with_variable(variable("journey", "upsell_kpi_ratio", several=True))
        .with_variable(variable("window", "upsell_kpi_ratio", chosen="1h"))
        .with_row(row(100, "Now"))
        .with_panel(
            kpi_now(1, "Upsell and cross-sell rate", RATE, Series(ratio(RATE, ALL, JOURNEY, WINDOW), "{{journey}}"))
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
        .with_panel(state_of_figures(7, Series(view("upsell_journey_up", JOURNEY), "{{journey}}")))
        .with_row(row(101, "Rates against target"))
        .with_panel(
            lines(
                10,
                "Upsell and cross-sell rate against target",
                "The rate in the chosen window, and its target if one is set. The horizontal lines are the bands.",
                UNITS["percent"],
                Series(ratio(RATE, ALL, JOURNEY, WINDOW), "{{journey}}"),
                Series(target(RATE, JOURNEY, NO_SEGMENT), "{{journey}} target"),
                colors=bands(KPI[RATE]),
            )
        )
        .with_panel(
            lines(
                11,
                "Revenue ratio against target",
                "Money paid per unit of money in the initial intent. The horizontal lines are the bands.",
                FACTOR,
                Series(ratio("upsell_revenue_ratio", ALL, JOURNEY, WINDOW), "{{journey}}"),
                Series(
                    view("upsell_target_ratio", 'kpi="upsell_revenue_ratio"', JOURNEY, NO_SEGMENT),
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
                "Each configured target, and the value in the chosen window. Below 100 % there is an alert only if chance does not explain it.",
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
                "Every alert that was pending or firing in the time shown. An empty panel means that there was none.",
                Series(
                    "max by (alertname, severity, journey, segment) "
                    f'(2 * ALERTS{{{ENV}, alertstate="firing", {ALERTS}}} or ALERTS{{{ENV}, alertstate="pending", {ALERTS}}})',
                    "{{alertname}} {{journey}} {{segment}}",
                ),
                {"1": ("pending", "yellow"), "2": ("firing", "red")},
            )
        )
        .with_row(row(102, "Windows and last week"))
        .with_panel(
            side_by_side(
                20,
                "Windows side by side",
                "Every KPI in every window. Ratios as percentages: a revenue ratio of 1.06 is 106 %.",
                matrix(ALL, JOURNEY),
                WINDOWS,
            )
        )
        .with_panel(
            lines(
                21,
                "Upsell and cross-sell rate by window",
                "Short windows show what happens now, long windows what is usual.",
                UNITS["percent"],
                Series(ratio(RATE, ALL, JOURNEY), "{{journey}} {{window}}"),
            )
        )
        .with_panel(
            lines(
                22,
                "Rate now against last week",
                "The rate in the chosen window, and a week before. Last week is empty until Prometheus has stored a week of figures.",
                UNITS["percent"],
                Series(ratio(RATE, ALL, JOURNEY, WINDOW), "{{journey}}"),
                Series(ratio(RATE, ALL, JOURNEY, WINDOW, offset="1w"), "{{journey}} last week"),
            )
        )
        .with_panel(
            lines(
                23,
                "Opportunities now against last week",
                "Opportunities in the chosen window, and a week before.",
                units.Short,
                Series(f"sum by (journey) ({opportunities})", "{{journey}}"),
                Series(
                    f"sum by (journey) ({view('upsell_window_opportunities', JOURNEY, WINDOW, offset='1w')})",
                    "{{journey}} last week",
                ),
            )
        )
        .with_row(row(103, "Volume and revenue"))
        .with_panel(
            lines(
                30,
                "Volume",
                "Opportunities and transactions in the chosen window.",
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
                "Transactions in the chosen window. A transaction may have several kinds. Restored: back to what a subscriber once came for, no upsell.",
                units.Short,
                Series(by_value(kinds, "kind"), "{{journey}} {{kind}}"),
                width=8,
            )
        )
        .with_panel(
            lines(
                32,
                "Revenue",
                "Amounts in the chosen window, of transactions with known intent, in major units of each currency. Subscriptions count as MRR.",
                units.Short,
                Series(revenue, "{{journey}} {{part}} {{currency}}"),
                width=8,
            )
        )
        .with_row(row(104, "Segments, channels and categories"))
        .with_panel(
            figures(
                40,
                "Segments",
                "One row per segment, in the chosen window. Click a name to open the segment's dashboard.",
                ("journey", "segment"),
                Column(by_value(opportunities, "segment"), "opportunities", units.Short),
                Column(by_value(transactions, "segment"), "transactions", units.Short),
                Column(of_segment(RATE), "rate", UNITS["percent"], bands(KPI[RATE])),
                Column(
                    f"""max by (journey, segment) ({target(RATE, JOURNEY, 'segment!="all"')})""",
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
                "The rate in the chosen window, by channel.",
                UNITS["percent"],
                Series(ratio(RATE, 'dimension="channel"', JOURNEY, WINDOW), "{{journey}} {{value}}"),
            )
        )
        .with_panel(
            figures(
                42,
                "Categories",
                "Transactions with a line of the category, and the shares in which that line was an upsell or a cross-sell.",
                ("journey", "category"),
                Column(by_value(categories, "category"), "transactions", units.Short),
                Column(of_category("upsell"), "upsell ratio", UNITS["percent"]),
                Column(of_category("cross_sell"), "cross-sell rate", UNITS["percent"], bands(KPI["cross_sell_rate"])),
                width=12,
            )
        )
    )


def _live(kpi: str) -> Series:
    return Series(ratio(kpi, ALL, JOURNEY, WINDOW), "{{journey}}")
