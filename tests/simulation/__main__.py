"""Many seeds by hand: `make simulate SEEDS=10000`, `make simulate SEED=17`."""

import argparse
import multiprocessing
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from simulation.scenario import scenario
from simulation.shrink import describe
from simulation.simulation import simulate

_Seed = tuple[int, Counter[str], Counter[str], str]
"""Seed, faults, counts, and the description of a failure."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description="Run seeds of the deterministic simulation.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=1, help="on how many processes")
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    options = parser.parse_args()
    if options.seed is not None:
        report = simulate(scenario(options.seed), tracing=True)
        print("\n".join(report.trace))
        print(f"seed {options.seed}: {'; '.join(report.problems) or 'no problem'}")
        return bool(report.problems)
    return _many(range(options.first, options.first + options.seeds), options.jobs)


def _many(seeds: range, jobs: int) -> int:
    began = time.monotonic()
    faults: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    failed: list[int] = []
    done = 0
    terminal = sys.stdout.isatty()
    try:
        with _spread(seeds, jobs) as results:
            for seed, its_faults, its_counts, story in results:
                done += 1
                faults += its_faults
                counts += its_counts
                if story:
                    failed.append(seed)
                    print(f"\n{story}", flush=True)
                if terminal or done % 100 == 0:
                    text = f"{done} of {len(seeds)} seeds, {len(failed)} failed"
                    print(f"\r{text}" if terminal else text, end="" if terminal else "\n", flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted", end="")
    seconds = time.monotonic() - began
    print(
        f"\n{done} seeds in {seconds:.0f} s, {1000 * seconds / max(1, done):.0f} ms each; failed: {sorted(failed) or 'none'}"
    )
    print(
        f"{counts['events']} events, {counts['commits']} commits, {counts['fenced']} commits refused to former owners; "
        f"{counts['erasures']} erasures, {counts['late']} late events, "
        f"{counts['entities forgotten']} entities and {counts['customers forgotten']} customers forgotten"
    )
    print(f"{faults.total()} faults:", ", ".join(f"{kind} {number}" for kind, number in sorted(faults.items())))
    return bool(failed)


def _one(seed: int) -> _Seed:
    made = scenario(seed)
    report = simulate(made)
    counts = report.counts + Counter(
        events=report.events, commits=report.commits, erasures=made.erasures, late=made.late
    )
    return seed, report.faults, counts, describe(report) if report.problems else ""


@contextmanager
def _spread(seeds: range, jobs: int) -> Iterator[Iterator[_Seed]]:
    """What becomes of each seed; with several processes, in no order."""
    if jobs == 1:
        yield map(_one, seeds)
        return
    # Ctrl-C is this process's to answer: it ends the others.
    with multiprocessing.Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield pool.imap_unordered(_one, seeds, chunksize=5)


if __name__ == "__main__":
    sys.exit(main())
