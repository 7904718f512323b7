"""`make chaos`: the long form, with real Kafka and Redis. The defaults are those for a release."""

import argparse
import asyncio
import secrets
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from chaos.faults import ALL
from chaos.restart import restart
from chaos.run import chaos


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--only", choices=[fault.__name__ for fault in ALL], action="append", help="repeatable")
    parser.add_argument(
        "--restart",
        type=int,
        metavar="ENTITIES",
        help="measure restarts with this many stored entities, without faults",
    )
    asked = parser.parse_args()
    if asked.restart:
        with TemporaryDirectory(prefix="upsell-chaos-") as directory:
            asyncio.run(restart(Path(directory), asked.restart))
        return
    kinds = [fault for fault in ALL if not asked.only or fault.__name__ in asked.only]
    faults = [kinds[number % len(kinds)] for number in range(asked.faults)]
    Random(f"order {asked.seed}").shuffle(faults)
    with TemporaryDirectory(prefix="upsell-chaos-") as directory:
        run = asyncio.run(chaos(Path(directory), events=asked.events, faults=faults, seed=asked.seed))
    for what, seconds in run.measured.items():
        worst, mean = max(seconds), sum(seconds) / len(seconds)
        print(f"{what}: mean {mean:.1f} s, longest {worst:.1f} s, {len(seconds)} times")
    print(f"passed: {len(faults)} faults of {len(set(faults))} kinds, seed {asked.seed}")


if __name__ == "__main__":
    main()
