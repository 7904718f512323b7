"""What people would use instead, each as its own users would write it (`contenders/`), and whether it can run here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bench.contender import ROOT

_HERE: Final = ROOT / "bench" / "contenders"


class Peer(NamedTuple):
    """How to run it: arguments after the program are the servers; topic, records and warm-up follow."""

    program: tuple[str | Path, ...]
    share: float
    environment: Mapping[str, str] = {}

    def command(self, servers: str) -> tuple[str | Path, ...]:
        """Its command for these brokers."""
        return (*self.program, servers)


def available() -> dict[str, Peer]:
    """Those that can run, by name; says what the others lack."""
    return {}
