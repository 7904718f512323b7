"""The short form of `make chaos`, which runs for every change."""

import pytest
from chaos.faults import SHORT
from chaos.run import chaos

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.timeout(600)]


async def test_no_fault_loses_duplicates_or_invents_anything(tmp_path):
    run = await chaos(tmp_path, events=8_000, faults=SHORT, seed=7)
    assert run.fenced
