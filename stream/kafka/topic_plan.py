"""The topics of the application as they should be: what a worker creates, what the senders create, and what `check` compares with.

Rules: an existing topic is never changed. Input topics keep their records as long as the longest window, so that the figures can be computed again if
Redis loses its data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stream.events.decode import LARGEST_RECORD
from stream.kafka.producer import LARGEST_MESSAGE
from stream.kafka.topics import Topic

if TYPE_CHECKING:
    from stream.settings import Settings

RETENTION: Final = "retention.ms"
SIZE: Final = "max.message.bytes"
POLICY: Final = "cleanup.policy"
LARGEST_INPUT: Final = 2 * LARGEST_RECORD
"""Bytes of a batch in a created input topic: the largest valid record fits with its key and headers, also with the header of `redrive`."""
DAY_MS: Final = 86_400_000


def planned_inputs(settings: Settings) -> list[Topic]:
    """The input topics."""
    config = {
        POLICY: "delete",
        RETENTION: str(input_retention(settings)),
        SIZE: str(LARGEST_INPUT),
    }
    names = settings.input_topics
    return [Topic(name, settings.kafka_partitions, config) for name in names]


def planned_outputs(settings: Settings) -> list[Topic]:
    """The topics of outcomes and of dead letters."""
    days = {
        settings.outcome_topic: settings.outcome_retention_days,
        settings.dead_letter_topic: settings.dead_letter_retention_days,
    }
    return [
        Topic(
            name,
            settings.kafka_partitions,
            {POLICY: "delete", RETENTION: str(kept * DAY_MS), SIZE: str(LARGEST_MESSAGE)},
        )
        for name, kept in days.items()
    ]


def planned_topics(settings: Settings) -> list[Topic]:
    """All topics of the application."""
    return [*planned_inputs(settings), *planned_outputs(settings)]


def input_retention(settings: Settings) -> int:
    """Milliseconds that an input topic must keep its records at least: the longest window."""
    return settings.core().horizon // 1000
