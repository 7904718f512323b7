"""The worker's log on standard error: as text, or as one JSON object a line.

Rules: everything that this product logs is written. A library's warnings and errors are written once a minute for each logger and message, with the number
of those left out: while Kafka is down its client logs dozens of the same errors a second, and the line that says what to do would be lost among them.
"""

from __future__ import annotations

import copy
import logging
import re
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

Format = Literal["text", "json"]

TEXT_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
PERIOD: Final = 60.0
"""Seconds between two lines of a library with the same message."""
MOST_MESSAGES: Final = 1000
"""Messages that are remembered; with more, the oldest ones are forgotten, and may be written again within a period."""
_OWN: Final = str(Path(__file__).parent) + "/"
_VARYING: Final = re.compile(r"0x[0-9a-f]+|\d+")
"""What differs between messages that a library has formatted itself: addresses of objects, numbers of tasks."""


def configure(log_format: Format, level: str) -> None:
    """Write to standard error what this product logs from `level` (`debug` … `error`) on, and the warnings and errors of libraries."""
    output = logging.StreamHandler()
    output.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(TEXT_FORMAT))
    output.addFilter(RateLimit(output))
    logging.basicConfig(level=logging.WARNING, handlers=[output])
    logging.captureWarnings(True)
    logging.getLogger("stream").setLevel(level.upper())
    if level == "info":
        # Faust's services log their own lifecycle under the modules of our subclasses.
        logging.getLogger("stream.consumer.faust_app").setLevel(logging.WARNING)
        logging.getLogger("stream.consumer.batch_consumer").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: `time` (RFC 3339, UTC), `level`, `logger`, `message`, and `exception` (the traceback) if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object, on one line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


class RateLimit(logging.Filter):
    """Of the records of libraries, passes the first of each logger and message, and writes one a minute of those that follow."""

    def __init__(
        self, output: logging.Handler, later: Callable[[float, Callable[[], None]], None] | None = None
    ) -> None:
        """`output` gets the lines with a count. `later` calls a function after some seconds, from any thread."""
        super().__init__()
        self._output = output
        self._later = later or _in_a_thread
        self._lock = threading.Lock()
        self._messages: dict[tuple[str, str, str], _Repeated] = {}
        """Oldest period first."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write the record now."""
        if _is_ours(record):
            return True
        key = _message(record)
        now = time.monotonic()
        with self._lock:
            repeated = self._messages.get(key)
            if repeated is None or (repeated.count == 0 and now >= repeated.begin + PERIOD):
                self._messages.pop(key, None)
                self._messages[key] = _Repeated(now)
                if len(self._messages) > MOST_MESSAGES:
                    self._messages.pop(next(iter(self._messages)))
                return True
            repeated.count += 1
            repeated.last = record
            if repeated.count == 1:
                self._later(repeated.begin + PERIOD - now, lambda: self._summarise(repeated))
        return False

    def _summarise(self, repeated: _Repeated) -> None:
        with self._lock:
            record, more = copy.copy(repeated.last), repeated.count - 1
            assert record is not None
            repeated.begin, repeated.count, repeated.last = time.monotonic(), 0, None
        if more:
            record.msg = f"{record.getMessage()} ({more} more like this in the last {PERIOD:.0f} s)"
            record.args = None
        self._output.acquire()
        try:
            self._output.emit(record)
        finally:
            self._output.release()


class _Repeated:
    """What one logger has said with one message since the last line."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        """When the last line was written, by the monotonic clock."""
        self.count = 0
        self.last: logging.LogRecord | None = None


def _is_ours(record: logging.LogRecord) -> bool:
    # Faust logs under the modules of our subclasses: where the call is tells more than the logger's name.
    return record.name.startswith("stream") and record.pathname.startswith(_OWN)


def _message(record: logging.LogRecord) -> tuple[str, str, str]:
    """Equal for records that say the same: logger, message without what varies, kind of exception."""
    template = record.getMessage() if record.msg == "%s" else str(record.msg)
    kind = record.exc_info and record.exc_info[0]
    return record.name, _VARYING.sub("#", template.partition("\n")[0]), kind.__name__ if kind else ""


def _in_a_thread(seconds: float, call: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, call)
    timer.daemon = True  # must not delay the end of the process
    timer.start()
