"""`make bench`: the measurements behind docs/reference/performance.md.

    make bench                                  everything, about twenty minutes
    make bench ARGS="throughput --runs 5"       one of them
    make bench ARGS="--quick"                   everything, small and rough

Results go to build/bench.json (`--results`).
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bench import growth, latency, memory, page, stages, start, throughput  # noqa: E402 - after the path to the tests' servers
from bench.results import Results  # noqa: E402 - after the path to the tests' servers

BENCHMARKS: Final[dict[str, Callable[..., None]]] = {
    "throughput": throughput.run,
    "stages": stages.run,
    "latency": latency.run,
    "catch-up": latency.catch_up,
    "memory": memory.run,
    "growth": growth.run,
    "start": start.run,
}
"""They run in this order. `page` writes docs/reference/performance.md from the results."""
QUICK: Final[dict[str, dict[str, Any]]] = {
    "throughput": {"records": 40_000, "runs": 1},
    "stages": {"records": 40_000},
    "latency": {"rates": (1000,), "seconds": 5.0, "runs": 1},
    "catch-up": {"backlog": 8000},
    "memory": {"checkouts": 20_000},
    "growth": {"records": 20_000, "runs": 1},
    "start": {"runs": 2},
}
SIZES: Final = {"memory": "checkouts", "catch-up": "backlog"}
"""Parameter that --records sets, where it has another name."""


def main() -> int:
    """Run the chosen benchmarks."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "benchmarks", nargs="*", metavar="BENCHMARK", help=f"{', '.join(BENCHMARKS)}, page; default: all but the page"
    )
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench.json")
    parser.add_argument("--records", type=int, help="events, or open checkouts; default: each benchmark's own")
    parser.add_argument("--runs", type=int, help="repetitions of throughput, latency, growth and start")
    parser.add_argument("--only", action="append", default=[], help="only contenders whose names start with this")
    parser.add_argument("--quick", action="store_true", help="small and rough")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.benchmarks) - {*BENCHMARKS, "page"}):
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    results = Results(chosen.results)
    for name in chosen.benchmarks or BENCHMARKS:
        if name == "page":
            page.run(results, page=ROOT / "docs" / "reference" / "performance.md")
            continue
        began = time.monotonic()
        print(f"== {name}", flush=True)
        options = dict(QUICK[name]) if chosen.quick else {}
        if chosen.records and name not in ("latency", "start"):
            options[SIZES.get(name, "records")] = chosen.records
        if chosen.runs and name in ("throughput", "latency", "growth", "start"):
            options["runs"] = chosen.runs
        if name == "throughput":
            options["only"] = chosen.only
        BENCHMARKS[name](results, **options)
        print(f"== {name}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"results: {chosen.results}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
