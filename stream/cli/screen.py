"""Where text goes: tables to standard output, progress to standard error, and neither drawn where nobody looks.

Rules: a pipe or a file gets the same words as a terminal, without colours, on lines that are not cut to a terminal's width.
"""

import logging
import sys
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_PIPE: Final = 1000
"""Columns where there is no terminal: more than any line has."""


class _Output(Console):
    """A console whose reader may go away."""

    def on_broken_pipe(self) -> None:
        """Let the command end as it does with any other error, and clean up: Rich would end the process, from whatever task this is.

        Raises:
            BrokenPipeError: as met.
        """
        raise  # noqa: PLE0704 - Rich calls this while it handles one


def output(*, stderr: bool = False) -> Console:
    """Standard output, or standard error."""
    stream = sys.stderr if stderr else sys.stdout
    return _Output(stderr=stderr, width=None if stream.isatty() else _PIPE, highlight=False)


def printable(text: str) -> str:
    """What an event said, for a terminal: whoever sends events must not be able to write to it, so what is not seen is written as its escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def quiet_clients() -> None:
    """Let Kafka's client log nothing: what matters comes as an error."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)


def progress(*, counted: bool = True) -> Progress:
    """A bar on standard error; nothing at all where that is no terminal. `counted`: show how many of how many, else the share."""
    console = Console(stderr=True)
    amount = MofNCompleteColumn() if counted else TaskProgressColumn()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        amount,
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
