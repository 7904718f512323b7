"""Output of the commands: tables to standard output, progress bars to standard error.

Rules: a pipe or a file gets the same text as a terminal, without colours, without line breaks at a terminal's width and
without blanks at the end of a line. It gets no progress bar.
"""

import logging
import sys
from collections.abc import Iterator
from io import TextIOWrapper
from typing import Final

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment

_PIPE: Final = 1000
"""Columns if the output is not a terminal: more than any line has."""


class _Trimmed:
    """A renderable without blanks at the end of its lines."""

    def __init__(self, renderable: ConsoleRenderable) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for line in Segment.split_lines(console.render(self._renderable, options)):
            shown = list(line)
            while shown and not shown[-1].text.rstrip(" "):
                shown.pop()
            if shown:
                yield from shown[:-1]
                yield Segment(shown[-1].text.rstrip(" "), shown[-1].style)
            yield Segment.line()


class _Trimming(RenderHook):
    """Tables fill each line with blanks up to their width. In a pipe or a file nobody wants them."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Trimmed(renderable) for renderable in renderables]


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
    if stream.isatty():
        return _Output(stderr=stderr, highlight=False)
    console = _Output(stderr=stderr, width=_PIPE, highlight=False)
    console.push_render_hook(_Trimming())
    return console


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
