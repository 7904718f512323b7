"""The dashboard Segment: one segment of one journey in detail."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import units

from deploy.generate.frame import ALL, RATE, WINDOWS, empty, row, variable
from deploy.generate.panels import (
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
)
from deploy.generate.queries import JOURNEY, WINDOW, Series, by_value, matrix, ratio, target, view

UID = "upsell-segment"
_ONE = ('dimension="segment"', 'value="$segment"')


def segment() -> dashboard.Dashboard:
    """The whole dashboard."""
    rate = ratio(RATE, *_ONE, JOURNEY, WINDOW)
    wanted = target(RATE, JOURNEY, 'segment="$segment"')
    here = (JOURNEY, 'segment="$segment"', 'channel=~"$channel"', WINDOW)
    opportunities = by_value(view("upsell_window_opportunities", *here), "channel")
    transactions = by_value(view("upsell_window_transactions", *here), "channel")

    def kind(name: str) -> str:
        return by_value(view("upsell_window_kind_transactions", f'kind="{name}"', *here), "channel")

    reversed_ = view("upsell_window_reversed_transactions", *_ONE, JOURNEY, WINDOW)
    return (
        empty(UID, "Upsell: segment", "One segment of one journey: rates, channels, revenue, customers.", "now-24h")
        .with_variable(variable("journey", "upsell_kpi_ratio", chosen="checkout"))
        .with_variable(variable("segment", "upsell_window_opportunities"))
        .with_variable(variable("channel", "upsell_window_opportunities", several=True))
        .with_variable(variable("window", "upsell_kpi_ratio", chosen="1h"))
        .with_row(row(100, "$segment now"))
        .with_panel(kpi_now(1, "Upsell and cross-sell rate", RATE, _one(RATE)))
        .with_panel(
            now(
                2,
                "Target",
                f"The configured target of `{RATE}` in this segment, if there is one.",
                UNITS["percent"],
                Series(wanted, "target"),
            )
        )
        .with_panel(kpi_now(3, "Upsell ratio", "upsell_ratio", _one("upsell_ratio")))
        .with_panel(kpi_now(4, "Cross-sell ratio", "cross_sell_ratio", _one("cross_sell_ratio")))
        .with_panel(kpi_now(5, "Revenue ratio", "upsell_revenue_ratio", _one("upsell_revenue_ratio")))
        .with_panel(kpi_now(6, "Customers with either", "customer_any_rate", _one("customer_any_rate")))
        .with_panel(state_of_figures(7, Series(view("upsell_journey_up", JOURNEY), "{{journey}}")))
        .with_row(row(101, "Over time"))
        .with_panel(
            lines(
                10,
                "Rate against target and the whole shop",
                "This segment in the chosen window, its target if one is set, and all segments together.",
                UNITS["percent"],
                Series(rate, "{{value}}"),
                Series(wanted, "target"),
                Series(ratio(RATE, ALL, JOURNEY, WINDOW), "all segments"),
                colors=bands(KPI[RATE]),
            )
        )
        .with_panel(
            lines(
                11,
                "Rate now against last week",
                "The rate in the chosen window, and a week before.",
                UNITS["percent"],
                Series(rate, "{{value}}"),
                Series(ratio(RATE, *_ONE, JOURNEY, WINDOW, offset="1w"), "{{value}} last week"),
            )
        )
        .with_panel(
            side_by_side(
                12,
                "Windows side by side",
                "Every KPI of the segment in every window. Ratios as percentages: a revenue ratio of 1.06 is 106 %.",
                matrix(*_ONE, JOURNEY),
                WINDOWS,
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
        .with_row(row(102, "Channels, revenue and customers"))
        .with_panel(
            figures(
                20,
                "Channels",
                "One row per chosen channel. A single row `all` means that workers withhold this detail, to stay within the limit of series.",
                ("journey", "channel"),
                Column(opportunities, "opportunities", units.Short),
                Column(transactions, "transactions", units.Short),
                Column(f"{kind('any')} / ({opportunities} > 0)", "rate", UNITS["percent"], bands(KPI[RATE])),
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
                "In major units of each currency. `total` and `reversed` cover all transactions, the other parts those with known intent.",
                units.Short,
                Series(view("upsell_window_revenue", *_ONE, JOURNEY, WINDOW), "{{part}} {{currency}}"),
            )
        )
        .with_panel(
            lines(
                22,
                "Customers",
                "Distinct customers with a transaction (`all`), and with one of each kind.",
                units.Short,
                Series(view("upsell_window_customers", *_ONE, JOURNEY, WINDOW), "{{kind}}"),
                width=6,
            )
        )
        .with_panel(
            lines(
                23,
                "Reversed transactions",
                "Transactions of the window that were reversed completely (`all`) or in one kind. KPIs are gross, so this does not lower them.",
                units.Short,
                Series(reversed_, "{{kind}}"),
                width=6,
            )
        )
    )


def _one(kpi: str) -> Series:
    return Series(ratio(kpi, *_ONE, JOURNEY, WINDOW), "{{value}}")
