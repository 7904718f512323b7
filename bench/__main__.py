"""`make bench`: the measurements behind docs/performance.md.

    make bench                                  everything, about a quarter of an hour
    make bench ARGS="throughput --runs 5"       one of them
    make bench ARGS="--quick"                   everything, small and rough

Results go to bench/results/latest.json (`--results`).
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

from bench import stages, throughput  # noqa: E402 - after the path to the tests' servers
from bench.results import Results  # noqa: E402

BENCHMARKS: Final[dict[str, Callable[..., None]]] = {"stages": stages.run, "throughput": throughput.run}


def main() -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", nargs="*", metavar="BENCHMARK", help=f"{', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    parser.add_argument("--records", type=int, help="events; default: each benchmark's own")
    parser.add_argument("--runs", type=int, help="of the comparison; default 3")
    parser.add_argument(
        "--only", action="append", default=[], help="contenders of the comparison, by the start of their names"
    )
    parser.add_argument("--quick", action="store_true", help="small and rough")
    chosen = parser.parse_args()
    if unknown := sorted(set(chosen.benchmarks) - set(BENCHMARKS)):
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    results = Results(chosen.results)
    for name in chosen.benchmarks or BENCHMARKS:
        began = time.monotonic()
        print(f"== {name}", flush=True)
        options: dict[str, Any] = {}
        if chosen.records or chosen.quick:
            options["records"] = chosen.records or 40_000
        if name == "throughput":
            options |= {"runs": chosen.runs or (1 if chosen.quick else 3), "only": chosen.only}
        BENCHMARKS[name](results, **options)
        print(f"== {name}: {time.monotonic() - began:.0f} s", flush=True)
    print(f"results: {chosen.results}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
