"""A sampling profiler: records the stack of the main thread every few milliseconds of processor time.

Rules: no call of the product is wrapped, so frequent calls are not slowed. A sample belongs to the innermost frame that a stage claims. The timer counts
the processor time of all threads; the main thread's own processor time is divided among the samples. The resolution is the kernel's clock tick: 4 ms of
processor time on most machines, so 10 s give 2,500 samples.
"""

import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Final, NamedTuple

INTERVAL: Final = 0.002
OTHER: Final = "rest: event loop, runner"


class Claim(NamedTuple):
    """Code that belongs to a stage: a part of the file's path, and names of functions (none means all of the file)."""

    stage: str
    path: str
    functions: frozenset[str] = frozenset()


class Sampler:
    """Samples of the main thread of this process."""

    def __init__(self, claims: Sequence[Claim]) -> None:
        self._claims = claims
        self._known: dict[CodeType, str | None] = {}
        self.stages: Counter[str] = Counter()
        self.selves: Counter[str] = Counter()
        """Samples by innermost function."""
        self.totals: Counter[str] = Counter()
        """Samples by function anywhere on the stack."""
        self.seconds = 0.0
        """Processor time of the main thread."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sample for a block."""
        before = signal.signal(signal.SIGPROF, self._look)
        began = time.thread_time()
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.seconds += time.thread_time() - began
            signal.signal(signal.SIGPROF, before)

    def microseconds(self, samples: int) -> float:
        """The processor time that a number of samples represents."""
        return samples / max(1, sum(self.stages.values())) * self.seconds * 1e6

    def _look(self, _: int, frame: FrameType | None) -> None:
        stage: str | None = None
        seen: set[CodeType] = set()
        innermost = frame
        while frame is not None:
            code = frame.f_code
            seen.add(code)
            if stage is None:
                stage = self._stage(code)
            frame = frame.f_back
        self.stages[stage or OTHER] += 1
        if innermost is not None:
            self.selves[_named(innermost.f_code)] += 1
        self.totals.update({_named(code) for code in seen})

    def _stage(self, code: CodeType) -> str | None:
        if code not in self._known:
            self._known[code] = next(
                (
                    claim.stage
                    for claim in self._claims
                    if claim.path in code.co_filename
                    and (not claim.functions or claim.functions & set(code.co_qualname.split(".")))
                ),
                None,
            )
        return self._known[code]


def _named(code: CodeType) -> str:
    return f"{'/'.join(code.co_filename.split('/')[-2:])}:{code.co_qualname}"
