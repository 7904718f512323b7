"""Processor time of processes and of their threads, from /proc (Linux)."""

import os
from pathlib import Path
from typing import Final

_TICK: Final = 1e6 / os.sysconf("SC_CLK_TCK")


def spent(pid: int) -> float:
    """Microseconds of user and system time of all threads of a process, including ended ones."""
    return _spent(Path(f"/proc/{pid}/stat"))


def spent_by_thread(pid: int) -> dict[int, float]:
    """Microseconds of each running thread by thread id. The main thread's id is the process id."""
    found: dict[int, float] = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[int(thread.name)] = _spent(thread / "stat")
        except FileNotFoundError:  # the thread has just ended
            continue
    return found


def resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def load() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def _spent(stat: Path) -> float:
    fields = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK
