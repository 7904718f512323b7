"""The committed Prometheus rules: up to date, complete, and with existing metrics. tests/deploy/test_alerts.py runs them."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import get_args

import promql_parser
import pytest
import yaml

from deploy.generate import rules
from deploy.generate.rule import Links, TimeScale
from stream.kafka.cursor import HaltReason
from stream.observe.manifest import METRICS
from stream.tables.interface import UnavailableReason
from stream.worker.status import OF_PROCESS

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
FILES = sorted(rules.COMMITTED.glob("*.yaml"))
RULES = [rule for path in FILES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
NAMES = {rule["alert"] for rule in ALERTS}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
SAMPLES = {sample: metric for metric in METRICS.values() for sample in metric.samples}
SYNTHETIC = {"up"}
TARGET_LABELS = {"env", "job", "instance", "pod"}


def test_the_committed_rules_are_up_to_date():
    assert rules.files(TimeScale(), Links()) == {path.name: path.read_text(encoding="utf-8") for path in FILES}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: f"{alert['alert']}-{alert['labels']['severity']}")
def test_an_alert_has_all_that_its_receiver_needs(alert):
    labels, notes = alert["labels"], alert["annotations"]
    assert labels["severity"] in {"critical", "warning", "none"}
    assert labels["team"] in {"commerce", "platform"}
    assert labels["scope"] in {"kpi", "input", "pipeline"}
    assert not (labels.get("inhibits") == "kpi" and labels["scope"] == "kpi"), "it would silence itself"
    assert notes["summary"]
    assert notes["description"].endswith(".")
    assert notes["runbook_url"].endswith(f"/{alert['alert']}.md")
    # The chart replaces what precedes `/d/`. Where the address leads is tested by tests/deploy/test_dashboards.py.
    assert re.match(r"http://[^/]+/d/upsell-", notes["dashboard_url"])
    runbook = ROOT / notes["runbook_url"]
    assert runbook.is_file(), "the default leads to a file of this repository"
    if labels["scope"] == "kpi":
        assert (alert["keep_firing_for"], "for" in alert) == ("10m", True)


def test_every_alert_has_its_runbook_and_every_runbook_its_alert():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in RUNBOOKS.glob("Upsell*.md")}
    assert pages.keys() == NAMES
    for name, text in pages.items():
        headings = re.findall(r"^##? .*$", text, re.MULTILINE)
        sections = ["Meaning", "First look", "Likely causes", "What to do", "It is over when"]
        assert headings == [f"# {name}", *(f"## {section}" for section in sections)], name
        first = text.partition("## First look\n")[2]
        assert re.match(r"\n```\w+\nupsell-stream status\n", first), name
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((Upsell\w+)\.md\)", index)) == NAMES


def first_cells(name: str) -> dict[str, str]:
    """The first and the last cell of each row of a runbook's table."""
    rows = re.findall(
        r"^\| (`.*?) \|(?:.* )?\|? ?(.*?) \|$", (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    return {reason: last for cell, last in rows for reason in re.findall(r"`(\w+)`", cell)}


def test_the_runbooks_explain_every_reason():
    halts = {reason: "no" if reason in OF_PROCESS else "yes" for reason in get_args(HaltReason)}
    del halts["partitions_grown"]  # which has an alert of its own
    assert first_cells("UpsellShardHalted") == halts
    assert first_cells("UpsellCommitsFailing").keys() == {*get_args(UnavailableReason)} - {"full"}


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    found = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    yield from found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_reads_what_is_exposed_or_recorded(rule):
    for selector in selectors(rule["expr"]):
        assert selector.name in SAMPLES.keys() | RECORDED | SYNTHETIC, selector.name
        if selector.name in SAMPLES:
            matched = {matcher.name for matcher in selector.matchers.matchers}
            assert matched <= set(SAMPLES[selector.name].labels) | TARGET_LABELS


def test_the_check_of_names_finds_what_is_wrong():
    assert [s.name for s in selectors("sum(rate(a_total[5m])) / b or sum_over_time(c[6h:1h])")] == ["a_total", "b", "c"]


def test_a_global_gauge_is_read_once_and_a_worker_counter_is_summed():
    read = [s.name for rule in RULES for s in selectors(rule["expr"]) if s.name in SAMPLES]
    for name in read:
        if METRICS[SAMPLES[name].name].scope == "global" and name != "upsell_shard_age_seconds":
            assert read.count(name) == 1, name


def test_all_times_follow_the_scale():
    scaled = "".join(rules.files(TimeScale(1 / 30), Links()).values())
    assert "offset 336m" in scaled
    assert 'window="2m"' in scaled
    assert 'window="48m"' in scaled
    assert 'window="1m"' in scaled  # the product has none shorter
    assert not re.search(r"offset 1w|for: 5m|\[6h:", scaled)


def test_the_rules_are_made_where_only_the_product_is_installed(tmp_path):
    """With the address of another home, after the installation of the README: `locks/core.txt`, and nothing for contributors."""
    code = (
        "import json, runpy, sys; before = set(sys.modules)\n"
        f"sys.argv = ['rules', '--runbooks', 'https://git.example.com/docs', '--directory', {str(tmp_path)!r}]\n"
        "runpy.run_module('deploy.generate.rules', run_name='__main__')\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    of = packages_distributions()
    used = {
        re.sub("[-_.]+", "-", name.lower()) for module in json.loads(done.stdout) for name in of.get(module, ())
    } - {"upsell-stream"}
    locked = re.findall(r"^([a-z0-9._-]+)==", (ROOT / "locks" / "core.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert used <= set(locked)
    text = (tmp_path / "pipeline.yaml").read_text(encoding="utf-8")
    assert "runbook_url: https://git.example.com/docs/UpsellShardHalted.md" in text
