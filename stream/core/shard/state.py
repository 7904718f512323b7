"""The shard's own record: what is stored of a shard besides its entities, customers and panes.

Rules: `LAYOUT` is the version of everything that a shard stores. A newer layout is never read: the shard halts and says which version to run. Stored
structs are arrays, so new fields go to the end and have a default.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from stream.core.config import NEVER, CoreConfig, Window
from stream.core.counting.cells import Cells, padded
from stream.core.counting.daily import Daily
from stream.core.counting.history import History, HistoryState
from stream.core.counting.summary import Waiting, decode_recent
from stream.core.counting.windows import NONE, RollingWindow
from stream.core.entities import basket, offers
from stream.core.event import Journey
from stream.core.shard.write_set import ShardId, Stored

LAYOUT = 2
"""Version of everything that a shard stores, and of where the tables store it."""


KEYS_A_DAY = basket.BOUNDS | {offers.OFFERS: offers.BOUND}
"""Keys of a day that have a place, by sort of record (`core.counting.daily`)."""


class _State(msgspec.Struct, array_like=True):
    layout: int
    journey: Journey
    total: list[tuple[tuple[str, ...], list[int]]]
    sets: list[bytes]
    windows: list[tuple[str, int]] | None = None
    """(name, newest pane that may be incomplete) of each window; None where an older version wrote it."""
    history: HistoryState | None = None
    """None where an older version wrote it, which kept no history."""


class _Layout(msgspec.Struct, array_like=True):
    """The part of a state that every version can read."""

    layout: int


class UnreadableStateError(ValueError):
    """This process must not continue from a stored state. The message says what to do."""

    def __init__(self, reason: Literal["newer_layout", "wrong_journey"], text: str) -> None:
        super().__init__(text)
        self.reason: Literal["newer_layout", "wrong_journey"] = reason


class Restored(NamedTuple):
    """A stored shard, decoded."""

    stream_time: int
    watermark: int
    total: Cells
    recent: dict[int, Cells]
    """By slice, as `Delta.slice` is now."""
    sets: set[bytes]
    windows: list[RollingWindow]
    orphans: list[bytes]
    """Panes of windows that the settings no longer have."""
    history: History
    daily: Daily


def restore(shard: ShardId, journey: Journey, config: CoreConfig, stored: Stored, length: int) -> Restored:
    """Decode what the tables hold; `length` is that of a slice of the recent part, microseconds.

    Raises:
        UnreadableStateError: the state was written by a newer version of the product, or for the other journey.
        ValueError: it is damaged.
    """
    total: Cells = {}
    sets: set[bytes] = set()
    dropped: Mapping[str, int] | None = None
    kept: HistoryState | None = HistoryState()
    waiting: dict[int, Cells] = {}
    of_days: Waiting = []
    if stored.state is not None:
        state = _decode(shard, stored.state)
        if state.journey != journey:
            raise UnreadableStateError(
                "wrong_journey",
                f"shard {shard.topic}:{shard.partition} holds {state.journey} events, but the settings name its topic for "
                f"{journey} events. Correct the topic names, or use another UPSELL_APP_ID",
            )
        kept = state.history
        total, sets = padded(state.total), set(state.sets)
        dropped = None if state.windows is None else dict(state.windows)
    stream_time, watermark, recent = NEVER, NEVER, dict[int, Cells]()
    if stored.recent is not None:
        decoded = decode_recent(stored.recent)
        stream_time, watermark, recent = decoded.stream_time, decoded.watermark, decoded.cells(length)
        waiting = {quarter: padded(cells) for quarter, cells in decoded.history}
        of_days = decoded.daily
    # One event of a clock that is far ahead must not keep a new window empty until that time comes.
    newest = stream_time if watermark == NEVER else min(stream_time, watermark + config.lateness)
    panes: dict[str, list[tuple[int, bytes]]] = {window.name: [] for window in config.windows}
    orphans: list[bytes] = []
    for key, data in stored.panes.items():
        name, _, index = key.decode().partition("|")
        if name in panes:
            panes[name].append((int(index), data))
        else:
            orphans.append(key)
    windows = [
        RollingWindow(window, panes[window.name], _dropped_through(window, dropped, stream_time, newest))
        for window in config.windows
    ]
    if kept is None:
        kept = HistoryState(0 if newest == NEVER else newest + 1)
    history = History(config, kept, waiting, None if newest == NEVER else newest)
    daily = Daily(config, KEYS_A_DAY, of_days, history)
    return Restored(stream_time, watermark, total, recent, sets, windows, orphans, history, daily)


def encode(
    journey: Journey, total: Cells, sets: Iterable[bytes], windows: Iterable[RollingWindow], history: History
) -> bytes:
    """The shard's own record as bytes, the same bytes for the same state."""
    dropped = [(window.window.name, window.dropped_through) for window in windows]
    return msgspec.msgpack.encode(_State(LAYOUT, journey, sorted(total.items()), sorted(sets), dropped, history.state))


def decode_history(shard: ShardId, data: bytes) -> tuple[Journey, HistoryState | None]:
    """The journey of a stored shard, and what its record says of its history; None where an older version wrote it.

    Raises:
        UnreadableStateError: a newer version wrote it.
    """
    state = _decode(shard, data)
    return state.journey, state.history


def _decode(shard: ShardId, data: bytes) -> _State:
    layout = msgspec.msgpack.decode(data, type=_Layout).layout
    if layout > LAYOUT:
        raise UnreadableStateError(
            "newer_layout",
            f"shard {shard.topic}:{shard.partition} was written by a newer version of upsell-stream (layout {layout}, "
            f"this one reads up to {LAYOUT}). Run that version, or give this one another UPSELL_APP_ID",
        )
    return msgspec.msgpack.decode(data, type=_State)


def _dropped_through(window: Window, stored: Mapping[str, int] | None, stream_time: int, newest: int) -> int:
    """Newest pane that may be incomplete: dropped, or older than the window itself. Panes after all events are complete."""
    if stored is None:
        return NONE
    if window.name in stored:
        return min(stored[window.name], window.pane_of(stream_time))
    return window.pane_of(newest)
