"""Reads the topic of dead letters; what is written there is in `stream.events.outcome`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, get_args

from stream.events.decode import Reason
from stream.events.outcome import HEADER_PREFIX
from stream.kafka.producer import CUT, OUTCOME_TOO_LARGE
from stream.kafka.security import client_options
from stream.kafka.topic_reader import TopicReader, topic_reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka import ConsumerRecord

    from stream.settings import Settings

REASONS = (*get_args(Reason), OUTCOME_TOO_LARGE)
"""Every reason that a dead letter can have."""
REDRIVEN = f"{HEADER_PREFIX}redriven"
"""Header of a record that was sent back: when."""


class DeadLetter(NamedTuple):
    """A record of the topic of dead letters. Texts are empty and numbers None where the headers do not have them."""

    record: ConsumerRecord
    """As it is in the topic. Its offset is the dead letter's own, its value and key those of the rejected record."""
    reason: str
    error: str
    """What is wrong, in words; may quote a short value of the record."""
    path: str
    """The wrong field."""
    topic: str
    partition: int | None
    offset: int | None
    """Where the rejected record was read; of an outcome: the record that caused it."""
    cut: int | None
    """Bytes of the value, which was removed because the dead letter was too large for Kafka; None if the value is complete."""
    redriven: bool
    """Whether the record was sent back before."""

    @property
    def written(self) -> int:
        """When the dead letter was written; microseconds since the epoch."""
        return int(self.record.timestamp) * 1_000

    @property
    def is_outcome(self) -> bool:
        """Whether it was to be published as an outcome; otherwise it is a record of an input topic."""
        return self.reason == OUTCOME_TOO_LARGE

    @property
    def own_headers(self) -> list[tuple[str, bytes]]:
        """The headers of the rejected record."""
        return [(name, value) for name, value in self.record.headers if not name.startswith(HEADER_PREFIX)]


def dead_letter(record: ConsumerRecord) -> DeadLetter:
    """Read the headers of a dead letter. Accepts any record: other producers may write to the topic."""
    headers = {name: value or b"" for name, value in record.headers}

    def text(name: str) -> str:
        return headers.get(HEADER_PREFIX + name, b"").decode(errors="replace")

    cut = headers.get(CUT)
    return DeadLetter(
        record,
        text("reason"),
        text("error"),
        text("path"),
        text("source-topic"),
        _number(text("source-partition")),
        _number(text("source-offset")),
        None if cut is None else _number(cut.decode(errors="replace")) or 0,
        REDRIVEN in headers,
    )


@asynccontextmanager
async def dead_letter_reader(settings: Settings) -> AsyncIterator[TopicReader]:
    """A reader of the topic of dead letters. Raises as `topic_reader`."""
    options = client_options(settings)
    async with topic_reader(settings.kafka_bootstrap_servers, options, [settings.dead_letter_topic]) as reader:
        yield reader


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None
