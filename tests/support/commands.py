"""The command `upsell-stream` as users call it, and the totals that it prints."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process

from support.workers import LIMIT, Group, environment

from stream.core.counting.figures import JOURNEYS, TOTAL
from stream.settings import Settings


async def started(*words: object, settings: Settings | None = None) -> Process:
    """Start a command."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream", *map(str, words),
        env={"PATH": os.environ["PATH"]} if settings is None else environment(settings), stdout=PIPE, stderr=PIPE,
    )  # fmt: skip


async def output(*words: object, settings: Settings | None = None) -> bytes:
    """Run a command that must succeed, and return what it prints."""
    process = await started(*words, settings=settings)
    printed, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return printed


def totals(summary: dict) -> dict[str, dict]:
    """The part of a summary that `total` of `rates` also has: everything but the counts of customers."""
    return {name: _without_customers(summary[name]) for name in ("all", *JOURNEYS)}


async def until_totals(workers: Group, expected: dict[str, dict], limit: float = LIMIT) -> dict:
    """Wait until `rates --json` shows these totals, and return the whole document."""
    document, found = {}, {}
    try:
        async with asyncio.timeout(limit):
            while found != expected:
                workers.check()
                document = json.loads(await output("rates", "--json", settings=workers.settings))
                found = {name: document["windows"][TOTAL].get(name) for name in expected}
                await asyncio.sleep(1)
    except TimeoutError:
        assert found == expected
    return document


def _without_customers(figures: object) -> object:
    if not isinstance(figures, dict):
        return figures
    return {
        name: _without_customers(value)
        for name, value in figures.items()
        if name != "customers" and not name.startswith("customer_")
    }
