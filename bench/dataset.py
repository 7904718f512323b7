"""The events for all measurements, from the simulator. They are generated once, cached outside the tree, and shifted in time so that they end now.

Rules: carts become orders twenty times as fast as in a real shop; otherwise a minute of 3,000 events/s would contain hardly any orders. Contenders get
only the checkout events. The same parameters give the same records.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import msgspec

from stream.core.config import CoreConfig
from stream.core.counting.figures import TOTAL
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.events.decode import Rejected, decode_line
from stream.simulate.shop import Shop, ShopSettings

RATE: Final = 3000.0
"""Events per second of event time."""
PACE: Final = 20.0
CUSTOMERS: Final = 100_000
MANY_CUSTOMERS: Final = 1_000_000
"""For an hour of events, in which `CUSTOMERS` would order thirty times each."""
_OPENING: Final = datetime(2026, 1, 1, tzinfo=UTC)
_TIME: Final = re.compile(rb'"time":"([^"]+)"')


class Record(NamedTuple):
    """One record to produce."""

    topic: Literal["checkout", "subscription"]
    key: bytes
    value: bytes


def cache() -> Path:
    """The directory of cached data."""
    directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "upsell-stream" / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def load(count: int, *, customers: int = CUSTOMERS, checkouts_only: bool = False) -> list[Record]:
    """The first `count` records, shifted so that the last one's time is about now."""
    # About a tenth of all records are of subscriptions.
    made = _made(count * 6 // 5 if checkouts_only else count, customers)
    chosen = list(islice((record for record in made if not checkouts_only or record.topic == "checkout"), count))
    last = max(_moment(record.value) for record in chosen)
    return list(moved(chosen, datetime.now(UTC) - timedelta(seconds=5) - last))


def flow(seed: int, opening: datetime) -> Iterator[Record]:
    """Endless checkout events from `opening` on at `RATE`. They are generated on demand, to save memory."""
    shop = Shop(_settings(seed, MANY_CUSTOMERS), opening)
    return (Record(e.topic, e.key, e.value) for e in shop.events() if e.topic == "checkout" and not e.about_offer)


def moved(records: Iterable[Record], by: timedelta) -> Iterator[Record]:
    """The records with their times shifted."""
    for record in records:
        time = (_moment(record.value) + by).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        yield record._replace(value=_TIME.sub(b'"time":"%s"' % time.encode(), record.value, count=1))


def planted(records: Sequence[Record]) -> dict[str, Any]:
    """The correct figures of the checkouts, as `classify` computes them."""
    offline = Offline(CoreConfig(), LabelRegistry())
    for record in records:
        event = decode_line(record.value)
        assert not isinstance(event, Rejected), event
        offline.apply(event)
    return offline.figures().select(TOTAL, "checkout").plain()


def _settings(seed: int, customers: int) -> ShopSettings:
    return ShopSettings(seed=seed, rate=RATE, customers=customers, pace=PACE, daily_rhythm=0.0)


def _made(count: int, customers: int) -> list[Record]:
    path = cache() / f"events-{count}-{customers}.msgpack"
    if not path.exists():
        print(f"generating {count} events of {customers} customers …", flush=True)
        shop = Shop(_settings(1, customers), _OPENING)
        # Without offers: the programs that are compared do not know them.
        facts = (each for each in shop.events() if not each.about_offer)
        records = [Record(e.topic, e.key, e.value) for e in islice(facts, count)]
        partial = path.with_suffix(".partial")
        partial.write_bytes(msgspec.msgpack.encode(records))
        partial.rename(path)
    return msgspec.msgpack.decode(path.read_bytes(), type=list[Record])


def _moment(value: bytes) -> datetime:
    found = _TIME.search(value)
    assert found is not None
    return datetime.fromisoformat(found[1].decode())
