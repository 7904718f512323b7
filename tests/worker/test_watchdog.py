import subprocess
import sys

PROGRAM = """
import asyncio, os, sys, time
from stream.worker.watchdog import Watchdog, end_within

async def main():
    watchdog = Watchdog(0.6)
    watchdog.start()
    await asyncio.sleep(1.0)
    {}
    print("alive", flush=True)

asyncio.run(main())
"""


def run(line):
    command = [sys.executable, "-c", PROGRAM.format(line)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_loop_that_stands_still_ends_the_process():
    ended = run("time.sleep(45)")
    assert ended.returncode == 1
    assert "alive" not in ended.stdout
    assert "the event loop has stood still" in ended.stderr
    assert "in main" in ended.stderr  # where it stood


def test_nor_does_a_closed_standard_error_save_it():
    assert run("sys.stderr = None; os.close(2); time.sleep(45)").returncode == 1


def test_a_loop_that_turns_does_not():
    ended = run("watchdog.stop()")
    assert (ended.returncode, ended.stdout) == (0, "alive\n")


def test_stopping_must_not_hang():
    ended = run("end_within(0.2); time.sleep(45)")
    assert ended.returncode == 1
    assert "did not stop within" in ended.stderr or "stood still" in ended.stderr


def test_stopping_in_time_is_fine():
    ended = run("end_within(45).cancel(); watchdog.stop()")
    assert (ended.returncode, ended.stdout) == (0, "alive\n")
