"""The committed dashboards: up to date, well-formed, and every query is answered by a real Prometheus.

That Prometheus has a week of made-up series of the whole manifest, of two environments: `one` has one worker, `two` two that say the same.
"""

import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import promql_parser
import pytest
from support.prometheus_server import PrometheusServer
from support.servers import started

from deploy.generate import rules
from deploy.generate.rule import Links
from stream.core.counting.kpi import KPIS
from stream.observe.manifest import METRICS

ROOT = Path(__file__).parents[2]
DIRECTORY = ROOT / "deploy" / "grafana" / "dashboards"
DASHBOARDS = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(DIRECTORY.glob("*.json"))}
SAMPLES = {sample: metric for metric in METRICS.values() for sample in metric.samples}
OF_PROMETHEUS = {"ALERTS": {"alertname", "alertstate", "severity", "journey", "segment"}}
OF_THE_SCRAPE = {"env", "instance", "job", "pod"}


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def every(things):
    """Parameters (dashboard, thing), each with an id."""
    found = [(uid, thing) for uid, dashboard in DASHBOARDS.items() for thing in things(dashboard)]
    return [pytest.param(*pair, id=f"{pair[0]}-{pair[1].get('id', pair[1].get('name'))}") for pair in found]


def expressions(panel):
    return [target["expr"] for target in panel["targets"]]


every_panel = pytest.mark.parametrize(("uid", "panel"), every(panels))
every_annotation = pytest.mark.parametrize(("uid", "annotation"), every(lambda one: one["annotations"]["list"]))
every_variable = pytest.mark.parametrize(
    ("uid", "variable"), every(lambda one: [v for v in one["templating"]["list"] if v["type"] == "query"])
)


def test_the_committed_dashboards_are_up_to_date(tmp_path):
    subprocess.run([sys.executable, "-m", "deploy.generate.dashboards", tmp_path], check=True, cwd=ROOT)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.json")}
    assert made == {path.name: path.read_text(encoding="utf-8") for path in DIRECTORY.iterdir()}
    assert DASHBOARDS.keys() == {"upsell-live", "upsell-segment", "upsell-pipeline"}


# Form


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_a_dashboard_is_classic_and_cannot_be_edited(uid):
    dashboard = DASHBOARDS[uid]
    assert dashboard["uid"] == uid
    assert dashboard["schemaVersion"] >= 36
    assert not dashboard["editable"]
    assert not {"apiVersion", "kind", "spec", "elements", "id"} & dashboard.keys()
    assert {"datasource", "env"} <= {variable["name"] for variable in dashboard["templating"]["list"]}
    assert {annotation["name"] for annotation in dashboard["annotations"]["list"]} == {"Deploys", "Alerts"}


def test_all_variables_are_there():
    names = {variable["name"] for one in DASHBOARDS.values() for variable in one["templating"]["list"]}
    assert names >= {"datasource", "env", "journey", "channel", "segment", "window"}


@pytest.mark.parametrize("uid", DASHBOARDS)
def test_panels_have_ids_of_their_own_and_do_not_overlap(uid):
    everything = DASHBOARDS[uid]["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken = set()
    for panel in everything:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert all(x < 24 for x, _ in cells), panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


@every_panel
def test_a_panel_says_what_it_shows(uid, panel):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
        assert source == {"type": "prometheus", "uid": "${datasource}"}
    # The last point of a range query would show an old figure after its series has ended.
    if panel["type"] in ("stat", "table"):
        assert all(target["instant"] for target in panel["targets"])


def test_bands_are_the_thresholds():
    live = {panel["id"]: panel for panel in panels(DASHBOARDS["upsell-live"])}
    for identity, kpi in ((1, "upsell_cross_sell_rate"), (2, "upsell_revenue_ratio"), (4, "cross_sell_rate")):
        steps = live[identity]["fieldConfig"]["defaults"]["thresholds"]["steps"]
        (bands,) = [row.bands for row in KPIS if row.name == kpi]
        assert [step["value"] or 0 for step in steps] == [band.low for band in reversed(bands)]


def test_links_lead_to_dashboards_and_their_variables():
    text = json.dumps(DASHBOARDS)
    links = re.findall(r'"(/d/[^"]+)"', text)
    assert links
    for link in links:
        path, _, query = link.partition("?")
        there = {variable["name"] for variable in DASHBOARDS[path.removeprefix("/d/")]["templating"]["list"]}
        passed = re.findall(r"\$\{(\w+):queryparam\}", query) + re.findall(r"var-(\w+)=", query)
        assert {"env", "journey", "segment"} <= set(passed) <= there


# Queries, as text


def checked(uid, expr):
    """The metrics of a query. Checks their names, labels and rates against the manifest."""
    metrics = set()

    def enter(node):
        if isinstance(node, promql_parser.MatrixSelector):
            enter(node.vector_selector)
        if isinstance(node, promql_parser.VectorSelector):
            labels = OF_PROMETHEUS[node.name] if node.name in OF_PROMETHEUS else set(SAMPLES[node.name].labels)
            matchers = {matcher.name for matcher in node.matchers.matchers}
            assert "env" in matchers, node
            assert matchers <= labels | OF_THE_SCRAPE, node
            metrics.add(node.name)
        return True

    promql_parser.walk(promql_parser.parse(substituted(expr, uid, "one")), enter)
    assert metrics
    for metric in metrics - OF_PROMETHEUS.keys():
        declared = SAMPLES[metric]
        if declared.type != "gauge":
            assert re.search(rf"(rate|increase)\({metric}\{{[^}}]*\}}\[\$__rate_interval\]\)", expr), expr
        elif declared.scope == "global":
            assert re.search(rf"max without \(instance, pod\) \(last_over_time\({metric}\{{", expr), expr
    return metrics


@every_panel
def test_a_panel_reads_what_the_manifest_has(uid, panel):
    for expr in expressions(panel):
        checked(uid, expr)


@every_annotation
def test_an_annotation_reads_what_the_manifest_has(uid, annotation):
    checked(uid, annotation["expr"])


def test_a_metric_that_does_not_exist_is_found():
    with pytest.raises(KeyError, match="upsell_kpi_rate"):
        checked("upsell-live", 'max without (instance, pod) (last_over_time(upsell_kpi_rate{env="$env"}[2m]))')
    with pytest.raises(AssertionError, match="basket"):
        checked(
            "upsell-live", 'max without (instance, pod) (last_over_time(upsell_kpi_ratio{env="$env", basket="x"}[2m]))'
        )


# Queries, answered

VALUES = {
    "kpi": [kpi.name for kpi in KPIS],
    "journey": ["checkout", "subscription"],
    "channel": ["app", "web"],
    "segment": ["all", "new & old"],
    "window": ["5m", "1h"],
    "kind": ["all", "upsell", "cross_sell", "downsell", "restored", "any", "used", "limit"],
    "part": ["initial", "upsell", "cross_sell", "downsell", "restored", "final", "total", "reversed"],
    "currency": ["EUR"],
    "category": ["shoes", "socks"],
    "intent": ["known", "unknown", "incomparable"],
    "topic": ["checkout-events", "subscription-events"],
    "partition": ["0", "1"],
    "detail": ["channel_segment", "revenue", "reversed"],
    "type": ["commerce.checkout.started.v1", "other"],
    "result": ["applied", "duplicate", "rejected"],
    "reason": ["not_json", "full", "partitions_grown"],
    "label": ["channel", "segment"],
    "version": ["0.1.0"],
    "python": ["3.11.7"],
    "faust": ["0.15.3"],
    "dimension": [("all", "all"), ("channel", "web"), ("segment", "new & old")],
}
CHOSEN = {"journey": "checkout", "segment": "new & old", "window": "1h", "__rate_interval": "1m"}
WEEK = 7 * 24 * 3600
LENGTH, STEP = 600, 30


def substituted(expr, uid, env, **variables):
    """The query with its variables replaced: by those given, by all values if several may be chosen, otherwise by one."""
    several = {variable["name"]: ".*" for variable in DASHBOARDS[uid]["templating"]["list"] if variable["multi"]}
    chosen = CHOSEN | several | {"env": env} | variables
    return re.sub(r"\$([a-z_]\w*)", lambda match: chosen[match[1]], expr)


def label_sets(metric):
    names = [name for name in metric.labels if name != "value"]
    for values in itertools.product(*(VALUES[name] for name in names)):
        labels = dict(zip(names, values, strict=True))
        if labels.get("segment") == "all" and metric.name != "upsell_target_ratio":
            continue  # counts are by segment; only a target may be of all
        if "dimension" in labels:
            labels["dimension"], labels["value"] = labels["dimension"]
        yield labels


def samples(end):
    """Lines of a backfill: the last ten minutes, and the same ten minutes a week before."""
    moments = [t for last in (end - WEEK, end) for t in range(last - LENGTH, last + 1, STEP)]

    def line(name, labels, value, moment):
        inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
        return f"{name}{{{inside}}} {value} {moment}"

    for env, workers in (("one", ["a"]), ("two", ["a", "b"])):
        for worker in workers:
            scrape = {"env": env, "job": "upsell-stream", "instance": f"{worker}:8080", "pod": worker}
            for metric in METRICS.values():
                for labels in label_sets(metric):
                    series = scrape | labels
                    for moment in moments:
                        passed = moment - moments[0]
                        if metric.name == "upsell_newest_event_timestamp_seconds":
                            yield line(metric.name, series, moment - 30, moment)
                        elif metric.type == "gauge":
                            yield line(metric.name, series, 0.25 if metric.name.endswith("ratio") else 8, moment)
                        elif metric.type == "counter":
                            yield line(metric.name, series, passed, moment)
                        else:
                            for number, bound in enumerate((*map(str, metric.buckets), "+Inf"), 1):
                                yield line(f"{metric.name}_bucket", series | {"le": bound}, number * passed, moment)
                            yield line(f"{metric.name}_count", series, passed, moment)
                            yield line(f"{metric.name}_sum", series, passed * 10, moment)
            newer = scrape | {"version": "0.2.0", "python": "3.11.7", "faust": "0.15.3"}
            for moment in moments[-5:]:
                yield line("upsell_build_info", newer, 1, moment)
        for moment in moments:
            for state in ("pending", "firing"):
                alert = {"alertname": "UpsellRateBelowTarget", "alertstate": state, "severity": "critical"}
                where = {"env": env, "journey": "checkout", "segment": "new & old"}
                yield line("ALERTS", alert | where, 1, moment)


@pytest.fixture(scope="module")
def now():
    return int(time.time()) - 3600


@pytest.fixture(scope="module")
def prometheus(now):
    server = PrometheusServer()
    server.backfill(samples(now))
    with started(server):
        yield server


def answered(prometheus, uid, target, env, now, **variables):
    expr = substituted(target["expr"], uid, env, **variables)
    if target["instant"]:
        return prometheus.query(expr, now)
    return prometheus.query_range(expr, now - 300, now, 60)


def without_env(result):
    """Values of the series by labels, without `env`."""
    return {
        tuple(sorted((name, value) for name, value in series["metric"].items() if name != "env")): series.get(
            "values", series.get("value")
        )
        for series in result
    }


@pytest.mark.prometheus
@every_panel
def test_every_query_of_a_panel_is_answered(uid, panel, prometheus, now):
    for target in panel["targets"]:
        result = answered(prometheus, uid, target, "two", now)
        assert result, target["expr"]
        shown = re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))
        for series in result:
            labels = series["metric"]
            # Alerts of the pipeline have no journey and no segment.
            assert set(shown) <= labels.keys(), target["expr"]
            assert not {"instance", "pod"} & labels.keys(), f"a series for each worker: {target['expr']}"
            points = [value for _, value in series.get("values", [series.get("value")])]
            assert "NaN" not in points, target["expr"]
        names = [tuple(series["metric"].get(label) for label in shown) for series in result]
        if target.get("legendFormat"):
            assert len(set(names)) == len(names), f"series that look the same: {target['expr']}"
        if all(SAMPLES[name].scope == "global" for name in checked(uid, target["expr"]) if name in SAMPLES):
            alone = answered(prometheus, uid, target, "one", now)
            assert without_env(alone) == without_env(result), f"depends on the number of workers: {target['expr']}"


@pytest.mark.prometheus
def test_the_columns_of_a_table_have_the_same_rows(prometheus, now):
    tables = [(uid, panel) for uid, one in DASHBOARDS.items() for panel in panels(one) if panel["type"] == "table"]
    assert len(tables) >= 4
    for uid, panel in tables:
        rows = [
            {tuple(sorted(series["metric"].items())) for series in answered(prometheus, uid, target, "two", now)}
            for target in panel["targets"]
        ]
        widest = max(rows, key=len)
        assert all(column <= widest for column in rows), panel["title"]
        organized = panel["transformations"][-1]["options"]["indexByName"]
        if panel["transformations"][0]["id"] == "merge":
            assert {name for row in widest for name, _ in row} <= organized.keys(), panel["title"]


@pytest.mark.prometheus
def test_values_of_workers_are_added(prometheus, now):
    uid = "upsell-pipeline"
    (lag,) = [panel for panel in panels(DASHBOARDS[uid]) if panel["title"] == "Consumer lag"]
    one, two = (answered(prometheus, uid, lag["targets"][0], env, now) for env in ("one", "two"))
    assert {value for series in one for _, value in series["values"]} == {"8"}
    assert {value for series in two for _, value in series["values"]} == {"16"}


@pytest.mark.prometheus
@every_annotation
def test_an_annotation_is_found(uid, annotation, prometheus, now):
    result = prometheus.query_range(substituted(annotation["expr"], uid, "two"), now - 300, now, 60)
    shown = re.findall(r"\{\{(\w+)\}\}", annotation["titleFormat"] + annotation["textFormat"])
    assert result
    assert all(set(shown) <= series["metric"].keys() for series in result)
    if annotation["name"] == "Deploys":
        assert [series["metric"]["version"] for series in result] == ["0.2.0"]


@pytest.mark.prometheus
@every_variable
def test_a_variable_has_values(uid, variable, prometheus, now):
    assert variable["refresh"] == 2, "must be read again when the time range changes"
    query = re.fullmatch(r"label_values\((\w+(?:\{.*\})?), (\w+)\)", variable["query"]["query"])
    selector, label = query.groups()
    assert label == variable["name"]
    found = prometheus.label_values(label, substituted(selector, uid, "two"), now - 300, now)
    assert found
    assert variable.get("current", {"value": "$__all"})["value"] in {*found, "$__all"}


# Links of alerts

LABELS = {
    **{label: values[0] for label, values in VALUES.items()},
    "segment": "new & old",
    "env": "two",
    "instance": "a:8080",
}
SHOP_WIDE = {"segment": "all"}
"""Labels as those of an alert about all segments."""
NO_ENV = {"env": ""}
"""Labels as those of an alert on metrics that do not exist."""


@pytest.fixture(scope="module")
def links(tmp_path_factory):
    """The dashboard's address in every alert, for three sets of labels: made by a Prometheus in which every alert fires."""
    directory = tmp_path_factory.mktemp("rules")
    groups = []
    for number, more in enumerate(({}, SHOP_WIDE, NO_ENV)):
        expr = "vector(1)"
        for label, value in (LABELS | more).items():
            if isinstance(value, str):
                expr = f'label_replace({expr}, "{label}", "{value}", "", "")'
        groups += [
            {
                "name": f"{number} {place}",
                "rules": [
                    {
                        "alert": alert.name,
                        "expr": expr,
                        "labels": alert.labels,
                        "annotations": {"dashboard_url": f"{Links().grafana}{alert.dashboard}"},
                    }
                ],
            }
            for place, alert in enumerate(rules.ALERTS)
        ]
    (directory / "rules.yaml").write_text(json.dumps({"groups": groups}))
    config = {"global": {"evaluation_interval": "1s"}, "rule_files": [f"{directory}/rules.yaml"]}
    with started(PrometheusServer(config=json.dumps(config))) as server:
        deadline = time.monotonic() + 120
        while len(alerts := server.alerts()) < len(groups):
            assert time.monotonic() < deadline, alerts
            time.sleep(0.2)
    return {
        (alert["labels"]["alertname"], alert["annotations"]["dashboard_url"])
        for alert in alerts
        if alert["labels"].get("env") or alert["labels"]["alertname"] == "UpsellMetricsAbsent"
    }


@pytest.mark.prometheus
def test_the_link_of_every_alert_opens_panels_with_data(links, prometheus, now):
    assert {name for name, _ in links} == {alert.name for alert in rules.ALERTS}
    opened = set()
    for name, link in links:
        address = urlsplit(link)
        uid = address.path.removeprefix("/d/")
        chosen = {variable.removeprefix("var-"): value for variable, (value,) in parse_qs(address.query).items()}
        there = {variable["name"] for variable in DASHBOARDS[uid]["templating"]["list"]}
        assert chosen.keys() <= there, link
        opened.add((uid, *sorted(chosen.items())))
        env = chosen.pop("env", "two")
        for panel in panels(DASHBOARDS[uid]):
            for target in panel["targets"]:
                assert answered(prometheus, uid, target, env, now, **chosen), (
                    f"{name}: {link}: {panel['title']} is empty"
                )
    assert ("upsell-segment", ("env", "two"), ("journey", "checkout"), ("segment", "new & old")) in opened
    assert {uid for uid, *_ in opened} == DASHBOARDS.keys()


@pytest.mark.prometheus
def test_the_dashboard_of_a_segment_has_nothing_about_all_segments(prometheus, now):
    uid = "upsell-segment"
    (rate,) = [panel for panel in panels(DASHBOARDS[uid]) if panel["id"] == 1]
    assert answered(prometheus, uid, rate["targets"][0], "two", now)
    assert not answered(prometheus, uid, rate["targets"][0], "two", now, segment="all")
