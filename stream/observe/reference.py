"""The tables of docs/reference/metrics.md, from the manifest and the KPI table: `python -m stream.observe.reference docs/reference/metrics.md` renews them.

Rules: what stands between `<!-- NAME -->` and `<!-- /NAME -->` is generated; the rest of the page is written by hand.
"""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from stream.core.counting.kpi import KPIS, Kpi
from stream.observe.manifest import MANIFEST


def renewed(page: str) -> str:
    """The page with its generated parts as they must be now.

    Raises:
        ValueError: a part is missing.
    """
    for name, text in _parts().items():
        opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        before, opened, rest = page.partition(opening)
        _, closed, after = rest.partition(closing)
        if not opened or not closed:
            raise ValueError(f"the page has no part {name}")
        page = f"{before}{opening}{text}{closing}{after}"
    return page


def _parts() -> dict[str, str]:
    parts = {"kpis": _table(("KPI", "formula", "figure sets", "bands"), map(_kpi, KPIS))}
    for scope in ("global", "worker"):
        rows = (
            (
                f"`{metric.name}`",
                metric.type,
                ", ".join(f"`{label}`" for label in metric.labels),
                f"{metric.help} Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}."
                if metric.buckets
                else metric.help,
            )
            for metric in MANIFEST
            if metric.scope == scope
        )
        parts[scope] = _table(("metric", "type", "labels", "meaning"), rows)
    return parts


def _kpi(kpi: Kpi) -> tuple[str, str, str, str]:
    bands = ", ".join(f"{band.name} {'>' if band.above else '≥'} {band.low:g}" for band in kpi.bands)
    return f"`{kpi.name}`", kpi.formula, ", ".join(sorted(kpi.dimensions)), bands


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
