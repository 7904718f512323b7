"""Output of the commands: tables to standard output, progress bars to standard error.

Rules: a pipe or a file gets the same text as a terminal, without colours and without line breaks at a terminal's width. It gets no progress bar.
"""

import logging
import sys
from io import TextIOWrapper
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

_PIPE: Final = 1000
"""Columns if the output is not a terminal: more than any line has."""


class _Output(Console):
    """A console that raises if its reader has closed the pipe."""

    def on_broken_pipe(self) -> None:
        """Raise the error again, so that the command can clean up. Rich would end the process.

        Raises:
            BrokenPipeError: the reader has closed the pipe.
        """
        raise  # noqa: PLE0704 - Rich calls this in its `except` clause


def output(*, stderr: bool = False) -> Console:
    """A console on standard output, or on standard error."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")  # a sign or a label that the locale does not have
    return _Output(stderr=stderr, width=None if stream.isatty() else _PIPE, highlight=False)


def printable(text: str) -> str:
    """Text from an event, safe for a terminal: unprintable characters, such as control sequences, are escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def quiet_clients() -> None:
    """Disable the log of the Kafka client. The commands report its errors themselves."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)


def progress(*, counted: bool = True, shown: bool = True) -> Progress:
    """A progress bar on standard error; invisible if that is not a terminal, or unless `shown`. `counted`: show numbers instead of a percentage."""
    console = Console(stderr=True)
    amount = MofNCompleteColumn() if counted else TaskProgressColumn()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        amount,
        TimeRemainingColumn(),
        console=console,
        disable=not (shown and console.is_terminal),
        transient=True,
    )
