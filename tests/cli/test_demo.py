"""`demo`: the measured counts equal the planted ones, and no process or file is left."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream.cli.root import cli
from stream.core.config import CoreConfig
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline

pytestmark = pytest.mark.embedded

# Settings in the caller's environment, which the worker and the demo must ignore.
ELSEWHERE = {
    "UPSELL_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "UPSELL_REDIS_URL": "redis://127.0.0.1:1",
    "UPSELL_REDIS_PASSWORD": "secret",
    "UPSELL_WINDOWS": "7m",
    "UPSELL_CONFIG": "/nowhere",
}


def demo(*options, directory):
    environment = {**os.environ, **ELSEWHERE, "TMPDIR": str(directory)}
    command = [sys.executable, "-m", "stream", "demo", *options]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def children_of(pid: int) -> dict[int, str]:
    """Process id -> command line."""
    found = {}
    for each in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (each / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
            if int(parent) == pid:
                found[int(each.name)] = (each / "cmdline").read_text(encoding="utf-8").replace("\0", " ")
    return found


def shape(document):
    """The keys of a document, without the currencies."""
    if not isinstance(document, dict):
        return None
    return {name: {} if name == "revenue" else shape(each) for name, each in document.items()}


def test_planted_equals_measured(tmp_path):
    with demo("--duration", "3", "--rate", "500", "--json", directory=tmp_path) as process:
        output, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    report = json.loads(output)
    assert list(report) == ["planted", "measured", "events_per_second", "equal"]
    assert report["planted"] == report["measured"]
    assert report["equal"] is True
    assert report["measured"]["events"] > 1000
    assert report["measured"]["rejected"] > 0
    assert report["measured"]["duplicates"] > 0
    assert report["measured"]["checkout"]["kind_transactions"]["upsell"] > 0
    nothing = Offline(CoreConfig(), LabelRegistry()).figures().summary()
    assert shape(report["measured"]) == shape({"events": 0, "rejected": 0, "duplicates": 0} | nothing)
    assert report["measured"]["checkout"]["customers"]["upsell"] > 0
    assert report["measured"]["checkout"]["rates"]["customer_upsell_rate"] > 0
    assert report["events_per_second"] > 0
    assert errors.splitlines()[1].startswith("page     http://127.0.0.1:")
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_planted_equals_measured_at_the_lowest_rate(tmp_path):
    with demo("--duration", "1", "--rate", "0.001", "--json", directory=tmp_path) as process:
        output, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    report = json.loads(output)
    assert report["equal"] is True
    assert report["measured"]["rejected"] == 0


@pytest.mark.parametrize(
    "words",
    [("--duration", "nan"), ("--duration", "inf"), ("--rate", "nan"), ("--rate", "1e-9"), ("--rate", "1e300")],
)
def test_wrong_options_of_the_demo_are_wrong_usage(words):
    result = CliRunner().invoke(cli, ["demo", *words])
    assert result.exit_code == 2
    assert words[0] in result.stderr


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    foreign = tmp_path / "dump.rdb"
    foreign.write_bytes(b"not ours to load")
    with demo("--rate", "50", directory=tmp_path) as process:
        urls = dict(process.stdout.readline().split() for _ in range(5))
        assert next(iter(urls)) == "page"
        with urllib.request.urlopen(urls["page"], timeout=30) as response:
            assert b"<!doctype html>" in response.read()
        with urllib.request.urlopen(urls["metrics"], timeout=30) as response:
            assert b"upsell_build_info" in response.read()
        assert process.stdout.readline() == "\n"
        first = process.stdout.readline()
        assert "events sent" in first
        assert "upsell_cross_sell_rate" in first
        children = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert any("stream worker" in command for command in children.values())
    assert [command for pid, command in children.items() if Path(f"/proc/{pid}").exists()] == []
    assert list(tmp_path.iterdir()) == [foreign]


@pytest.mark.parametrize("lines", [0, 2, 7])
def test_a_closed_pipe_ends_it_quietly(lines, tmp_path):
    with demo("--rate", "50", directory=tmp_path) as process:
        read = [process.stdout.readline() for _ in range(lines)]
        assert len(read) == lines
        children = children_of(process.pid)
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) == 1
    assert errors == "starting a broker, Valkey and a worker …\n"
    assert [command for pid, command in children.items() if Path(f"/proc/{pid}").exists()] == []
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_dies_ends_it(tmp_path):
    with demo("--rate", "50", directory=tmp_path) as process:
        while "events sent" not in process.stdout.readline():
            assert process.poll() is None
        (worker,) = (pid for pid, command in children_of(process.pid).items() if "stream worker" in command)
        os.kill(worker, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the worker is not running" in errors
    assert "Traceback" not in errors
