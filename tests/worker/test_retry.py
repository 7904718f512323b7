"""What cannot be done now is repeated, and it is said what is waited for."""

import asyncio

import pytest

from stream.worker import retry as module
from stream.worker.retry import Waiting, retry


@pytest.fixture
def pauses(monkeypatch):
    """Seconds that were slept, without sleeping."""
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    return slept


def failing(times, error=ValueError):
    """A call that fails so often before it answers."""
    left = [error(f"failure {number}") for number in range(times)]

    async def call():
        if left:
            raise left.pop(0)
        return "answer"

    return call


async def test_an_answer_is_returned_at_once(pauses):
    waiting = Waiting("redis")
    assert await retry(failing(0), ValueError, waiting) == "answer"
    assert (waiting.reason, pauses) == (None, [])


async def test_pauses_double_up_to_the_longest(pauses):
    assert await retry(failing(8), ValueError, Waiting("redis")) == "answer"
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]


async def test_any_other_error_is_raised(pauses):
    with pytest.raises(KeyError):
        await retry(failing(1, KeyError), ValueError, Waiting("redis"))
    assert pauses == []


async def test_each_error_is_reported_and_the_reason_is_what_the_report_says(pauses):
    seen, reasons = [], []
    waiting = Waiting("redis")

    def explain(error):
        seen.append(str(error))
        reasons.append(waiting.reason)
        return f"explained {error}"

    assert await retry(failing(3), ValueError, waiting, explain) == "answer"
    assert seen == ["failure 0", "failure 1", "failure 2"]
    assert reasons == [None, "explained failure 0", "explained failure 1"]
    assert waiting.reason is None


async def test_the_log_says_once_that_a_wait_begins_and_ends(pauses, caplog):
    caplog.set_level("INFO", "stream.worker.retry")
    await retry(failing(3), ValueError, Waiting("waiting for Redis"))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    began, ended = (record.getMessage() for record in caplog.records)
    assert began == "waiting for Redis: failure 0. Nothing is lost; trying again"
    assert ended.startswith("waiting for Redis: over after ")


async def test_a_wait_can_be_cancelled():
    waiting = Waiting("redis")
    task = asyncio.create_task(retry(failing(1000), ValueError, waiting))
    while waiting.reason is None:  # noqa: ASYNC110 - the wait has no event
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
