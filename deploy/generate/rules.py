"""Write the Prometheus rules: `python -m deploy.generate.rules [--scale S] [--directory D]`, by default into deploy/prometheus/rules.

A scale of 1/30 (0.0333) turns every hour into two minutes, to try the whole chain quickly. The workers' windows must then have the names that the rules use.
"""

import argparse
from pathlib import Path

from deploy.generate import kpi_alerts, pipeline_alerts, recording
from deploy.generate.rule import Alert, Group, Links, TimeScale, render

COMMITTED = Path(__file__).parents[1] / "prometheus" / "rules"
ALERTS: tuple[Alert, ...] = (*kpi_alerts.ALERTS, *pipeline_alerts.ALERTS)
_FILES = {
    "recording.yaml": recording.GROUPS,
    "kpi.yaml": (Group("upsell-kpi-alerts", kpi_alerts.ALERTS),),
    "pipeline.yaml": (Group("upsell-pipeline-alerts", pipeline_alerts.ALERTS),),
}


def files(scale: TimeScale, links: Links) -> dict[str, str]:
    """Contents of the rule files by name."""
    return {name: render(groups, scale, links) for name, groups in _FILES.items()}


def main() -> None:
    """Write the files."""
    default = Links()
    parser = argparse.ArgumentParser(description="Write the Prometheus rules.")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all times; 1 is real time")
    parser.add_argument("--runbooks", default=default.runbooks, help="address below which the runbooks are")
    parser.add_argument("--grafana", default=default.grafana, help="address of Grafana")
    parser.add_argument("--directory", type=Path, default=COMMITTED, help="where to write")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in files(TimeScale(options.scale), Links(options.runbooks, options.grafana)).items():
        (options.directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
