"""Whether anything that was shown in a run was wrong: the state of the figures, readiness, and what `status` asks for.

Rules: the truth is what Redis stored (when each shard last committed, and its offset) and what Kafka acknowledged; none of it comes from the code that
computes the states. Nothing here asks a server or a clock, so a test can make up a history. All moments are seconds of one monotonic clock. A moment of
an answer is when it was asked for. In doubt nobody lied: each limit is one that the product promises, plus `TOLERANCE`.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

SILENT = 30.0
"""Seconds without a commit after which a shard's figures are not live."""
BEHIND = 60.0
"""Age in seconds of the oldest record that is not applied from which on figures are behind."""
STUCK = 60.0
"""Seconds after which a worker that commits nothing, although it has records, ends itself; until then it may be ready."""
VIEW = 30.0
"""Seconds for which a worker may show what it read last, while it cannot read again."""
TOLERANCE = 20.0
"""Seconds more than promised, for a busy machine: a view is read every 10 s at worst, an answer and the look at Redis take a few seconds each."""
STEADY = 10.0
"""Longest time in seconds between two commits of a shard that is certainly well: it ticks every 5 s."""
CURRENT = 30.0
"""Largest age in seconds of the oldest record that is not applied by a shard that is certainly well."""
MOMENT = 10.0
"""Seconds for which something must be shown to be a lie: a worker may know of a commit before Redis is read here, and is ready just before the first one."""
GAP = 10.0
"""Seconds without an answer after which it is not known what a place showed in between."""

UP = ("live", "empty")

Shard = tuple[str, int]
"""Topic and partition."""


class Stored(NamedTuple):
    """What Redis has of a shard."""

    committed_at: int | None
    """Time of its last commit, by its owner's clock. It is only compared with the one before."""
    offset: int | None
    """The next record to apply."""
    halted: bool = False


class Answers(NamedTuple):
    """What one worker shows of the figures' states at one time."""

    rates: Mapping[str, Mapping]
    """Journey -> state with reasons; empty: it has no figures."""
    page: Mapping[str, Mapping]
    """The same of the page."""
    up: Mapping[str, bool]
    """Journey -> `upsell_journey_up`."""

    def contradiction(self) -> str | None:
        """How two of them contradict each other."""
        if self.rates != self.page:
            return f"rates show {self.rates}, the page shows {self.page}"
        expected = {journey: journey in self.page and is_up(self.page[journey]["state"]) for journey in self.up}
        return None if expected == self.up else f"rates show {self.rates}, upsell_journey_up is {self.up}"


class _Shard:
    """The truth about one shard."""

    def __init__(self, start: float) -> None:
        self.committed = start
        """When it last committed."""
        self.well_since: float | None = None
        self._rewound = start
        """When its offset last went back."""
        self._stored = Stored(None, None)
        self._acknowledged: list[tuple[int, float]] = []
        """Offset and moment of each record, in the order of the log."""

    def acknowledge(self, offset: int, at: float) -> None:
        insort(self._acknowledged, (offset, at))

    def find(self, stored: Stored, at: float) -> None:
        before, self._stored = self._stored, stored
        if (stored.committed_at or 0) > (before.committed_at or 0):
            self.committed = at
        if (stored.offset or 0) < (before.offset or 0):
            self._rewound = at
        oldest = self._oldest()
        well = (
            stored.committed_at is not None
            and not stored.halted
            and at - self.committed <= STEADY
            and (oldest is None or at - oldest <= CURRENT)
        )
        self.well_since = (at if self.well_since is None else self.well_since) if well else None

    def waiting_since(self) -> float | None:
        """Since when a record could have been applied that is not; None if all are."""
        oldest = self._oldest()
        return None if oldest is None else max(oldest, self._rewound)

    def _oldest(self) -> float | None:
        first = bisect_left(self._acknowledged, (self._stored.offset or 0,))
        return self._acknowledged[first][1] if first < len(self._acknowledged) else None


class Verdict:
    """Judges each answer when it comes. `lies` are those that were wrong."""

    def __init__(self, shards: Mapping[Shard, str], start: float) -> None:
        """`shards`: all of the run, with the journey of each."""
        self.shards = shards
        self.lies: list[str] = []
        self.looks = 0
        """Answers that were judged."""
        self.trials: Counter[str] = Counter()
        """Answers about figures that stood still, for so long that `live` is a lie; by place (`worker` or `status`)."""
        self._start = start
        self._truth = {shard: _Shard(start) for shard in shards}
        self._fault = "start"
        self._calm_since: float | None = None
        self._may_fall_until = start
        self._claims: dict[tuple[str, ...], tuple[float, float]] = {}
        """What is shown -> since when, and until when it was seen."""
        self._owned: dict[str, dict[Shard, float]] = {}
        """Worker -> its shards, and since when it has them."""
        self._totals: dict[str, int] = {}
        self._told: set[tuple[str, ...]] = set()

    # The truth.

    def acknowledge(self, shard: Shard, offset: int, at: float) -> None:
        """Kafka has a record."""
        self._truth[shard].acknowledge(offset, at)

    def find(self, stored: Mapping[Shard, Stored], at: float) -> None:
        """Redis was read."""
        for shard, fields in stored.items():
            self._truth[shard].find(fields, at)

    def miss(self) -> None:
        """Redis could not be read: it is not known that a shard is well."""
        for shard in self._truth.values():
            shard.well_since = None

    def begin(self, fault: str, at: float, *, rewinds: bool = False) -> None:
        """A fault begins. `rewinds`: Redis loses data, so totals fall, until what was lost is applied again."""
        self._fault, self._calm_since = fault, None
        if rewinds:
            self._may_fall_until = float("inf")

    def end(self, at: float) -> None:
        """The fault is repaired; at first: all workers are ready."""
        self._calm_since = at
        if self._may_fall_until == float("inf"):
            self._may_fall_until = at + BEHIND + VIEW + TOLERANCE

    def own(self, worker: str, shards: Iterable[Shard], at: float) -> None:
        """A worker has claimed these shards, and no others."""
        before = self._owned.get(worker, {})
        self._owned[worker] = {shard: before.get(shard, at) for shard in shards}

    # What is shown.

    def show(self, place: str, journey: str, state: str, at: float, *, view: float = VIEW) -> None:
        """A place shows this state of a journey. `view`: how old in seconds its view may be."""
        self.looks += 1
        own = {shard: truth for shard, truth in self._truth.items() if self.shards[shard] == journey}
        silent = [shard for shard, truth in own.items() if at - truth.committed > SILENT + view + TOLERANCE]
        late = [
            shard
            for shard, truth in own.items()
            if (since := truth.waiting_since()) is not None and at - since > BEHIND + view + TOLERANCE
        ]
        moment = self._seconds(("up", place, journey), is_up(state), at) <= MOMENT
        if is_up(state):
            self._judge(
                moment or not silent, ("silent", place, journey), at, f"{journey} is {state}, but no commit of", silent
            )
            self._judge(
                moment or not late, ("late", place, journey), at, f"{journey} is {state}, but old records wait of", late
            )
        if silent or late:
            self.trials["worker" if view else "status"] += 1
        shown = self._seconds(("down", place, journey), not is_up(state), at)
        well = min(_seconds(truth.well_since, at) for truth in own.values())
        self._judge(
            min(shown, well) <= TOLERANCE,
            ("false alarm", place, journey),
            at,
            f"{journey} is {state} for {shown:.0f} s, but all was well for {well:.0f} s",
        )

    def show_nothing(self, place: str, journey: str) -> None:
        """A place shows no state of a journey."""
        self.looks += 1
        for shown in ("up", "down"):
            self._claims.pop((shown, place, journey), None)

    def show_ready(self, worker: str, place: str, ready: bool, at: float) -> None:  # noqa: FBT001 - what is shown
        """A place of a worker shows whether the worker is ready."""
        self.looks += 1
        owned = self._owned.get(worker, {})
        stuck = [
            shard
            for shard, since in owned.items()
            if (waiting := self._truth[shard].waiting_since()) is not None
            and at - max(since, waiting, self._truth[shard].committed) > STUCK + TOLERANCE
        ]
        where = f"{worker} {place}"
        moment = self._seconds(("ready", where), ready, at) <= MOMENT
        if ready:
            self._judge(moment or not stuck, ("stuck", where), at, "ready, but no commit, and records wait, of", stuck)
        shown = self._seconds(("unready", where), not ready and bool(owned), at)
        well = min([_seconds(self._truth[shard].well_since, at) for shard in owned], default=0.0)
        self._judge(
            min(shown, well, _seconds(self._calm_since, at)) <= TOLERANCE,
            ("unready", where),
            at,
            f"unready for {shown:.0f} s, but all its shards were well for {well:.0f} s",
        )

    def show_to_do(self, place: str, to_do: list[str], at: float) -> None:
        """A place says what somebody should do; empty: nothing."""
        self.looks += 1
        shown = self._seconds(("to do", place), bool(to_do), at)
        well = min(_seconds(truth.well_since, at) for truth in self._truth.values())
        self._judge(
            min(shown, well, _seconds(self._calm_since, at)) <= TOLERANCE,
            ("to do", place),
            at,
            f"asks for {to_do} for {shown:.0f} s, but all was well for {well:.0f} s",
        )

    def show_total(self, place: str, state: str, total: int, at: float) -> None:
        """A place shows this number of opportunities of all checkouts, with this state. It only grows, whatever the order of events."""
        self.looks += 1
        if is_up(state) and at > self._may_fall_until:
            highest = self._totals.setdefault(place, total)
            self._judge(total >= highest, ("total", place), at, f"{total:,} opportunities after {highest:,}, {state}")
            self._totals[place] = max(total, highest)

    def contradict(self, worker: str, contradiction: str, at: float) -> None:
        """A worker contradicted itself, also when it was asked again."""
        self._judge(False, ("contradiction", worker), at, contradiction)

    def _judge(
        self,
        holds: bool,  # noqa: FBT001 - reads as a sentence
        what: tuple[str, ...],
        at: float,
        lie: str,
        shards: Iterable[Shard] = (),
    ) -> None:
        """Note a lie, once for each fault."""
        if holds or (self._fault, *what) in self._told:
            return
        self._told.add((self._fault, *what))
        names = ", ".join(f"{topic}/{partition}" for topic, partition in shards)
        place = what[1]
        self.lies.append(f"{at - self._start:.1f} s, {self._fault}: {place}: {lie} {names}".rstrip())

    def _seconds(self, claim: tuple[str, ...], made: bool, at: float) -> float:  # noqa: FBT001 - reads as a sentence
        """For how long this has been shown without a break."""
        if not made:
            self._claims.pop(claim, None)
            return 0.0
        since, seen = self._claims.get(claim, (at, at))
        if at - seen > GAP:
            since = at
        self._claims[claim] = (since, at)
        return at - since


def is_up(state: object) -> bool:
    """Whether figures with this state are said to be right and current."""
    return state in UP


def _seconds(since: float | None, at: float) -> float:
    return 0.0 if since is None else at - since
