"""A real terminal of any size, made by tmux: what a command shows there, and what a person types."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from support.programs import program_or_skip

_LIMIT = 120.0
"""Seconds until something must be shown."""


class Terminal:
    """A terminal in which one command of `upsell-stream` runs. Its last line is `status N` once the command has ended."""

    def __init__(self, tmux: str, socket: Path) -> None:
        self._tmux = [tmux, "-u", "-f", os.devnull, "-S", str(socket)]

    def start(self, words: tuple[str, ...], size: tuple[int, int], environment: dict[str, str]) -> None:
        """Open the terminal, of so many columns and lines, and run the command there."""
        width, height = size
        # The shell survives a Ctrl-C, and stays until the terminal is closed, so that what was printed can be read.
        script = 'trap : INT; "$@"; echo "status $?"; exec sleep infinity'
        self._ask(
            *("new-session", "-d", "-x", str(width), "-y", str(height)),
            *("sh", "-c", script, "sh", sys.executable, "-m", "stream", *words),
            environment=environment,
        )

    def screen(self, *, colours: bool = False, history: bool = False) -> list[str]:
        """The lines on the screen; with their colours as control sequences, or with those that have scrolled away."""
        options = [*(["-e"] if colours else []), *(["-S", "-"] if history else [])]
        return self._ask("capture-pane", "-p", *options).rstrip("\n").split("\n")

    def until(self, condition: Callable[[list[str]], bool], *, history: bool = False) -> list[str]:
        """Wait until the screen satisfies a condition, and return its lines."""
        deadline = time.monotonic() + _LIMIT
        while not condition(lines := self.screen(history=history)):
            assert time.monotonic() < deadline, "\n".join(lines)
            time.sleep(0.1)
        return lines

    def type(self, key: str) -> None:
        """Press a key, such as `C-c`."""
        self._ask("send-keys", key)

    def close(self) -> None:
        """Close the terminal, which hangs up on its command."""
        self._ask("kill-server")

    def _ask(self, *words: str, environment: dict[str, str] | None = None) -> str:
        command = [*self._tmux, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, timeout=60).stdout


@contextmanager
def terminal(
    *words: str, size: tuple[int, int] = (80, 24), environment: dict[str, str] | None = None
) -> Iterator[Terminal]:
    """A terminal with this command. Skips the test if tmux is missing."""
    tmux = program_or_skip("tmux", "tmux")
    given = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "TMUX")}
    with TemporaryDirectory(prefix="upsell-tmux-") as directory:
        opened = Terminal(tmux, Path(directory) / "socket")
        opened.start(words, size, given | (environment or {}))
        try:
            yield opened
        finally:
            opened.close()


def ended(lines: list[str]) -> bool:
    """Whether the command has ended."""
    return any(line.startswith("status ") for line in lines)
