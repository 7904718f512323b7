"""The live page: the global view for people without Grafana, served by every worker.

Rules: the page is three static files and loads nothing else; the browser draws it from `/api/v1/rates` and from what is said here. What comes
from events (labels) reaches the document as text only, and the policy sent along lets no script run but the page's own. Nothing
that leads to one customer or order is shown.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final

import msgspec

from stream.core.config import MICROSECONDS
from stream.core.counting.kpi import KPIS
from stream.observe.sales import FlaggedSale
from stream.observe.view import WITHDRAWN_AFTER, Overview

ASSETS: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
"""Path -> file of this package, and its content type."""

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Another version may answer next time, and the three belong together.
    "Cache-Control": "no-store",
}
"""Sent with every file."""

_KPIS: Final = [{"name": kpi.name, "formula": kpi.formula, "unit": kpi.unit, "bands": kpi.bands} for kpi in KPIS]


def read(name: str) -> bytes:
    """A file of the page."""
    return files(__name__).joinpath(name).read_bytes()


def state(
    ready: bool,  # noqa: FBT001 - as readiness is answered
    reasons: list[str],
    lag: int,
    sales: list[FlaggedSale],
    unavailable: str | None,
    overview: Overview | None,
) -> bytes:
    """The JSON document that the page polls beside the rates. Ages are in seconds, by Redis' clock: the browser's may be wrong.

    `lag` and `sales` are of this worker; `unavailable` tells why there is no `overview`.
    """
    return msgspec.json.encode(
        {
            "ready": ready,
            "reasons": reasons,
            "lag": lag,
            "sales": sales,
            "unavailable": unavailable,
            "withdrawn_after": WITHDRAWN_AFTER,
            "kpis": _KPIS,
            **({"age": None, "shards": [], "targets": []} if overview is None else _seen(overview)),
        }
    )


def _seen(overview: Overview) -> dict[str, Any]:
    def age(moment: int) -> float | None:
        return None if moment == 0 else round((overview.now - moment) / MICROSECONDS, 1)

    return {
        "age": age(overview.as_of),
        "shards": [
            {
                "topic": shard.shard.topic,
                "partition": shard.shard.partition,
                "age": round(shard.age / MICROSECONDS, 1),
                "newest_event": age(shard.stream_time),
            }
            for shard in overview.shards
        ],
        "targets": overview.targets,
    }
