"""A real Redis on loopback: Debian's `redis-server`, with or without its append-only file."""

from pathlib import Path

from support.programs import program
from support.servers import DirectoryServer

from stream.embedded.server import HOST
from stream.embedded.valkey import speaks_redis


class RedisServer(DirectoryServer):
    """One Redis.

    Without `append_only` it loses everything when it ends. With it, `kill` loses only commands that are not written to the file yet.
    `options` are more command-line arguments, such as `"--maxmemory", "10mb"`. A test may change them between two starts.
    """

    name = "Redis"

    def __init__(self, *options: str, append_only: bool = False) -> None:
        super().__init__()
        self._append_only = append_only
        self.options = [*options]

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    @property
    def append_only_file(self) -> Path:
        """The file to which commands are appended. To lose the newest commands, shorten it while the server is down."""
        (newest,) = (self.directory / "appendonlydir").glob("*.incr.aof")
        return newest

    def command(self) -> list[str]:
        return [
            program("redis-server", "redis-server"),
            "--bind", HOST,
            "--port", str(self.port),
            "--dir", str(self.directory),
            "--save", "",
            "--appendonly", "yes" if self._append_only else "no",
            "--loglevel", "warning",
            *self.options,
        ]  # fmt: skip

    def answers(self, connection) -> bool:
        return speaks_redis(connection)
