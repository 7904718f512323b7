"""A real Prometheus on loopback: Debian's `prometheus`, optionally with series in its storage."""

import http.client
import json
import subprocess
from collections.abc import Iterable, Sequence
from urllib.parse import urlencode

from support.programs import program
from support.servers import DirectoryServer

from stream.embedded.server import HOST


class PrometheusServer(DirectoryServer):
    """One Prometheus.

    `config` is its configuration as YAML (JSON is valid YAML); by default it scrapes nothing. `options` are more command-line arguments.
    """

    name = "Prometheus"

    def __init__(self, *options: str, config: str = "{}") -> None:
        super().__init__()
        self._options = options
        self._data = self.directory / "data"
        self._backfill = self.directory / "backfill.txt"
        (self.directory / "prometheus.yml").write_text(config, encoding="utf-8")

    def backfill(self, lines: Iterable[str]) -> None:
        """Write samples into the storage at the next `start`. Each line is `name{label="value"} value seconds`."""
        self._backfill.write_text("".join(f"{line}\n" for line in (*lines, "# EOF")), encoding="utf-8")

    def start(self) -> None:
        if self._backfill.exists():
            command = [
                program("promtool", "prometheus"),
                "tsdb",
                "create-blocks-from",
                "openmetrics",
                self._backfill,
                self._data,
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            self._backfill.unlink()
        super().start()

    def query(self, expr: str, time: float) -> list[dict]:
        """The result of an instant query. An error of the query fails the test."""
        return self._get("query", query=expr, time=time)

    def query_range(self, expr: str, start: float, end: float, step: float) -> list[dict]:
        """The result of a range query. An error of the query fails the test."""
        return self._get("query_range", query=expr, start=start, end=end, step=step)

    def label_values(self, label: str, selector: str, start: float, end: float) -> list[str]:
        """The values of a label in the selected series."""
        return self._get(f"label/{label}/values", **{"match[]": selector}, start=start, end=end)

    def alerts(self) -> list[dict]:
        """All alerts that are pending or firing, with their labels and annotations."""
        return self._get("alerts")["alerts"]

    def command(self) -> Sequence[str]:
        return [
            program("prometheus", "prometheus"),
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._data}",
            f"--web.listen-address={self.address}",
            "--log.level=warn",
            *self._options,
        ]

    def answers(self, connection) -> bool:
        connection.sendall(b"GET /-/ready HTTP/1.0\r\n\r\n")
        return connection.recv(12).endswith(b" 200")

    def _get(self, path: str, **parameters):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.load(connection.getresponse())
        finally:
            connection.close()
        assert answer["status"] == "success", answer
        data = answer["data"]
        return data["result"] if isinstance(data, dict) and "result" in data else data
