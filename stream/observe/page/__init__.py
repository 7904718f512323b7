"""The live page: the global view for people without Grafana, served by every worker.

Rules: the page consists of three static files and loads nothing else. The browser renders it from `/api/v1/rates` and `/page.json` (`state`). Text from
events (labels) is inserted as text only, and the Content-Security-Policy allows only the page's own script. The page shows nothing that identifies a
customer or an order.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

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
    # All three files must be of the same version, and the next request may reach another version.
    "Cache-Control": "no-store",
}
"""HTTP headers of every file."""
LOGIN_HEADERS: Final[Mapping[str, str]] = {
    **HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
}
"""HTTP headers of the form for the token, `login.html`: no script, and it may be sent here only."""

_KPIS: Final = [{"name": kpi.name, "formula": kpi.formula, "unit": kpi.unit, "bands": kpi.bands} for kpi in KPIS]


def read(name: str) -> bytes:
    """The content of a file of the page."""
    return files(__name__).joinpath(name).read_bytes()


def state(
    ready: bool,  # noqa: FBT001 - passed as readiness returns it
    reasons: list[str],
    lag: int,
    sales: list[FlaggedSale],
    unavailable: str | None,
    overview: Overview | None,
) -> bytes:
    """The JSON document `/page.json`. Ages are in seconds, by Redis' clock, because the browser's clock may be wrong.

    `lag` and `sales` are about this worker only. `unavailable` says why there is no `overview`.
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
            **(
                {"age": None, "shards": [], "targets": [], "states": {}, "last_hour": None, "memory": None}
                if overview is None
                else _ages(overview)
            ),
        }
    )


def _ages(overview: Overview) -> dict[str, object]:
    def age(moment: int) -> float | None:
        return None if moment == 0 else round((overview.now - moment) / MICROSECONDS, 1)

    return {
        "age": age(overview.as_of),
        "shards": [
            {
                "topic": shard.shard.topic,
                "partition": shard.shard.partition,
                "age": None if shard.age is None else round(shard.age / MICROSECONDS, 1),
                "newest_event": age(shard.stream_time),
                "unapplied": round(shard.unapplied / MICROSECONDS, 1),
                "halt": None if shard.halt is None else {"reason": shard.halt.reason, "text": shard.halt.text},
            }
            for shard in overview.shards
        ],
        "targets": overview.targets,
        "states": overview.states,
        "last_hour": overview.last_hour,
        "memory": overview.memory,
    }
