"""A real Apache Kafka on loopback, without Docker: Java runs what Maven resolves by name.

The download is kept outside the tree, in the user's cache, and made once: run this file to have it before the tests.
"""

import base64
import fcntl
import os
import secrets
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from support.programs import program

from stream.embedded.broker import speaks_kafka
from stream.embedded.server import HOST, Server, ServerFailedError, ServerUnavailableError, free_port

VERSION = "4.1.0"
QUICKLY_BACK = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
"""Settings for a server that is killed and started again: it is let in once its old session is over, by default after 9 s."""
_POM = Path(__file__).with_name("kafka.pom.xml")


def fetch() -> Path:
    """Return the directory with Kafka's jars; fetched by whoever comes first, while the others wait."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "upsell-stream"
    jars = cache / f"kafka-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"kafka-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if jars.is_dir():
            return jars
        partial = cache / f"kafka-{VERSION}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        maven = subprocess.run(
            [
                program("mvn", "maven"), "--batch-mode", "--quiet", "--file", _POM,
                "dependency:copy-dependencies",
                f"-Dkafka.version={VERSION}", f"-DoutputDirectory={partial}", "-DincludeScope=runtime",
            ],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if maven.returncode:
            raise ServerUnavailableError(f"Maven cannot resolve Kafka {VERSION}:\n{maven.stdout[-4096:]}")
        partial.rename(jars)
    return jars


class KafkaServer(Server):
    """One KRaft node, broker and controller in one; its log survives `kill` and `stop`, and goes at `close`.

    `settings` are added to, and win over, the ones below. Topics are not created by being named. With `proxy`, the port of one, there is a second
    listener on `proxied_port`, and who asks there is sent to the proxy.
    """

    name = "Apache Kafka"
    start_seconds = 120.0
    stop_seconds = 30.0

    def __init__(self, settings: dict[str, str] | None = None, heap: str = "512m", proxy: int | None = None) -> None:
        super().__init__()
        self._directory = TemporaryDirectory(prefix="upsell-kafka-")
        self.directory = Path(self._directory.name)
        self._settings = settings or {}
        self._heap = heap
        self._controller_port = free_port()
        self._proxy = proxy
        self.proxied_port = free_port()

    @property
    def bootstrap_servers(self) -> str:
        return self.address

    def command(self) -> list[str]:
        properties = self.directory / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in self._properties().items()))
        if not (self.directory / "log" / "meta.properties").exists():
            self._format(properties)
        return [*self._java(), "kafka.Kafka", str(properties)]

    def close(self) -> None:
        super().close()
        self._directory.cleanup()

    def answers(self, connection) -> bool:
        return speaks_kafka(connection)

    def _java(self) -> list[str]:
        return [
            program("java", "openjdk-17-jre-headless"),
            # One small node: quick to start, and it leaves the cores to what is tested.
            f"-Xmx{self._heap}", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp", f"{fetch()}/*",
        ]  # fmt: skip

    def _properties(self) -> dict[str, str]:
        broker = f"PLAINTEXT://{self.address}"
        listeners, advertised = broker, broker
        if self._proxy is not None:
            listeners += f",PROXIED://{HOST}:{self.proxied_port}"
            advertised += f",PROXIED://{HOST}:{self._proxy}"
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{listeners},CONTROLLER://{HOST}:{self._controller_port}",
            "advertised.listeners": advertised,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.directory / "log"),
            "auto.create.topics.enable": "false",
            "default.replication.factor": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            **self._settings,
        }

    def _format(self, properties: Path, *more: str) -> None:
        cluster = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        # An id that starts with a dash would be taken for an option.
        tool = subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", properties, *more],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if tool.returncode:
            raise ServerFailedError(f"{self.name} cannot format {self.directory}:\n{tool.stdout}{tool.stderr}")


if __name__ == "__main__":
    print(fetch())  # noqa: T201 - what a command is for
