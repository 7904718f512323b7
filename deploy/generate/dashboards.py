"""Write the Grafana dashboards as classic JSON: `python -m deploy.generate.dashboards [DIRECTORY]`, by default into deploy/grafana/dashboards.

Rules: ids of dashboards and panels never change once released, because alerts and bookmarks contain them. Live and Pipeline show the whole shop,
Segment shows one segment of one journey. Panels read only metrics of the manifest; tests/deploy/test_dashboards.py runs every query.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.generate import live_dashboard, pipeline_dashboard, segment_dashboard

_COMMITTED = Path(__file__).parents[1] / "grafana" / "dashboards"
_DASHBOARDS: dict[str, Callable[[], dashboard.Dashboard]] = {
    live_dashboard.UID: live_dashboard.live,
    segment_dashboard.UID: segment_dashboard.segment,
    pipeline_dashboard.UID: pipeline_dashboard.pipeline,
}


def render(built: Any) -> str:
    """As it is committed."""
    return json.dumps(built, cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(directory: Path) -> None:
    """Write every dashboard to the directory."""
    for uid, build in _DASHBOARDS.items():
        (directory / f"{uid}.json").write_text(render(build().build()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else _COMMITTED)
