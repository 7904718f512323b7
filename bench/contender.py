"""One contender as a process: started, watched and ended the same way whoever it is.

Rules: a peer tells on its standard output, one JSON object a line, how many records it has processed (`{"records": N}`: at the first one, at the
end of the warm-up, at the last one), then `{"result": {kind: number}}`. What was asked of it is in its arguments. Our own worker says nothing; its
offsets in Redis are looked at.
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
"""Share of the records that is processed before anything is measured."""
STEADY: Final = 0.9
"""Share of the records up to which a worker is measured: then as much is under way and not yet committed as at the first look, and none is idle."""
LIMIT: Final = 180.0
"""Seconds for a run."""


@dataclass
class Run:
    """What one run of one contender came to."""

    events_per_second: float
    worker_us: float
    """Processor time of the contender's processes, an event."""
    broker_us: float
    redis_us: float = 0.0
    threads_us: dict[str, float] = field(default_factory=dict)
    result: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """Records in a topic, all there before anything starts."""

    topic: str
    records: int
    partitions: int

    @property
    def warm(self) -> int:
        """Records of the warm-up."""
        return int(self.records * WARM)

    @property
    def steady(self) -> int:
        """Records up to which a worker is measured."""
        return int(self.records * STEADY)


class BenchError(RuntimeError):
    """A contender failed; the message ends with its last output."""


@contextmanager
def process(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, *, talks: bool = False
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A process for a block, and the file that it logs to."""
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
    """Run a peer over the load: topic, records and warm-up are its last arguments."""
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
            said: dict[str, Any] = json.loads(line)
            if "records" in said:
                marks[said["records"]] = (time.monotonic(), processor.spent(peer.pid), processor.spent(broker))
            else:
                result = said["result"]
                break
        limit.cancel()
        if result is None or load.records not in marks:
            raise BenchError(f"{command} ended with {peer.wait()}:\n{log.read_text(errors='replace')[-3000:]}")
        seconds, worker, of_broker = (b - a for a, b in zip(marks[load.warm], marks[load.records], strict=True))
        measured = load.records - load.warm
        return Run(measured / seconds, worker / measured, of_broker / measured, result=result)
