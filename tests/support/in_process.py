"""Commands of `upsell-stream` without a process of their own, also as a page shows them."""

import re
import shlex

from click.testing import CliRunner

from stream.cli.root import cli


def printed_by(*words):
    """What a command prints that must succeed."""
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    return result.stdout


def printed_by_line(line):
    """The same for a line as a page shows it."""
    return printed_by(*shlex.split(line)[1:])


def printed_without_redis(line):
    """What the same command prints, also of errors, where there is no Redis."""
    return CliRunner().invoke(cli, [*shlex.split(line)[1:], "--redis-url", "redis://127.0.0.1:1/0"]).output


def blocks(page, language):
    """The code blocks of a page that are in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def lines_missing(block, output):
    """The lines of a block that a command did not print."""
    printed = [line.rstrip() for line in output.splitlines()]
    return [line for line in block.splitlines() if line.rstrip() not in printed]
