"""What somebody should look at although nothing stops: dead letters, and records without a key. In the log, one line a minute at most."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)

EVERY: Final = 60.0
"""Seconds between two lines about the same."""


class AttentionLog:
    """Collects counts; `flush`, called every second or so, logs them."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._rejected: Counter[str] = Counter()
        self._without_key: Counter[str] = Counter()
        self._logged = {"rejected": -math.inf, "without_key": -math.inf}

    def rejected(self, reasons: Mapping[str, int]) -> None:
        """Count records that became dead letters, by reason."""
        self._rejected.update(reasons)

    def without_key(self, topic: str, records: int) -> None:
        """Count records of a topic that were applied although they have no key."""
        self._without_key[topic] += records

    def flush(self) -> None:
        """Log what was counted, unless a line about the same is younger than `EVERY`."""
        if self._rejected and self._is_due("rejected"):
            log.warning(
                "%d records were rejected and are dead letters now: %s. See them with `upsell-stream dead-letters`. If the cause was on this "
                "side and is fixed, `upsell-stream redrive` sends them again; invalid records stay invalid",
                self._rejected.total(),
                _listed(self._rejected),
            )
            self._rejected.clear()
        if self._without_key and self._is_due("without_key"):
            log.warning(
                "%d records without a key were applied (%s). Events of one checkout or subscription may then be in several partitions, and count "
                "as several. Let the producer set the record's key: the customer id, else the anonymous id, else the checkout or subscription id; the same "
                "for all events of one checkout or subscription",
                self._without_key.total(),
                _listed(self._without_key),
            )
            self._without_key.clear()

    def _is_due(self, about: str) -> bool:
        now = self._monotonic()
        if now - self._logged[about] < EVERY:
            return False
        self._logged[about] = now
        return True


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.most_common())
