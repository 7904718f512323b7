"""The alternatives that are compared, each written as its own users would (`contenders/`), and whether it can run here.

Builds and installations are cached outside the tree, under a hash of their sources.
"""

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from bench.contender import ROOT
from bench.dataset import cache

_HERE: Final = ROOT / "bench" / "contenders"


class Peer(NamedTuple):
    """How to run a peer. The arguments after the program are the servers, topic, records and warm-up."""

    program: tuple[str | Path, ...]
    share: float
    environment: Mapping[str, str] = {}

    def command(self, servers: str) -> tuple[str | Path, ...]:
        """The command for these bootstrap servers."""
        return (*self.program, servers)


def available() -> dict[str, Peer]:
    """The peers that can run, by name. Prints what the others need."""
    peers: dict[str, Peer] = {}
    streams = _streams()
    if streams is not None:
        for name, guarantee in (("exactly once v2", "exactly_once_v2"), ("at least once", "at_least_once")):
            peers[f"Kafka Streams, {name}"] = Peer((*streams, "dsl", guarantee), 1.0)
            peers[f"Kafka Streams, plain store, {name}"] = Peer((*streams, "processor", guarantee), 1.0)
    quix = _quix()
    if quix is not None:
        program = (quix, _HERE / "quix_app.py")
        peers["Quix Streams, exactly once"] = Peer((*program, "exactly-once"), 0.05)
        peers["Quix Streams, at least once"] = Peer((*program, "at-least-once"), 0.2)
    peers["Faust, tables in memory"] = Peer((sys.executable, _HERE / "faust_app.py"), 0.0075)
    return peers


def _streams() -> tuple[str | Path, ...] | None:
    java, maven = shutil.which("java"), shutil.which("mvn")
    if java is None or maven is None:
        print("Kafka Streams is left out: java or mvn is missing")
        return None
    project = _HERE / "streams"
    sources = sorted(path for path in project.rglob("*") if path.suffix in (".java", ".xml"))
    built = cache() / f"streams-{_digest(sources)}"
    if not built.exists():
        print("building the Kafka Streams peer …", flush=True)
        partial = built.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(project, partial)
        _succeed(
            [
                maven,
                "--batch-mode",
                "--quiet",
                "--file",
                str(partial / "pom.xml"),
                "package",
                "dependency:copy-dependencies",
            ]
        )
        partial.rename(built)
    jars = f"{built / 'target' / 'streams-1.jar'}:{built / 'target' / 'dependency'}/*"
    return java, "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", jars, "bench.Sales"


def _quix() -> Path | None:
    requirements = _HERE / "quix.txt"
    installed = cache() / f"quix-{_digest([requirements])}"
    python = installed / "bin" / "python"
    if not (installed / "complete").exists():
        print("installing Quix Streams …", flush=True)
        venv.create(installed, with_pip=True, clear=True)
        try:
            _succeed([str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(requirements)])
        except RuntimeError as error:
            print(f"Quix Streams is left out: {error}")
            return None
        (installed / "complete").touch()
    return python


def _succeed(command: list[str]) -> None:
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{command[0]} ended with {ended.returncode}:\n{(ended.stdout + ended.stderr)[-2000:]}")


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
