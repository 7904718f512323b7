"""Records as a file of JSON Lines: one value a line, in order of arrival, the bad ones as they are."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from stream.simulate.record import Emitted


def write_jsonl(events: Iterable[Emitted], path: Path, limit: int | None = None) -> int:
    """Write the values of the records, at most `limit` of them, and return how many were written.

    Topics and keys are not written. The file is replaced if it exists. Without a limit `events` must end (`Shop.take` does).

    Raises:
        OSError: The file cannot be written.
    """
    written = 0
    with path.open("wb") as file:
        for event in islice(events, limit):
            file.write(event.value + b"\n")
            written += 1
    return written
