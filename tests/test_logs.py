"""The worker's log: text and JSON, and libraries that repeat themselves."""

import io
import json
import logging
import subprocess
import sys
from datetime import datetime

import pytest

import stream.app
from stream import logs


class Timers:
    """Instead of threads that wait for a minute."""

    def __init__(self):
        self.waiting = []

    def __call__(self, seconds, call):
        assert 0 < seconds <= logs.PERIOD
        self.waiting.append(call)

    def elapse(self):
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()


@pytest.fixture
def timers():
    return Timers()


@pytest.fixture
def output(timers):
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    handler.addFilter(logs.RateLimit(handler, timers))
    return handler


def record(name, message, *args, path="/site-packages/somewhere.py", error=None):
    exc_info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord(name, logging.ERROR, path, 1, message, args, exc_info)


def lines(output):
    return output.stream.getvalue().splitlines()


def test_a_library_that_repeats_itself_has_one_line_a_minute_with_a_count(output, timers):
    for node in range(313):
        output.handle(record("aiokafka.conn", "Unable to connect to node %d: %s", node, "refused"))
    assert lines(output) == ["aiokafka.conn: Unable to connect to node 0: refused"]
    timers.elapse()
    assert lines(output)[1:] == [
        "aiokafka.conn: Unable to connect to node 312: refused (311 more like this in the last 60 s)"
    ]
    output.handle(record("aiokafka.conn", "Unable to connect to node %d: %s", 7, "refused"))
    assert len(lines(output)) == 2, "the line with the count begins the next minute"
    timers.elapse()
    assert lines(output)[2:] == ["aiokafka.conn: Unable to connect to node 7: refused"], "the last one is not lost"


def test_another_message_logger_or_kind_of_error_has_a_line_of_its_own(output):
    output.handle(record("aiokafka.conn", "one"))
    output.handle(record("aiokafka.conn", "two"))
    output.handle(record("aiokafka.client", "one"))
    output.handle(record("asyncio", "Task exception was never retrieved", error=OSError()))
    output.handle(record("asyncio", "Task exception was never retrieved", error=KeyError()))
    assert [line for line in lines(output) if ": " in line and "Error" not in line] == [
        "aiokafka.conn: one",
        "aiokafka.conn: two",
        "aiokafka.client: one",
        "asyncio: Task exception was never retrieved",
        "asyncio: Task exception was never retrieved",
    ]


def test_a_message_that_a_library_formats_itself_is_recognised(output):
    output.handle(record("asyncio", "Unclosed <Task-17 at 0x7f00aa>\nTraceback …"))
    output.handle(record("asyncio", "Unclosed <Task-18 at 0x7f00bb>\nanother"))
    output.handle(record("py.warnings", "%s", "old.py:3: DeprecationWarning"))
    output.handle(record("py.warnings", "%s", "old.py:4: ResourceWarning"))
    assert [line for line in lines(output) if line.startswith(("asyncio", "py."))] == [
        "asyncio: Unclosed <Task-17 at 0x7f00aa>",
        "py.warnings: old.py:3: DeprecationWarning",
        "py.warnings: old.py:4: ResourceWarning",
    ]


def test_our_own_lines_are_all_written_and_those_of_faust_under_our_names_are_not(output):
    for _ in range(3):
        output.handle(record("stream.app", "ours", path=stream.app.__file__))
        output.handle(record("stream.consumer.faust_app", "Faust's"))
    assert lines(output).count("stream.app: ours") == 3
    assert lines(output).count("stream.consumer.faust_app: Faust's") == 1


def test_memory_is_bounded_however_many_different_messages_there_are(output):
    names = [f"library.{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(26 * 26)]
    for name in names:
        for message in ("one", "two"):
            output.handle(record(name, message))
    (limit,) = output.filters
    assert len(limit._messages) == logs.MOST_MESSAGES
    assert len(lines(output)) == 2 * len(names)


def test_a_real_timer_writes_the_count():
    script = """
import logging, threading
from stream import logs
logs.PERIOD = 0.2
logs.configure("text", "info")
for _ in range(1000):
    logging.getLogger("redis").error("down")
while len(threading.enumerate()) > 1:
    threading.enumerate()[-1].join()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    *_, last = done.stderr.splitlines()
    assert "ERROR redis: down" in last
    assert "more like this in the last" in last
    assert len(done.stderr.splitlines()) < 1000


LOGGING = """
import logging, warnings
from stream import logs
logs.configure("{format}", "info")
log = logging.getLogger("stream.app")
log.debug("not written")
log.info("two\\nlines, %s", "ü")
logging.getLogger("aiokafka").info("not written")
warnings.warn("old")
try:
    1 / 0
except ZeroDivisionError:
    log.critical("it ends", exc_info=True)
"""


def run(log_format):
    script = LOGGING.format(format=log_format)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr


def test_json_is_one_object_a_line():
    written = [json.loads(line) for line in run("json").splitlines()]
    assert [entry["message"].partition("\n")[0] for entry in written] == [
        "two",
        "<string>:9: UserWarning: old",
        "it ends",
    ]
    info, warning, critical = written
    assert info.keys() == {"time", "level", "logger", "message"}
    assert (info["level"], info["logger"], info["message"]) == ("info", "stream.app", "two\nlines, ü")
    assert info["time"].endswith("Z")
    assert datetime.fromisoformat(info["time"]).utcoffset().total_seconds() == 0
    assert (warning["level"], warning["logger"]) == ("warning", "py.warnings")
    assert critical["level"] == "critical"
    assert critical["exception"].startswith("Traceback (most recent call last):")
    assert critical["exception"].endswith("ZeroDivisionError: division by zero")


def test_text_is_as_before():
    first = run("text").splitlines()[0]
    assert first.endswith(" INFO stream.app: two")
