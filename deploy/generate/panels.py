"""How panels look, the same on every dashboard.

Rules: every panel has an id that never changes (links contain it), a title, a description and a unit. Current figures are instant queries: the last
point of a range query would show an old figure after its series has ended.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.generate.queries import Series
from stream.core.counting.kpi import KPIS, Kpi

SOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
KPI = {kpi.name: kpi for kpi in KPIS}

FACTOR = "suffix:x"
PER_SECOND = "cps"
UNITS = {"percent": units.PercentUnit, "factor": FACTOR}
_BAND_COLORS = ("orange", "green", "blue")
"""Lowest band first. Not red, because a band is no alert."""


def bands(kpi: Kpi) -> dashboard.ThresholdsConfig | None:
    """Colours of the KPI's bands. In Grafana a step includes its own value, so a band `> 0.3` starts at 0.3 here."""
    if not kpi.bands:
        return None
    steps = [
        models.Threshold(value=band.low if band.low > 0 else None, color=color)
        for band, color in zip(reversed(kpi.bands), _BAND_COLORS, strict=True)
    ]
    return thresholds(*((step.value, step.color) for step in steps))


def thresholds(*steps: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Colours by lower bound. The first bound is None: everything below the second."""
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


PLAIN = thresholds((None, "text"))
ANY_IS_BAD = thresholds((None, "green"), (1, "red"))


def now(
    identity: int,
    title: str,
    description: str,
    unit: str,
    *series: Series,
    colors: dashboard.ThresholdsConfig | None = None,
    width: int = 4,
    decimals: int | None = None,
    names: dict[str, str] | None = None,
) -> stat.Panel:
    """One large number per series; `names` maps a value to the text that stands for it."""
    panel = (
        stat.Panel()
        .id(identity)
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .span(width)
        .height(4)
        .thresholds(colors or PLAIN)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(
            common.BigValueTextMode.VALUE_AND_NAME
            if len(series) > 1 or "{{" in series[0].name
            else common.BigValueTextMode.VALUE
        )
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("no value")
    )
    if decimals is not None:
        panel.decimals(decimals)
    if names is not None:
        texts = {
            value: models.ValueMappingResult(text=text, index=number)
            for number, (value, text) in enumerate(names.items())
        }
        panel.mappings([models.ValueMap(options=texts)])
    for query in _instant(series, PromQueryFormat.TIME_SERIES):
        panel.with_target(query)
    return panel


def kpi_now(identity: int, title: str, kpi: str, *series: Series, width: int = 4) -> stat.Panel:
    """The current value of a KPI, in the colours of its bands."""
    row = KPI[kpi]
    legend = ", ".join(f"{band.name} {'>' if band.above else '≥'} {band.low:g}" for band in row.bands)
    return now(
        identity,
        title,
        f"`{kpi}`: {row.formula}, in the chosen window." + (f" Bands: {legend}." if legend else ""),
        UNITS[row.unit],
        *series,
        colors=bands(row),
        width=width,
        decimals=1 if row.unit == "percent" else 2,
    )


def state_of_figures(identity: int, series: Series, width: int = 24) -> stat.Panel:
    """Whether the figures of journeys are live."""
    return now(
        identity,
        "State of the figures",
        "Whether the figures of a journey are live. If not, `upsell-stream status` says why.",
        units.Short,
        series,
        colors=thresholds((None, "red"), (1, "green")),
        width=width,
        names={"0": "not live", "1": "live"},
    )


def lines(
    identity: int,
    title: str,
    description: str,
    unit: str,
    *series: Series,
    width: int = 12,
    stacked: bool = False,
    colors: dashboard.ThresholdsConfig | None = None,
    floor: float | None = 0,
) -> timeseries.Panel:
    """Lines over time. Series whose name ends with `target` or `last week` are dashed."""
    panel = (
        timeseries.Panel()
        .id(identity)
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .span(width)
        .height(8)
        .line_width(2)
        .fill_opacity(30 if stacked else 0)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        .override_by_regexp(
            "/(target|last week)$/",
            [models.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 6]})],
        )
    )
    if floor is not None:
        panel.axis_soft_min(floor)
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if colors is not None:
        panel.thresholds(colors).thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    for number, (expr, name) in enumerate(series):
        panel.with_target(
            prometheus.Dataquery().expr(expr).legend_format(name).range().ref_id(_letter(number)).datasource(SOURCE)
        )
    return panel


def states(
    identity: int, title: str, description: str, series: Series, names: dict[str, tuple[str, str]]
) -> statetimeline.Panel:
    """A bar per series, coloured by its value; `names` maps a value to text and colour."""
    mapping = models.ValueMap(
        options={
            value: models.ValueMappingResult(text=text, color=color, index=number)
            for number, (value, (text, color)) in enumerate(names.items())
        }
    )
    return (
        statetimeline.Panel()
        .id(identity)
        .title(title)
        .description(description)
        .unit(units.Short)
        .datasource(SOURCE)
        .span(24)
        .height(8)
        .mappings([mapping])
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.FIXED).fixed_color("text"))
        .show_value(common.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .no_value("none")
        .with_target(
            prometheus.Dataquery().expr(series.expr).legend_format(series.name).range().ref_id("A").datasource(SOURCE)
        )
    )


class Column(NamedTuple):
    """A column of a table of figures."""

    expr: str
    name: str
    unit: str
    colors: dashboard.ThresholdsConfig | None = None


def figures(
    identity: int,
    title: str,
    description: str,
    labels: Sequence[str],
    *columns: Column,
    link: tuple[str, str, str] | None = None,
    width: int = 24,
    height: int = 9,
) -> table.Panel:
    """A row per set of `labels`, a column per figure. `link` is the label that becomes a link, the link's text, and its URL."""
    panel = _table(identity, title, description, columns[0].unit, width).height(height)
    for query in _instant([Series(column.expr, column.name) for column in columns], PromQueryFormat.TABLE):
        panel.with_target(query)
    value_of = {f"Value #{_letter(number)}": column.name for number, column in enumerate(columns)}
    if len(columns) == 1:
        value_of = {"Value": columns[0].name}
    panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(_organized([*labels, *value_of], value_of))
    for column in columns:
        properties = [models.DynamicConfigValue(id_val="unit", value=column.unit)]
        if column.colors is not None:
            properties += [
                models.DynamicConfigValue(id_val="thresholds", value=column.colors.build()),
                models.DynamicConfigValue(id_val="custom.cellOptions", value={"type": "color-text"}),
            ]
        panel.override_by_name(column.name, properties)
    if link is not None:
        label, text, url = link
        panel.override_by_name(
            label,
            [models.DynamicConfigValue(id_val="links", value=[{"title": text, "url": url, "targetBlank": False}])],
        )
    return panel


def side_by_side(
    identity: int, title: str, description: str, expr: str, columns: Sequence[str], width: int = 12
) -> table.Panel:
    """A row per `figure`, a column per `window`; the windows in `columns` come first, in that order."""
    panel = _table(identity, title, description, units.PercentUnit, width).decimals(1)
    for query in _instant([Series(expr, "")], PromQueryFormat.TABLE):
        panel.with_target(query)
    corner = "figure\\window"
    panel.with_transformation(
        models.DataTransformerConfig(
            id_val="groupingToMatrix",
            options={"rowField": "figure", "columnField": "window", "valueField": "Value", "emptyValue": "null"},
        )
    )
    return panel.with_transformation(_organized([corner, *columns], {corner: "KPI"}))


def _table(identity: int, title: str, description: str, unit: str, width: int) -> table.Panel:
    return (
        table.Panel()
        .id(identity)
        .title(title)
        .description(description)
        .unit(unit)
        .datasource(SOURCE)
        .span(width)
        .height(9)
        .thresholds(PLAIN)
        .no_value("no value")
    )


def _organized(order: Sequence[str], names: dict[str, str]) -> models.DataTransformerConfig:
    options: dict[str, Any] = {
        "excludeByName": {"Time": True, "env": True, "job": True},
        "indexByName": {name: number for number, name in enumerate(order)},
        "renameByName": names,
    }
    return models.DataTransformerConfig(id_val="organize", options=options)


def _instant(series: Sequence[Series], shape: PromQueryFormat) -> Iterable[prometheus.Dataquery]:
    for number, (expr, name) in enumerate(series):
        query = prometheus.Dataquery().expr(expr).instant().format(shape).ref_id(_letter(number)).datasource(SOURCE)
        yield query.legend_format(name) if shape is PromQueryFormat.TIME_SERIES else query


def _letter(number: int) -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[number]
