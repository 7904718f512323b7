"""Virtual time, and event loops that run in it one turn after the other.

Rules: time passes only when no loop has anything to do; then it jumps to the next event that is due. Every worker has an event loop of its own, as every
process has: one that is frozen is not run, one that is killed is never run again. Which of several loops runs next is the seed's decision. What passes
between workers and servers is delivered by the world, as something that becomes due. Nothing sleeps, nothing is a thread, nothing depends on the machine.
"""

import asyncio
import heapq
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Coroutine
from itertools import count
from random import Random
from typing import Any

MICROSECONDS = 1_000_000


class _Selector:
    """What a loop asks for sockets: there are none."""

    def select(self, timeout: float | None) -> list[Any]:
        return []


class Loop(BaseEventLoop):
    """An event loop whose turns are given to it."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world
        self._selector = _Selector()
        self.frozen = False
        self.set_exception_handler(lambda _, context: world.on_loop_error(context))

    def time(self) -> float:
        return self._world.now

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def due(self) -> float | None:
        """When there is something to do; None for never."""
        if self._ready:
            return 0.0
        while self._scheduled and self._scheduled[0]._cancelled:
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            self._timer_cancelled_count -= 1
        return self._scheduled[0]._when if self._scheduled else None

    def turn(self) -> None:
        """One turn."""
        asyncio._set_running_loop(self)
        try:
            self._run_once()
        finally:
            asyncio._set_running_loop(None)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """A task, from outside the loop."""
        return self.create_task(work, name=name)

    def dispose(self) -> None:
        """End what is left of a killed or a finished process without anybody noticing."""
        for _ in range(50):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            while self._ready:
                self.turn()
        self.set_exception_handler(lambda *_: None)
        self._ready.clear()
        self._scheduled.clear()
        self.close()


class World:
    """The clock, what is due, and the dice."""

    def __init__(self, seed: object, *, tracing: bool = False) -> None:
        self.now = 1000.0
        """Seconds; the monotonic clock of every process."""
        self.random = Random(f"world {seed}")
        self.loops: list[Loop] = []
        self.problems: list[str] = []
        """What must not happen and did."""
        self.trace: list[str] = []
        self.tracing = tracing
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Have something done in so many seconds."""
        heapq.heappush(self._due, (self.now + seconds, next(self._number), act))

    def problem(self, text: str) -> None:
        self.note(f"PROBLEM {text}")
        self.problems.append(text)

    def on_loop_error(self, context: dict[str, Any]) -> None:
        self.problem(f"{context.get('message')}: {context.get('exception')!r}")

    def note(self, text: str) -> None:
        """Write to the trace, which is shown after a failure."""
        if self.tracing:
            self.trace.append(f"{self.now - 1000:9.4f} {text}")

    def run(self, done: Callable[[], bool], until: float) -> bool:
        """Let the world turn until `done` (asked whenever time passes) or a problem: True; or until that time: False."""
        while not self.problems:
            dues = [(due, loop) for loop in self.loops if not loop.frozen and (due := loop.due()) is not None]
            ready = [loop for due, loop in dues if due <= self.now]
            if ready:
                (ready[0] if len(ready) == 1 else self.random.choice(ready)).turn()
                continue
            if self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2]()
                continue
            if done():
                return True
            times = [due for due, _ in dues]
            if self._due:
                times.append(self._due[0][0])
            if not times or min(times) > until:
                self.now = until
                return False
            self.now = min(times)
        return True
