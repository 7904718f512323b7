"""Any faults, in any order: figures, outcomes and dead letters are those of an undisturbed run (docs/explanation/simulation.md)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from simulation.mutations import MUTATIONS
from simulation.scenario import scenario
from simulation.shrink import describe
from simulation.simulation import simulate

TESTS = Path(__file__).parents[1]
BLOCK = 25
BLOCKS = 40


def faulty(*kinds):
    return lambda made: any(fault.kind in kinds for fault in made.faults)


MET_BY = {
    "no owner check": faulty("worker frozen", "worker cut from kafka", "redis slow"),
    "no offset check": faulty("redis loses its tail"),
    "increments in place of absolute values": faulty("worker killed"),
    "retries by the client": faulty("redis loses answers", "redis down"),
    "commit before publish": faulty("worker killed"),
    "skipping a batch on mismatch": faulty("batches lost"),
    "falling back to Kafka's offset": faulty("redis loses everything"),
    "erasing no checkouts": lambda made: made.erasures > 0,
    "forgetting too early": lambda made: made.haste > 1,
    "forgetting what is removed": lambda made: made.late > 0,
    "not reading layout 1": faulty("redis loses its tail"),
    "leaving records in layout 1": faulty("redis loses its tail"),
}
"""Where to look for a mutation first."""


@pytest.mark.parametrize("block", range(BLOCKS))
def test_no_fault_loses_doubles_or_invents_anything(block):
    for seed in range(BLOCK * block, BLOCK * (block + 1)):
        report = simulate(scenario(seed))
        if report.problems:
            pytest.fail(describe(report), pytrace=False)


@pytest.mark.parametrize("name", MUTATIONS)
def test_it_notices(name):
    candidates = filter(MET_BY[name], map(scenario, range(2000)))
    for _ in range(60):
        with MUTATIONS[name]():
            if problems := simulate(next(candidates)).problems:
                broken = [
                    problem for problem in problems if "a defect; please report it" in problem or "Error(" in problem
                ]
                assert not broken, f"the mutation does not work: {broken[0]}"
                return
    pytest.fail(f"{name}: not noticed in 60 seeds")


def test_a_failure_is_made_smaller():
    with MUTATIONS["no offset check"]():
        made = next(
            made
            for made in map(scenario, range(100))
            if any(fault.kind == "redis loses its tail" for fault in made.faults) and simulate(made).problems
        )
        text = describe(simulate(made))
    found = re.search(r"it still fails with \d+ workers, (\d+) events and these faults:\n((?:    .*\n)*)", text)
    assert found is not None
    assert int(found[1]) < made.events
    assert 1 <= found[2].count("\n") <= len(made.faults)
    assert f"make simulate SEED={made.seed}" in text
    assert "redis: commit" in text


def test_a_seed_is_the_same_run_in_every_process():
    program = """
from simulation.scenario import scenario
from simulation.simulation import simulate
for seed in (3, 4):
    print(*simulate(scenario(seed), tracing=True).trace, sep="\\n")
"""
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": str(TESTS), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert runs[0].count("\n") > 100
    assert runs[0] == runs[1]
