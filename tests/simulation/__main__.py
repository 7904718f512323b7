"""Many seeds by hand: `make simulate SEEDS=10000`, `make simulate SEED=17`."""

import argparse
import sys
import time
from collections import Counter

from simulation.scenario import scenario
from simulation.shrink import told
from simulation.simulation import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description="Run seeds of the deterministic simulation.")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    options = parser.parse_args()
    if options.seed is not None:
        report = simulate(scenario(options.seed), tracing=True)
        print("\n".join(report.trace))
        print(f"seed {options.seed}: {'; '.join(report.problems) or 'all is as it must be'}")
        return bool(report.problems)
    return _many(range(options.first, options.first + options.seeds))


def _many(seeds: range) -> int:
    began = time.monotonic()
    faults: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    failed: list[int] = []
    done = 0
    try:
        for seed in seeds:
            report = simulate(scenario(seed))
            done += 1
            faults += report.faults
            counts += report.counts
            counts.update(events=report.events, commits=report.commits)
            if report.problems:
                failed.append(seed)
                print(f"\n{told(report)}", flush=True)
            if sys.stdout.isatty() or done % 100 == 0:
                print(f"\r{done} of {len(seeds)} seeds, {len(failed)} failed", end="", flush=True)
    except KeyboardInterrupt:
        print("\ninterrupted", end="")
    seconds = time.monotonic() - began
    print(f"\n{done} seeds in {seconds:.0f} s, {1000 * seconds / max(1, done):.0f} ms each; failed: {failed or 'none'}")
    print(
        f"{counts['events']} events, {counts['commits']} commits, {counts['fenced']} commits refused to former owners"
    )
    print(f"{faults.total()} faults:", ", ".join(f"{kind} {number}" for kind, number in sorted(faults.items())))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
