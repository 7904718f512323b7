"""Event time of a shard: how far its events have come, what is late, what has expired.

    stream time   newest event time seen
    watermark     newest event time that the clock allows, less the allowed lateness: records that expired before it are forgotten
    late          an event at or before the start of every window

Rules: the watermark follows from the events of the partition's log in their order, and from a clock that only ever lets more of them count. So what is
forgotten does not depend on how the log was cut into batches, on restarts, or on when expired records are removed. One event of a clock that is
far ahead (more than `AHEAD`) does not move the watermark, because it would make the shard forget everything that is open.
"""

from stream.core.config import AHEAD, DAY, NEVER, CoreConfig

LATE_NEVER, LATE_ALWAYS = -(2**63), 2**63


class EventTime:
    """The times of one shard, in microseconds."""

    def __init__(self, config: CoreConfig, stream_time: int, watermark: int) -> None:
        """`stream_time` and `watermark` as stored; `NEVER` for a new shard."""
        self.stream_time = stream_time
        self.watermark = watermark
        self.late_until = LATE_ALWAYS if config.windows else LATE_NEVER
        """Events at or before this time lie in no window: until the windows were first moved, all do; without windows none does."""
        self._lateness = config.lateness
        self._forgets = config.forget
        self._limit = NEVER
        """Newest event time that moves the watermark; without a clock none does."""

    def advance(self, now: int) -> None:
        """Let events up to `AHEAD` after `now` move the watermark."""
        if self._forgets:
            self._limit = now + AHEAD

    def observe(self, time: int) -> None:
        """Note the time of an event that was applied."""
        self.stream_time = max(self.stream_time, time)
        if self.watermark + self._lateness < time <= self._limit:
            self.watermark = time - self._lateness

    def is_late(self, time: int) -> bool:
        """Whether an event of this time lies in no window."""
        return time <= self.late_until

    def is_expired(self, day: int | None) -> bool:
        """Whether a record that may be forgotten after `day` (since the epoch) is forgotten; None never is."""
        return day is not None and day * DAY < self.watermark

    def retention_day(self, time: int) -> int:
        """The day after which a record may be forgotten that was just touched: that of `time`, or of the present event time if that is later.

        So the events of one entity that all come late, one after the other, still find each other.
        """
        return end_of_day(max(time, self.watermark + self._lateness))


def end_of_day(time: int) -> int:
    """The day (since the epoch) at whose end `time` is over: expiries move once a day at most, so most commits do not touch the index."""
    return -(-time // DAY)
