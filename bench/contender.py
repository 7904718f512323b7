"""One contender as a process: all are started, measured and stopped in the same way.

Rules: a peer gets the load in its arguments. It prints one JSON object per line: `{"records": N}` at the end of the warm-up and at the last record,
then `{"result": {kind: number}}`. Our own worker prints nothing; its progress is read from the offsets in Redis.
"""

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import processor

ROOT: Final = Path(__file__).parents[1]
WARM: Final = 0.25
"""Share of the records that is processed before the measurement starts."""
STEADY: Final = 0.9
"""Share of the records at which the measurement of a worker ends. Then as many records are in flight as at its start, and no worker is idle."""
LIMIT: Final = 180.0
"""Maximum seconds of a run."""


@dataclass
class Run:
    """Figures of one run of one contender."""

    events_per_second: float
    worker_us: float
    """Microseconds of processor time of the contender's processes per event."""
    broker_us: float
    redis_us: float = 0.0
    threads_us: dict[str, float] = field(default_factory=dict)
    result: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """Records in a topic, all produced before a contender starts."""

    topic: str
    records: int
    partitions: int

    @property
    def warm(self) -> int:
        """Records of the warm-up."""
        return int(self.records * WARM)

    @property
    def steady(self) -> int:
        """Record at which the measurement of a worker ends."""
        return int(self.records * STEADY)


class BenchError(RuntimeError):
    """A contender failed. The message ends with its last output."""


@contextmanager
def process(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, *, talks: bool = False
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a process for a block; yields it and its log file. With `talks`, its standard output is a pipe."""
    with tempfile.TemporaryDirectory(prefix="upsell-bench-") as directory:
        log = Path(directory) / "log"
        with log.open("wb") as output:
            running = subprocess.Popen(
                [str(part) for part in command],
                env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **(environment or {})},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else output,
                stderr=output,
            )
        try:
            yield running, log
        finally:
            running.terminate()
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()
            if running.stdout is not None:
                running.stdout.close()


def measure_peer(
    command: Sequence[str | Path], load: Load, broker: int, environment: Mapping[str, str] | None = None
) -> Run:
    """Run a peer over the load. Its last arguments are topic, records and warm-up."""
    arguments = [*command, load.topic, str(load.records), str(load.warm)]
    with process(arguments, environment, talks=True) as (peer, log):
        marks: dict[int, tuple[float, float, float]] = {}
        result: dict[str, int] | None = None
        assert peer.stdout is not None
        limit = threading.Timer(LIMIT, peer.kill)
        limit.start()
        for line in peer.stdout:
            if not line.startswith(b"{"):
                continue
            message: dict[str, Any] = json.loads(line)
            if "records" in message:
                marks[message["records"]] = (time.monotonic(), processor.spent(peer.pid), processor.spent(broker))
            else:
                result = message["result"]
                break
        limit.cancel()
        if result is None or load.records not in marks:
            raise BenchError(f"{command} ended with {peer.wait()}:\n{log.read_text(errors='replace')[-3000:]}")
        seconds, worker, of_broker = (b - a for a, b in zip(marks[load.warm], marks[load.records], strict=True))
        measured = load.records - load.warm
        return Run(measured / seconds, worker / measured, of_broker / measured, result=result)
