"""The short form of `make chaos`, for every change."""

import pytest
from chaos.faults import SHORT
from chaos.run import chaos

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(600)]


async def test_whatever_breaks_nothing_is_lost_doubled_or_invented(tmp_path):
    run = await chaos(tmp_path, events=8_000, faults=SHORT, seed=7)
    assert run.fenced
