"""A failure made smaller: fewer faults, then fewer events, as long as it stays a failure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from simulation.simulation import Report, simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.scenario import Scenario


def shrink(scenario: Scenario) -> Scenario:
    """The smallest scenario found by leaving out one thing after the other; it fails, as the given one does."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(scenario):
            if simulate(candidate).problems:
                scenario, smaller = candidate, True
                break
    return scenario


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    faults = scenario.faults
    for place in range(len(faults)):
        yield replace(scenario, faults=faults[:place] + faults[place + 1 :])
    if scenario.halting is not None:
        yield replace(scenario, halting=None)
    if scenario.erasures:
        yield replace(scenario, erasures=0)
        yield replace(scenario, erasures=scenario.erasures - 1)
    if scenario.late:
        yield replace(scenario, late=0)
        yield replace(scenario, late=scenario.late - 1)
    if scenario.haste != 1.0:
        yield replace(scenario, haste=1.0)
    if scenario.workers > 1:
        yield replace(scenario, workers=scenario.workers - 1)
    for events in (scenario.events // 2, scenario.events * 3 // 4, scenario.events - 1):
        if 0 < events < scenario.events:
            yield replace(scenario, events=events)


def describe(report: Report) -> str:
    """What failed, what it takes to fail, and how it went."""
    small = shrink(report.scenario)
    shrunk = simulate(small, tracing=True)
    lines = [
        f"seed {small.seed} fails; once more: make simulate SEED={small.seed}",
        *(f"  {problem}" for problem in report.problems),
        f"it still fails with {small.workers} workers, {small.events} events and these faults:",
        *(f"  {fault}" for fault in (*small.faults, *filter(None, [small.halting]))),
        *(f"  {problem}" for problem in shrunk.problems),
        "how it goes:",
        *(f"  {line}" for line in shrunk.trace),
    ]
    return "\n".join(lines)
