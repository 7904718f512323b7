"""What all dashboards have in common: links, annotations, variables, rows."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as models

from deploy.generate.panels import SOURCE
from deploy.generate.queries import ENV
from stream.core.config import DEFAULT_WINDOWS

RATE = "upsell_cross_sell_rate"
ALL = 'dimension="all"'
NO_SEGMENT = 'segment="all"'
WINDOWS = [window.name for window in DEFAULT_WINDOWS]
ALERTS = 'alertname=~"Upsell.+", alertname!="UpsellWatchdog"'
_TAG = "upsell-stream"


def row(identity: int, title: str) -> dashboard.Row:
    """A heading that the panels below it belong to."""
    return dashboard.Row(title).id(identity)


def empty(uid: str, title: str, description: str, since: str) -> dashboard.Dashboard:
    """A dashboard with its links, annotations and the variables `datasource` and `env`; it shows the time from `since` until now."""
    version = f"upsell_build_info{{{ENV}}}"
    appeared = f"sum by (version) ({version}) unless sum by (version) ({version} offset 5m)"
    return (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([_TAG])
        .readonly()
        .timezone("browser")
        .time(since, "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Upsell dashboards")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([_TAG])
            .include_vars(True)
            .keep_time(True)
        )
        .annotation(_annotation("Deploys", "blue", appeared, "{{version}}", "new version"))
        .annotation(
            _annotation(
                "Alerts",
                "red",
                f'ALERTS{{{ENV}, alertstate="firing", {ALERTS}}}',
                "{{alertname}}",
                "{{severity}} {{journey}} {{segment}}",
            )
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("data source").type("prometheus"))
        .with_variable(variable("env", "upsell_build_info", within=""))
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


def variable(
    label: str, metric: str, *, within: str = f"{{{ENV}}}", several: bool = False, chosen: str | None = None
) -> dashboard.QueryVariable:
    """A variable with the values of a label. `several`: the reader may choose several; all are chosen at first."""
    query = f"label_values({metric}{within}, {label})"
    built = (
        dashboard.QueryVariable(label)
        .label(label)
        .query({"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"})
        .datasource(SOURCE)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if several:
        built.multi(True).include_all(True).all_value(".*")
        built.current(models.VariableOption(text="All", value="$__all", selected=True))
    elif chosen is not None:
        built.current(models.VariableOption(text=chosen, value=chosen, selected=True))
    return built
