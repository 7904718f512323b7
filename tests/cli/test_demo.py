"""`demo`: the measured counts equal the planted ones, and no process or file is left."""

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from click.testing import CliRunner
from support.terminal import ended, terminal

from stream.cli.demo import Foreign, Report
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
    """The keys of a document, without those that depend on currencies."""
    if not isinstance(document, dict):
        return None
    return {name: {} if name in {"revenue", "amounts"} else shape(each) for name, each in document.items()}


def test_planted_equals_measured(tmp_path):
    with demo("--duration", "3", "--rate", "500", "--json", directory=tmp_path) as process:
        output, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    report = json.loads(output)
    assert list(report) == ["planted", "measured", "events_per_second", "equal", "foreign"]
    assert report["foreign"] is None
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


def heading(process):
    """What the demo prints first: addresses by name, and the commands for another terminal."""
    addresses = dict(process.stdout.readline().split() for _ in range(5))
    assert process.stdout.readline() == "\n"
    assert process.stdout.readline() == "from another terminal:\n"
    commands = [shlex.split(process.stdout.readline()) for _ in range(2)]
    assert process.stdout.readline() == "\n"
    return addresses, commands


def event(kind, number, time, **data):
    name = f"own-{number}"
    return json.dumps({
        "specversion": "1.0", "id": f"{kind}-{number}", "source": "mine", "type": f"commerce.{kind}.v1",
        "time": time.isoformat(), "subject": f"checkout/{name}",
        "data": {"checkout_id": name, "customer_id": "me", "currency": "EUR", **data},
    }).encode()  # fmt: skip


def own_events():
    """Sales of today and of a year ago, a refund, a duplicate, an erasure, and a record that is no event."""
    cart = [{"sku": "BREW-S", "product_id": "brewer", "quantity": 1, "price": "199.00"}]
    paid = [{"sku": "BREW-L", "product_id": "brewer", "quantity": 1, "price": "249.00"}]
    now = datetime.now(UTC)
    for number, days in enumerate((0, 0, 0, 365, 365)):
        time = now - timedelta(days=days, minutes=10)
        yield event("checkout.started", number, time, products=cart)
        yield event("order.completed", number, time + timedelta(minutes=1), products=paid)
    yield event("order.completed", 0, now - timedelta(minutes=9), products=paid)
    yield event("order.refunded", 1, now, refund={"refund_id": "r", "amount": "10.00"})
    yield b"no event"
    yield json.dumps({
        "specversion": "1.0", "id": "gone", "source": "mine", "type": "commerce.customer.erased.v1",
        "time": now.isoformat(), "subject": "customer/me", "data": {"customer_id": "me"},
    }).encode()  # fmt: skip


async def send(bootstrap_servers, values):
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer:
        for value in values:
            await producer.send_and_wait("checkout-events", value, key=b"me")


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_events_of_others_are_counted_and_named_and_the_comparison_allows_for_them(options, tmp_path):
    with demo("--rate", "50", *options, directory=tmp_path) as process:
        printed = process.stderr if options else process.stdout
        if options:
            assert printed.readline().startswith("starting")
            addresses = dict(printed.readline().split() for _ in range(5))
        else:
            addresses, _ = heading(process)
        mine = list(own_events())
        asyncio.run(send(addresses["Kafka"], mine))
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    if options:
        report = json.loads(output)
        assert report["equal"] is True
        assert report["planted"] == report["foreign"]["without_them"] != report["measured"]
        assert report["measured"] == report["foreign"]["with_them"]
        assert report["foreign"]["events"] == len(mine)
        assert report["measured"]["events"] == report["planted"]["events"] + len(mine)
        assert report["measured"]["duplicates"] == report["planted"]["duplicates"] + 1
        assert report["measured"]["rejected"] == report["planted"]["rejected"] + 1
    else:
        first, second, third = output.splitlines()[-3:]
        assert first.endswith(f" events, of which {len(mine)} are not the demo's own")
        assert second.startswith("the measured figures equal a second count of all ")
        assert third == f"the same count without those {len(mine)} equals the shop's own"


async def keep_sending(bootstrap_servers, process):
    """Send one cart after the other until the demo has ended; press Ctrl-C after some."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers, request_timeout_ms=3000) as producer:
        for number in count():
            value = event("checkout.started", number, datetime.now(UTC))
            with suppress(KafkaError):  # once the broker has ended
                await producer.send_and_wait("checkout-events", value, key=b"%d" % number)
            if number == 50:
                process.send_signal(signal.SIGINT)
            if process.poll() is not None:
                return
            await asyncio.sleep(0.01)


def test_others_who_keep_sending_do_not_keep_the_demo_from_comparing(tmp_path):
    with demo("--rate", "50", directory=tmp_path) as process:
        addresses, _ = heading(process)
        asyncio.run(keep_sending(addresses["Kafka"], process))
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    assert re.search(r"events, of which \d\d+ are not the demo's own\nthe measured figures equal ", output)


def test_the_report_never_says_equal_of_figures_that_differ():
    planted, measured, other = {"events": 3}, {"events": 5}, {"events": 4}
    assert "DIFFER from the shop's own" in Report(planted, measured, 1.0, False, None).verdict()
    assert Report(planted, measured, 1.0, True, Foreign(2, measured, planted)).verdict().count("equal") == 2
    worker_is_wrong = Report(planted, measured, 1.0, False, Foreign(2, other, planted)).verdict()
    assert "measured figures DIFFER from a second count" in worker_is_wrong
    core_is_wrong = Report(planted, measured, 1.0, False, Foreign(2, measured, other)).verdict()
    assert "DIFFERS from the shop's own" in core_is_wrong


def test_the_commands_that_are_printed_show_the_demo_s_figures_and_state(tmp_path):
    with demo("--rate", "50", directory=tmp_path) as process:
        _, (rates, status) = heading(process)
        assert rates[:5] == [sys.executable, "-m", "stream", "rates", "--watch"]
        assert "events sent" in process.stdout.readline()
        rates.remove("--watch")
        figures, state = (
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
            for command in (rates, status)
        )
        assert "upsell_cross_sell_rate" in figures.stdout
        assert "Nothing to do." in state.stdout
        assert figures.stderr == state.stderr == ""
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)


def test_a_second_ctrl_c_ends_at_once_and_leaves_nothing_behind(tmp_path):
    with demo("--rate", "50", directory=tmp_path) as process:
        heading(process)
        children = children_of(process.pid)
        (worker,) = (pid for pid, command in children.items() if "stream worker" in command)
        os.kill(worker, signal.SIGSTOP)  # so that the comparison waits
        process.send_signal(signal.SIGINT)
        while not process.stdout.readline().startswith("stopping: "):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert [command for pid, command in children.items() if Path(f"/proc/{pid}").exists()] == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_before_the_end_of_duration_compares_too(tmp_path):
    with demo("--rate", "50", "--duration", "3600", directory=tmp_path) as process:
        heading(process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output.splitlines()[-1].endswith(" events; the measured figures equal the shop's own counts")


@pytest.mark.terminal
def test_on_80_by_24_no_row_is_lost_in_silence_and_the_page_stays_in_view():
    with terminal("demo", "--rate", "50") as screen:
        lines = screen.until(lambda lines: any(line.startswith("subscription ") for line in lines))
        assert re.search(r" applied   http://127\.0\.0\.1:\d+/   Ctrl-C: compare$", "\n".join(lines[:2]), re.MULTILINE)
        assert sum(line.startswith("transactions ") for line in lines) == 2
        assert not any("…" in line for line in lines)
        screen.type("C-c")
        lines = screen.until(ended, history=True)
        assert lines[-1] == "status 0"
        assert lines[-2].endswith("the measured figures equal the shop's own counts")
    with terminal("demo", "--rate", "50", size=(80, 16)) as screen:
        lines = screen.until(lambda lines: "rows left out: " in lines[-1])
        assert re.fullmatch(r"\d+ rows left out: subscription; all are on the page", lines[-1])
        screen.type("C-c")
        screen.until(ended)


def test_ctrl_c_compares_and_leaves_nothing_behind(tmp_path):
    foreign = tmp_path / "dump.rdb"
    foreign.write_bytes(b"not ours to load")
    with demo("--rate", "50", directory=tmp_path) as process:
        urls, _ = heading(process)
        assert next(iter(urls)) == "page"
        with urllib.request.urlopen(urls["page"], timeout=30) as response:
            assert b"<!doctype html>" in response.read()
        with urllib.request.urlopen(urls["metrics"], timeout=30) as response:
            assert b"upsell_build_info" in response.read()
        first = process.stdout.readline()
        assert "events sent" in first
        assert "upsell_cross_sell_rate" in first
        children = children_of(process.pid)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output.splitlines()[-1].endswith(" events; the measured figures equal the shop's own counts")
    assert "Traceback" not in errors
    assert any("stream worker" in command for command in children.values())
    assert [command for pid, command in children.items() if Path(f"/proc/{pid}").exists()] == []
    assert list(tmp_path.iterdir()) == [foreign]


def masked(text):
    """Lines without what is different in each run, and as if called as in the README. On a slow machine a rate may have no value yet (-)."""
    text = text.replace(f"{sys.executable} -m stream", ".venv/bin/upsell-stream")
    return {
        " ".join(re.sub("[▲●▼]", "", re.sub(r"[0-9][0-9.,]*%?|(?<=\s)-(?=\s|$)", "0", line)).split())
        for line in text.splitlines()
    }


@pytest.mark.terminal
def test_the_readme_shows_what_the_demo_prints():
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("printed this")[2].partition("```text\n")[2].partition("```")[0]
    with terminal("demo", "--duration", "3", size=(200, 60)) as screen:
        printed = screen.until(ended, history=True)
    assert masked(shown) <= masked("\n".join(printed))


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
