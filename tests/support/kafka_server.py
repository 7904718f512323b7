"""A real Apache Kafka on loopback, without Docker: Maven downloads the jars, Java runs them.

The jars are kept in the user's cache and downloaded once. To download them before the tests: `PYTHONPATH=tests python -m support.kafka_server`.
"""

import base64
import secrets
import subprocess
from pathlib import Path

from support.downloads import fetched_once
from support.programs import program
from support.servers import DirectoryServer

from stream.embedded.broker import speaks_kafka
from stream.embedded.server import HOST, ServerFailedError, ServerUnavailableError, free_port

VERSION = "4.1.0"
QUICKLY_BACK = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
"""Settings for a server that is killed and restarted: its controller accepts it after its old session, which is 9 s by default."""
_POM = Path(__file__).with_name("kafka.pom.xml")


def fetch() -> Path:
    """Return the directory with Kafka's jars. The first caller downloads them; other processes wait."""
    return fetched_once(f"kafka-{VERSION}", _fetch)


def _fetch(directory: Path) -> None:
    maven = subprocess.run(
        [
            program("mvn", "maven"), "--batch-mode", "--quiet", "--file", _POM,
            "dependency:copy-dependencies",
            f"-Dkafka.version={VERSION}", f"-DoutputDirectory={directory}", "-DincludeScope=runtime",
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if maven.returncode:
        raise ServerUnavailableError(f"Maven cannot resolve Kafka {VERSION}:\n{maven.stdout[-4096:]}")


class KafkaServer(DirectoryServer):
    """One KRaft node, broker and controller in one. Its log survives `kill` and `stop`.

    `settings` override the ones below. Topics are not created automatically. `proxy` is the port of a proxy: the broker then has a second listener
    on `proxied_port`, which tells clients to connect to the proxy.
    """

    name = "Apache Kafka"
    start_seconds = 120.0
    stop_seconds = 30.0

    def __init__(self, settings: dict[str, str] | None = None, heap: str = "512m", proxy: int | None = None) -> None:
        super().__init__()
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

    def answers(self, connection) -> bool:
        return speaks_kafka(connection)

    def _java(self) -> list[str]:
        return [
            program("java", "openjdk-17-jre-headless"),
            # Starts quickly and uses little CPU.
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
        # With `=`, because an id may start with a dash.
        tool = subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", properties, *more],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if tool.returncode:
            raise ServerFailedError(f"{self.name} cannot format {self.directory}:\n{tool.stdout}{tool.stderr}")


if __name__ == "__main__":
    print(fetch())  # noqa: T201 - what a command is for
