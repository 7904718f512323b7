"""The command `upsell-stream`: its subcommands, and their exit status."""

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Final

import click

_COMMANDS: Final[Mapping[str, str]] = {
    "demo": "Run everything on this machine: a simulated shop, a broker, Valkey, a worker, live rates.",
    "worker": "Run one worker with Kafka and Redis.",
    "rates": "Show the current figures, read from Redis.",
    "history": "Show the figures of each hour or day, read from Redis.",
    "explain": "Say what changed a rate: which channels and segments, by their rate or by their share.",
    "offers": "Show what became of offers: shown, accepted, what it brought; read from Redis.",
    "drivers": "Show what sells: products, upsells, pairs with their lift; read from Redis.",
    "status": "Show the whole application at one look, and what somebody should do.",
    "check": "Check Kafka, its topics, Redis and the settings; say what to do.",
    "accept-partitions": "Let workers read the new partitions of an input topic.",
    "retire": "Take an input topic that is no longer read out of the view.",
    "forget": "Erase customers from all state; counts stay.",
    "dead-letters": "Show the newest dead letters: what was refused, and why.",
    "redrive": "Send dead letters back to their topic, after the cause is fixed.",
    "classify": "Judge events from files, without Kafka and Redis.",
    "simulate": "Send a realistic stream of events to Kafka, or write it to a file.",
    "replay": "Send recorded real baskets as events to Kafka, or write them to a file.",
}
_INTERRUPTED: Final = 130


class _Commands(click.Group):
    """The subcommands. Each is imported when it runs, from the module with its name (with `_` for `-`)."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        if cmd_name not in _COMMANDS:
            return None
        module = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"stream.cli.{module}"), module)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's interface
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


def _show_version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:  # noqa: FBT001 - click's interface
    if asked:
        click.echo(f"upsell-stream {version('upsell-stream')}")
        ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    epilog="\b\nExamples:\n  upsell-stream demo\n  upsell-stream classify --help",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def cli() -> None:
    """Live upsell and cross-sell rates from checkout and subscription events in Kafka."""


def main(arguments: list[str] | None = None) -> None:
    """Run one command and end the process with its exit status."""
    status: str | int | None
    # If the shell has closed a standard stream, Python has None in its place.
    sys.stdin, sys.stdout, sys.stderr = (
        stream or Path(os.devnull).open(mode, encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
        for stream, mode in ((sys.stdin, "r"), (sys.stdout, "w"), (sys.stderr, "w"))
    )
    try:
        status = cli.main(arguments, prog_name="upsell-stream", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        status = _INTERRUPTED
    except BrokenPipeError:
        # End without a message, as click does, also when the interpreter flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except OSError as error:
        # A file or a disk: the message names it, so a traceback would not help.
        click.ClickException(str(error)).show()
        status = 1
    sys.exit(status)
