"""The command as a whole: help, examples, version and exit status."""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from stream.cli.root import cli

STREAM = [sys.executable, "-m", "stream"]


def commands(group: click.Group = cli, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


ALL = [pytest.param(path, id=" ".join(path)) for path in commands()]


def examples(text: str) -> list[list[str]]:
    """The words after `upsell-stream` in each example, without redirections and pipes."""
    found = []
    for line in re.findall(r"upsell-stream .*", text.partition("Examples:")[2]):
        words = shlex.split(re.split(r" [|>] ", line)[0])[1:]
        found.append(words)
    return found


@pytest.mark.parametrize("path", ALL)
def test_every_example_in_the_help_can_be_typed(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = CliRunner().invoke(cli, [*path, "--help"]).stdout
    assert text.startswith(f"Usage: cli {' '.join(path)}")
    typed = examples(text)
    assert typed, "the help has no examples"
    for words in typed:
        for word in words:
            if re.fullmatch(r"[a-z]+\.(jsonl|toml)", word):
                (tmp_path / word).touch()
        parse(cli, words)


def parse(command: click.Command, words: list[str]) -> None:
    with command.make_context(command.name, list(words)) as context:
        if isinstance(command, click.Group):
            name, below, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            assert name is not None
            parse(below, rest)


@pytest.mark.parametrize("path", ALL)
def test_no_help_shows_a_secret_or_offers_one(path):
    names = ("kafka_sasl_password", "redis_password", "customer_hash_key")
    secrets = {f"UPSELL_{name.upper()}": f"secret-{name}" for name in names}
    text = CliRunner().invoke(cli, [*path, "--help"], env=secrets).stdout
    assert "secret-" not in text
    for name in names:
        assert f"--{name.replace('_', '-')} " not in text


def test_the_main_help_imports_no_command():
    code = "import sys; from stream.cli.root import main\ntry: main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stderr.split())
    assert "click" in loaded
    assert not loaded & {"pydantic", "faust", "aiokafka", "redis", "rich", "stream.settings"}
    assert "demo" in run.stdout


def test_its_version():
    run = subprocess.run([*STREAM, "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"upsell-stream \d+\.\d+\.\d+\n", run.stdout)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["brew"], "No such command 'brew'"),
        (["classify"], "Missing argument 'FILES...'"),
        (["classify", "nowhere.jsonl"], "'nowhere.jsonl' does not exist"),
        (["classify", "-", "--windows", "5x"], "--windows: '5x' is not allowed: '5x' is no window"),
        (["classify", "-", "--as-of", "today"], "'today' is not a time like"),
        (["simulate", "--rate", "0"], "--rate 0 needs --events"),
        (["simulate", "--currency", "EURO", "--to-file", "-"], "EURO"),
        (["rates", "--redis-url", "redis://:secret@localhost"], "redis_url contains a password"),
    ],
)
def test_wrong_usage_has_status_2_and_says_what_is_allowed(words, says, tmp_path):
    run = subprocess.run([*STREAM, *words], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 2
    assert says in run.stderr
    assert "secret" not in run.stderr
    assert run.stdout == ""


def test_a_file_that_cannot_be_written_is_named():
    command = [*STREAM, "simulate", "--to-file", "/nowhere/events.jsonl", "--events", "1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.endswith("No such file or directory: '/nowhere/events.jsonl'\n")
    assert "Traceback" not in run.stderr


def test_a_misspelt_variable_is_only_a_warning():
    result = CliRunner().invoke(cli, ["classify", "-"], env={"UPSELL_WINDOW": "5m"})
    assert result.exit_code == 0
    assert "UPSELL_WINDOW is not a setting; did you mean UPSELL_WINDOWS?" in result.stderr


def test_a_closed_pipe_ends_a_command_quietly():
    simulate = [*STREAM, "simulate", "--to-file", "-", "--events", "20000"]
    with subprocess.Popen(simulate, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) == 1
    assert b"Traceback" not in errors
    assert b"Broken" not in errors


@pytest.mark.parametrize("closed", [">&-", "<&-", "2>&-"])
def test_a_closed_standard_stream_is_no_error(closed, tmp_path):
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"?\n")
    command = f"{shlex.join([*STREAM, 'classify', str(events), '-'])} {closed}"
    run = subprocess.run(command, shell=True, input=b"", capture_output=True, check=False)
    assert run.returncode == 1, "the line is no event"
    assert b"Traceback" not in run.stderr


def test_ctrl_c_has_status_130_and_no_traceback():
    with subprocess.Popen([*STREAM, "classify", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        # It reports the first line as soon as it has read it.
        process.stdin.write(b"?\n")
        process.stdin.flush()
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert b"not_json" in first
    assert b"Traceback" not in rest
