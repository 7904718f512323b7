"""A real Redis on loopback: Debian's `redis-server`, with or without its append-only file."""

from pathlib import Path
from tempfile import TemporaryDirectory

from support.programs import program

from stream.embedded.server import HOST, Server
from stream.embedded.valkey import speaks_redis


class RedisServer(Server):
    """One Redis; its files are in `directory` and go at `close`.

    Without `append_only` it forgets everything when it ends; with it, `kill` loses at most what was not yet written.
    `options` are further command-line arguments, such as `"--maxmemory", "10mb"`; they may be changed between two starts.
    """

    name = "Redis"

    def __init__(self, *options: str, append_only: bool = False) -> None:
        super().__init__()
        self._directory = TemporaryDirectory(prefix="upsell-redis-")
        self.directory = Path(self._directory.name)
        self._append_only = append_only
        self.options = [*options]

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    @property
    def append_only_file(self) -> Path:
        """The file that commands are appended to; cut its end off while the server is down to lose the newest."""
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

    def close(self) -> None:
        super().close()
        self._directory.cleanup()

    def answers(self, connection) -> bool:
        return speaks_redis(connection)
