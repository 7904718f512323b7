"""Writes the Prometheus rules: `python -m deploy.generate.rules [--scale S] [--directory D]`, by default those that are committed.

A scale of 1/30 (0.0333) makes every hour two minutes, for a trial of the whole chain; the workers' windows must then be those the rules name.
"""

import argparse
from pathlib import Path

from deploy.generate import kpi_alerts, pipeline_alerts, recording
from deploy.generate.rule import Alert, Places, Times, render

COMMITTED = Path(__file__).parents[1] / "prometheus" / "rules"


def files(times: Times, places: Places) -> dict[str, str]:
    """File names and what is in them."""
    return {
        "recording.yaml": render(recording.groups(times), places),
        "kpi.yaml": render((kpi_alerts.group(times),), places),
        "pipeline.yaml": render((pipeline_alerts.group(times),), places),
    }


def alerts() -> tuple[Alert, ...]:
    """All alerts, in real time."""
    groups = kpi_alerts.group(Times()), pipeline_alerts.group(Times())
    return tuple(rule for group in groups for rule in group.rules if isinstance(rule, Alert))


def main() -> None:
    """Write the files."""
    default = Places()
    parser = argparse.ArgumentParser(description="Write the Prometheus rules.")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all times; 1 is real time")
    parser.add_argument("--runbooks", default=default.runbooks, help="address below which the runbooks are")
    parser.add_argument("--grafana", default=default.grafana, help="address of Grafana")
    parser.add_argument("--directory", type=Path, default=COMMITTED, help="where to write")
    options = parser.parse_args()
    options.directory.mkdir(parents=True, exist_ok=True)
    for name, text in files(Times(options.scale), Places(options.runbooks, options.grafana)).items():
        (options.directory / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
