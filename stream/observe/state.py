"""The state of the figures, journey by journey: whether they can be trusted now, and if not, why.

Rules: everything is computed from what Redis holds, so that every worker and every command comes to the same result. A reason is shown once, with all of
its shards. Where several states hold, the first of `STATES` is shown, with the reasons of all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, get_args

import msgspec

from stream.core.config import MICROSECONDS
from stream.core.counting.figures import JOURNEYS
from stream.core.counting.summary import Summary
from stream.core.event import Journey
from stream.core.shard.write_set import ShardId
from stream.tables.interface import ACCEPTED, WITHOUT_KEY, Application, Halt, KnownTopic

State = Literal["stopped", "partial", "behind", "empty", "live"]
"""stopped: all shards are halted, unclaimed or silent. partial: some are. behind: the oldest record that is not applied is older than the setting. empty:
nothing was ever applied. live: none of these."""
STATES: Final[tuple[State, ...]] = get_args(State)
"""The worst first."""
SILENT_AFTER: Final = 30 * MICROSECONDS
"""Time without a commit or tick after which a shard is silent, microseconds. A healthy shard ticks every 5 s."""
_HOUR: Final = 3600 * MICROSECONDS


class ShardView(msgspec.Struct, frozen=True):
    """One shard, for metrics and the live page. Times in microseconds."""

    shard: ShardId
    journey: str | None
    """None if it was never committed, and its topic is not known."""
    stream_time: int
    """Newest event time; 0 if there was no event."""
    age: int | None
    """Time since its last commit or tick; None if there was none."""
    unapplied: int
    """Age of the oldest record that was not applied then; 0 if all were."""
    unread: int
    """How long its worker has not been able to read its log; 0 if it can."""
    halt: Halt | None


class Reason(msgspec.Struct, frozen=True):
    """Why figures are not live."""

    reason: str
    """One of `stream.observe.manifest.REASONS`."""
    text: str
    """For people: what it means, and what to do."""
    shards: Sequence[str]
    """`topic/partition` of each."""


class JourneyState(msgspec.Struct, frozen=True):
    """The state of a journey's figures."""

    state: State
    reasons: Sequence[Reason] = ()


def shard_views(application: Application, summaries: Sequence[Summary], now: int) -> list[ShardView]:
    """Every shard that was committed or halted. `summaries` are those of `application.shards`, decoded; `now` by the tables' clock."""
    views = {
        each.shard: ShardView(
            each.shard,
            summary.journey,
            summary.stream_time,
            max(0, now - each.committed_at),
            max(0, now - each.health.oldest_unapplied) if each.health.oldest_unapplied else 0,
            max(0, now - each.health.unread_since) if each.health.unread_since else 0,
            application.halts.get(each.shard),
        )
        for each, summary in zip(application.shards, summaries, strict=True)
    }
    for shard, halt in application.halts.items():
        topic = application.topics.get(shard.topic)
        views.setdefault(shard, ShardView(shard, None if topic is None else topic.journey, 0, None, 0, 0, halt))
    return [views[shard] for shard in sorted(views)]


def journey_states(
    views: Sequence[ShardView],
    topics: Mapping[str, KnownTopic],
    now: int,
    behind: int,
    journeys: Sequence[Journey] | None = None,
) -> dict[str, JourneyState]:
    """The state of each journey's figures.

    `behind`: age of the oldest record that is not applied from which on figures are behind, microseconds. `journeys`: those that are switched on; by
    default those with a topic or a shard, and both if there is none.
    """
    if journeys is None:
        known = {topic.journey for topic in topics.values()} | {view.journey for view in views}
        journeys = [journey for journey in JOURNEYS if journey in known] or JOURNEYS
    return {journey: _state(journey, views, topics, now, behind) for journey in journeys}


def is_up(state: JourneyState) -> bool:
    """Whether figures with this state are right and current."""
    return state.state in ("live", "empty")


class LastHour(msgspec.Struct, frozen=True):
    """What became of the records of the last hour, of all shards."""

    accepted: int
    without_key: int
    """Of the accepted ones."""
    rejected: Mapping[str, int]
    """Dead letters by reason."""

    @property
    def rejections(self) -> int:
        """All dead letters."""
        return sum(self.rejected.values())


def last_hour(application: Application, now: int) -> LastHour:
    """See `ShardHealth.recent`; `now` by the tables' clock."""
    counts: dict[str, int] = {}
    for each in application.shards:
        for start, numbers in each.health.recent:
            if start > now - _HOUR:
                for name, number in numbers.items():
                    counts[name] = counts.get(name, 0) + number
    accepted, without_key = counts.pop(ACCEPTED, 0), counts.pop(WITHOUT_KEY, 0)
    return LastHour(accepted, without_key, dict(sorted(counts.items())))


def _state(
    journey: Journey, views: Sequence[ShardView], topics: Mapping[str, KnownTopic], now: int, behind: int
) -> JourneyState:
    own = {view.shard: view for view in views if view.journey == journey}
    awaited = [
        shard
        for topic, known in topics.items()
        if known.journey == journey and now - known.at > SILENT_AFTER
        for shard in (ShardId(topic, number) for number in range(known.partitions))
        if shard not in own
    ]
    halted = [view for view in own.values() if view.halt is not None]
    silent = [view for view in own.values() if view.halt is None and (view.age or 0) > SILENT_AFTER]
    unread = [view for view in own.values() if view not in halted and view not in silent and view.unread > SILENT_AFTER]
    working = [view for view in own.values() if view not in halted and view not in silent and view not in unread]
    late = [view for view in working if view.unapplied > behind]
    reasons = [*_halts(halted)]
    if silent:
        reasons.append(_silence(silent))
    if awaited:
        reasons.append(
            _reason(
                "unclaimed",
                "no worker has committed these shards yet; start a worker, or see `upsell-stream status`",
                awaited,
            )
        )
    if late:
        oldest = max(view.unapplied for view in late) // MICROSECONDS
        text = f"the oldest record that is not applied is {_duration(oldest)} old; the figures lack what came since"
        reasons.append(_reason("behind", text, [view.shard for view in late]))
    if unread:
        longest = max(view.unread for view in unread) // MICROSECONDS
        text = (
            f"their worker has not been able to read them for {_duration(longest)}: Kafka does not answer, or the next records cannot be read. "
            "Check that the brokers run; /readyz of the worker says why"
        )
        reasons.append(_reason("unread", text, [view.shard for view in unread]))
    missing = len(halted) + len(silent) + len(awaited) + len(unread)
    if missing:
        return JourneyState("stopped" if missing == len(own) + len(awaited) else "partial", reasons)
    if late:
        return JourneyState("behind", reasons)
    return JourneyState("live" if any(view.stream_time for view in own.values()) else "empty")


def _halts(views: Sequence[ShardView]) -> list[Reason]:
    """One reason for each cause, with the text of its first shard."""
    causes: dict[str, tuple[str, list[ShardId]]] = {}
    for view in views:
        if view.halt is not None:
            causes.setdefault(view.halt.reason, (view.halt.text, []))[1].append(view.shard)
    return [_reason(reason, text, shards) for reason, (text, shards) in causes.items()]


def _silence(views: Sequence[ShardView]) -> Reason:
    age = max(view.age or 0 for view in views) // MICROSECONDS
    text = (
        f"no commit for {_duration(age)}: no worker has these shards, or their worker cannot reach Kafka or Redis. Start a worker; "
        "/readyz of each one that runs says why"
    )
    return _reason("silent", text, [view.shard for view in views])


def _reason(reason: str, text: str, shards: Sequence[ShardId]) -> Reason:
    return Reason(reason, text, [f"{shard.topic}/{shard.partition}" for shard in shards])


def _duration(seconds: int) -> str:
    """A duration for people, with one unit."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
