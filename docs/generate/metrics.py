"""The tables of reasons, KPIs and metrics, from `KPIS` and the manifest of metrics."""

from pathlib import Path
from typing import Final

from docs.generate.page import ROOT, table, with_sections
from stream.core.counting.kpi import AMOUNT_KPIS, KPIS, Kpi
from stream.observe.manifest import MANIFEST, REASONS, Metric

PAGE: Final = ROOT / "docs/reference/metrics.md"


def files() -> dict[Path, str]:
    """The page with its current tables."""
    sections = {
        "reasons": table(("reason", "means"), ((f"`{name}`", text) for name, text in REASONS.items())),
        "kpis": table(("KPI", "formula", "figure sets", "bands"), map(_kpi, KPIS)),
        "amounts": table(("KPI", "formula"), ((f"`{kpi.name}`", kpi.formula) for kpi in AMOUNT_KPIS)),
        **{
            scope: table(
                ("metric", "type", "labels", "meaning"),
                (_metric(metric) for metric in MANIFEST if metric.scope == scope),
            )
            for scope in ("global", "worker")
        },
    }
    return {PAGE: with_sections(PAGE.read_text(encoding="utf-8"), sections)}


def _kpi(kpi: Kpi) -> tuple[str, ...]:
    bands = ", ".join(f"{band.name} {'>' if band.above else '≥'} {band.low:g}" for band in kpi.bands)
    return f"`{kpi.name}`", kpi.formula, ", ".join(sorted(kpi.dimensions)), bands


def _metric(metric: Metric) -> tuple[str, ...]:
    buckets = f" Buckets: {', '.join(f'{bound:g}' for bound in metric.buckets)}." if metric.buckets else ""
    return f"`{metric.name}`", metric.type, ", ".join(f"`{label}`" for label in metric.labels), metric.help + buckets
