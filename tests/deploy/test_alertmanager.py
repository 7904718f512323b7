"""Alertmanager's configuration is valid, routes alerts as intended, and sends one notification per cause from a live server.

The last test has the whole chain: metrics, a real Prometheus with the rules at a thirtieth of their times, a real Alertmanager, a receiver.
"""

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import pytest
import yaml
from support.programs import program, program_or_skip
from support.servers import started

from deploy.generate import rules
from deploy.generate.rule import Alert, Links, TimeScale
from stream.embedded.server import HOST, Server

CONFIG = Path(__file__).parents[2] / "deploy" / "alertmanager" / "alertmanager.yaml"
ALERTS = {alert.name: alert for alert in rules.ALERTS}
SECONDS = 60
"""How long a test waits for a notification. Absence is proven by a later notification that arrives."""

pytestmark = pytest.mark.prometheus


def amtool(*arguments: str) -> str:
    tool = program_or_skip("amtool", "prometheus-alertmanager")
    run = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_the_configuration_is_valid_and_holds_no_secret():
    amtool("check-config", str(CONFIG))
    for receiver in yaml.safe_load(CONFIG.read_text())["receivers"]:
        for configuration in (c for kind, all_ in receiver.items() if kind != "name" for c in all_):
            assert not {"routing_key", "service_key", "api_url", "credentials", "password"} & configuration.keys()
            assert "_file" in json.dumps(configuration)


@pytest.mark.parametrize(
    ("alert", "receiver"),
    [
        ("UpsellRateBelowTarget", "commerce-pager"),
        ("UpsellRevenueBelowTarget", "commerce-pager"),
        ("UpsellRateBelowLastWeek", "commerce-chat"),
        ("UpsellUnknownIntentsHigh", "commerce-chat"),
        ("UpsellPipelineStalled", "platform-pager"),
        ("UpsellMetricsAbsent", "platform-pager"),
        ("UpsellNoWorkerReady", "platform-pager"),
        ("UpsellWorkerDown", "platform-chat"),
        ("UpsellDeadLetters", "platform-chat"),
        ("UpsellWatchdog", "watchdog"),
    ],
)
def test_an_alert_goes_to(alert, receiver):
    labels = [f"{name}={value}" for name, value in labels_of(ALERTS[alert]).items()]
    assert amtool("config", "routes", "test", f"--config.file={CONFIG}", *labels).split() == [receiver]


def test_exactly_the_critical_alerts_go_to_a_pager():
    for alert in ALERTS.values():
        labels = [f"{name}={value}" for name, value in labels_of(alert).items()]
        receiver = amtool("config", "routes", "test", f"--config.file={CONFIG}", *labels).strip()
        assert receiver.endswith("-pager") == (alert.severity == "critical"), alert.name


def labels_of(alert: Alert, **more: str) -> dict[str, str]:
    return {"alertname": alert.name, "env": "prod", **alert.labels, **more}


class Alertmanager(Server):
    name = "Alertmanager"

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.directory = directory

    def command(self) -> list[str]:
        # Debian has renamed the program.
        return [
            shutil.which("alertmanager") or program("prometheus-alertmanager", "prometheus-alertmanager"),
            f"--config.file={self.directory}/alertmanager.yaml",
            f"--storage.path={self.directory}/data",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]

    def answers(self, connection: socket.socket) -> bool:
        connection.sendall(b"GET /-/ready HTTP/1.0\r\n\r\n")
        return b" 200 " in connection.recv(64)

    def post(self, *alerts: dict[str, str], ended: bool = False) -> None:
        """Send alerts as Prometheus does: they fire, or have just ended."""
        end = {"endsAt": datetime.now(UTC).isoformat()} if ended else {}
        body = json.dumps([{"labels": labels, "annotations": {"summary": "s"}} | end for labels in alerts])
        connection = HTTPConnection(HOST, self.port, timeout=10)
        connection.request("POST", "/api/v2/alerts", body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connection.close()

    def states(self) -> dict[str, str]:
        """State of every alert by name: active, suppressed, or unprocessed."""
        return {alert["labels"]["alertname"]: alert["status"]["state"] for alert in self._alerts()}

    def states_of(self) -> dict[frozenset[tuple[str, str]], str]:
        """State of every alert by labels."""
        return {frozenset(alert["labels"].items()): alert["status"]["state"] for alert in self._alerts()}

    def updated(self, name: str) -> str:
        """When Alertmanager last received an alert (RFC 3339)."""
        return max(alert["updatedAt"] for alert in self._alerts() if alert["labels"]["alertname"] == name)

    def _alerts(self) -> list[dict]:
        with urllib.request.urlopen(f"http://{self.address}/api/v2/alerts", timeout=10) as answer:
            return json.load(answer)


H = TypeVar("H", bound=ThreadingHTTPServer)


class Inbox(ThreadingHTTPServer):
    """A receiver that stores notifications: the receiver's name, the status, and the names of the alerts."""

    def __init__(self) -> None:
        self.notifications: list[tuple[str, str, list[str]]] = []
        super().__init__((HOST, 0), _Receive)


class _Receive(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        names = [alert["labels"]["alertname"] for alert in body["alerts"]]
        self.server.notifications.append((body["receiver"], body["status"], names))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(server: H) -> Iterator[H]:
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def live(directory: Path) -> Iterator[tuple[Alertmanager, Inbox]]:
    """A live Alertmanager with the committed configuration, but with `Inbox` as every receiver and short waits."""
    with serving(Inbox()) as box:
        configuration = yaml.safe_load(CONFIG.read_text())
        for receiver in configuration["receivers"]:
            for kind in receiver.keys() - {"name"}:
                del receiver[kind]
            url = f"http://{HOST}:{box.server_port}/"
            receiver["webhook_configs"] = [{"url": url, "send_resolved": True}]
        configuration["route"] |= {"group_wait": "1s", "group_interval": "1s"}
        for route in configuration["route"]["routes"]:
            route.pop("group_interval", None)
        (directory / "alertmanager.yaml").write_text(yaml.safe_dump(configuration))
        with started(Alertmanager(directory)) as server:
            yield server, box


def eventually(condition: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (OSError, HTTPException):
            pass
        time.sleep(0.05)
    pytest.fail(f"did not happen within {SECONDS} s: {what()}")


def test_one_cause_is_one_notification(tmp_path):
    with live(tmp_path) as (server, box):
        stalled = labels_of(ALERTS["UpsellPipelineStalled"], topic="checkout-events", partition="0")
        server.post(stalled)
        eventually(lambda: server.states().get("UpsellPipelineStalled") == "active", server.states)
        low = labels_of(ALERTS["UpsellRateBelowTarget"], kpi="upsell_ratio", journey="checkout", segment="all")
        server.post(low, labels_of(ALERTS["UpsellUnknownIntentsHigh"], journey="checkout") | {"env": "staging"})
        eventually(lambda: server.states().get("UpsellRateBelowTarget") == "suppressed", server.states)
        # The silenced alert would have arrived before this later one.
        server.post(low | {"env": "test"})
        eventually(lambda: len(box.notifications) >= 3, lambda: box.notifications)
    assert sorted(box.notifications) == [
        ("commerce-chat", "firing", ["UpsellUnknownIntentsHigh"]),
        ("commerce-pager", "firing", ["UpsellRateBelowTarget"]),
        ("platform-pager", "firing", ["UpsellPipelineStalled"]),
    ]


SHARD = {"topic": "checkout-events", "partition": "0"}
OTHER_SHARD = {"topic": "checkout-events", "partition": "1"}
PLACE = {"kpi": "upsell_ratio", "journey": "checkout", "segment": "all"}
ELSEWHERE = {"env": "staging"}


@pytest.mark.parametrize(
    ("cause", "silenced", "heard"),
    [
        pytest.param(
            ("UpsellNoWorkerReady", {}),
            [
                ("UpsellPipelineStalled", SHARD),
                ("UpsellShardUnowned", SHARD),
                ("UpsellWorkerUnready", {}),
                ("UpsellOpportunitiesDrop", {"journey": "checkout"}),
                ("UpsellRateBelowTarget", PLACE),
            ],
            [("UpsellShardHalted", SHARD), ("UpsellOpportunitiesDrop", {"journey": "checkout"} | ELSEWHERE)],
            id="Kafka is away",
        ),
        pytest.param(
            ("UpsellCommitsFailing", {"reason": "connection"}),
            [
                ("UpsellNoWorkerReady", SHARD),
                ("UpsellWorkerUnready", {}),
                ("UpsellShardUnowned", SHARD),
                ("UpsellFiguresNotLive", {"journey": "checkout"}),
                ("UpsellRateBelowTarget", PLACE),
            ],
            [("UpsellNoWorkerReady", SHARD | ELSEWHERE)],
            id="Redis is away",
        ),
        pytest.param(
            ("UpsellFiguresNotLive", {"journey": "checkout"}),
            [("UpsellRateBelowTarget", PLACE), ("UpsellNoOpportunities", {"journey": "checkout"})],
            [
                ("UpsellRateBelowTarget", PLACE | {"journey": "subscription"}),
                ("UpsellRateBelowTarget", PLACE | ELSEWHERE),
            ],
            id="the figures of a journey are late",
        ),
        pytest.param(
            ("UpsellInputTopicDown", {"topic": "checkout-events"}),
            [("UpsellWorkerUnready", {}), ("UpsellNoWorkerReady", SHARD), ("UpsellRateBelowTarget", PLACE)],
            [("UpsellWorkerUnready", ELSEWHERE), ("UpsellRedisMemoryHigh", {})],
            id="a topic may not be read",
        ),
        pytest.param(
            ("UpsellTypeRefused", {"topic": "t", "type": "a", "severity": "critical"}),
            [("UpsellTypeRefused", {"topic": "t", "type": "a"})],
            [("UpsellTypeRefused", {"topic": "t", "type": "b"}), ("UpsellTypeRefused", {"topic": "u", "type": "a"})],
            id="most events of one type are refused",
        ),
        pytest.param(
            ("UpsellNoOpportunities", {"journey": "checkout"}),
            [("UpsellOpportunitiesDrop", {"journey": "checkout"})],
            [("UpsellOpportunitiesDrop", {"journey": "subscription"})],
            id="nothing is sold any more",
        ),
        pytest.param(
            ("UpsellUnknownIntentsHigh", {"journey": "checkout", "inhibits": "rates"}),
            [
                ("UpsellRateBelowTarget", PLACE),
                ("UpsellRateBelowLastWeek", PLACE),
                ("UpsellRevenueBelowTarget", PLACE | {"kpi": "upsell_revenue_ratio"}),
            ],
            [
                ("UpsellOpportunitiesDrop", {"journey": "checkout"}),
                ("UpsellReversalsHigh", {"journey": "checkout"}),
                ("UpsellRateBelowTarget", PLACE | {"journey": "subscription"}),
                ("UpsellRateBelowLastWeek", PLACE | ELSEWHERE),
            ],
            id="intents are not known",
        ),
        pytest.param(
            ("UpsellRedisFull", {"reason": "full"}),
            [
                ("UpsellShardUnowned", SHARD),
                ("UpsellShardUnowned", OTHER_SHARD),
                ("UpsellPipelineStalled", SHARD),
                ("UpsellNoWorkerReady", SHARD),
                ("UpsellWorkerUnready", {}),
                ("UpsellRedisMemoryHigh", {}),
                ("UpsellRedisFillingUp", {}),
            ],
            [("UpsellShardUnowned", SHARD | ELSEWHERE), ("UpsellShardHalted", SHARD)],
            id="Redis is full",
        ),
        pytest.param(
            ("UpsellShardHalted", SHARD),
            [("UpsellPipelineStalled", SHARD), ("UpsellShardUnowned", SHARD)],
            [("UpsellShardUnowned", OTHER_SHARD), ("UpsellShardUnowned", SHARD | ELSEWHERE)],
            id="a shard halts",
        ),
        pytest.param(
            ("UpsellShardHalted", SHARD),
            [("UpsellNoWorkerReady", SHARD)],
            [("UpsellNoWorkerReady", OTHER_SHARD)],
            id="a shard halts for a reason of its worker",
        ),
    ],
)
def test_a_cause_silences_what_follows_from_it_and_nothing_else(cause, silenced, heard, tmp_path):
    def labels(alert: tuple[str, dict[str, str]]) -> dict[str, str]:
        return labels_of(ALERTS[alert[0]], **alert[1])

    with live(tmp_path) as (server, _):
        server.post(labels(cause))
        eventually(lambda: server.states_of() == {frozenset(labels(cause).items()): "active"}, server.states_of)
        server.post(*(labels(alert) for alert in (*silenced, *heard)))
        expected = {frozenset(labels(alert).items()): "active" for alert in (cause, *heard)}
        expected |= {frozenset(labels(alert).items()): "suppressed" for alert in silenced}
        eventually(lambda: server.states_of() == expected, server.states_of)


def test_a_sale_alert_is_heard_as_soon_as_its_cause_has_ended(tmp_path):
    with live(tmp_path) as (server, box):
        stalled = labels_of(ALERTS["UpsellPipelineStalled"], **SHARD)
        low = labels_of(ALERTS["UpsellRateBelowTarget"], **PLACE)
        server.post(stalled)
        eventually(lambda: bool(box.notifications), server.states)
        server.post(low)
        eventually(lambda: server.states().get("UpsellRateBelowTarget") == "suppressed", server.states)
        server.post(stalled, ended=True)
        eventually(lambda: server.states() == {"UpsellRateBelowTarget": "active"}, server.states)
        eventually(lambda: len(box.notifications) >= 3, lambda: box.notifications)
    assert sorted(box.notifications) == [
        ("commerce-pager", "firing", ["UpsellRateBelowTarget"]),
        ("platform-pager", "firing", ["UpsellPipelineStalled"]),
        ("platform-pager", "resolved", ["UpsellPipelineStalled"]),
    ]


def test_the_end_of_a_pipeline_alert_is_sent_within_half_a_minute():
    route = yaml.safe_load(CONFIG.read_text())["route"]
    (pager,) = [child for child in route["routes"] if child["receiver"] == "platform-pager"]
    assert route["group_interval"] == "30s"
    assert "group_interval" not in pager


def test_a_low_rate_is_one_notification_however_many_segments(tmp_path):
    with live(tmp_path) as (server, box):
        low = [
            labels_of(ALERTS["UpsellRateBelowTarget"], kpi="upsell_ratio", journey="checkout", segment=segment)
            for segment in ("all", "business", "consumer")
        ]
        volume = labels_of(ALERTS["UpsellOpportunitiesDrop"], journey="checkout")
        server.post(*low)
        eventually(lambda: bool(box.notifications), lambda: box.notifications)
        server.post(*low, *low)
        server.post(volume | {"severity": "critical"}, volume | {"severity": "warning"})
        eventually(lambda: len(box.notifications) >= 2, lambda: box.notifications)
    assert box.notifications == [
        ("commerce-pager", "firing", ["UpsellRateBelowTarget"] * 3),
        ("commerce-pager", "firing", ["UpsellOpportunitiesDrop"]),
    ]


class Prometheus(Server):
    name = "Prometheus"

    def __init__(self, directory: Path, target: str, alertmanager: str) -> None:
        super().__init__()
        self.directory = directory
        for name, text in rules.files(TimeScale(1 / 30), Links()).items():
            (directory / name).write_text(text)
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [f"{directory}/{name}" for name in ("recording.yaml", "kpi.yaml", "pipeline.yaml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
            "scrape_configs": [
                {"job_name": "upsell-stream", "static_configs": [{"targets": [target], "labels": {"env": "prod"}}]}
            ],
        }
        (directory / "prometheus.yaml").write_text(yaml.safe_dump(configuration))

    def command(self) -> list[str]:
        return [
            program("prometheus", "prometheus"),
            f"--config.file={self.directory}/prometheus.yaml",
            f"--storage.tsdb.path={self.directory}/tsdb",
            f"--web.listen-address={self.address}",
            "--rules.alert.resend-delay=1s",
        ]

    def answers(self, connection: socket.socket) -> bool:
        connection.sendall(b"GET /-/ready HTTP/1.0\r\n\r\n")
        return b" 200 " in connection.recv(64)

    def value(self, expression: str) -> float | None:
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://{self.address}/api/v1/query?{query}", timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
        return float(result[0]["value"][1]) if result else None


class Worker(ThreadingHTTPServer):
    """Serves a worker's metrics, of a shop with one segment."""

    def __init__(self) -> None:
        self.rate = 0.25
        super().__init__((HOST, 0), _Metrics)

    def text(self) -> str:
        place = 'journey="checkout",channel="web",segment="business"'
        lines = [
            'upsell_build_info{version="1",python="3",faust="0"} 1',
            "upsell_ready 1",
            'upsell_shard_age_seconds{topic="t",partition="0"} 2',
            'upsell_target_ratio{kpi="upsell_cross_sell_rate",journey="checkout",segment="business"} 0.2',
        ]
        for window, opportunities in (("1m", 200), ("2m", 400), ("48m", 9600)):
            sold = round(opportunities * self.rate)
            lines += [
                f'upsell_window_opportunities{{{place},window="{window}"}} {opportunities}',
                f'upsell_window_kind_transactions{{kind="any",{place},window="{window}"}} {sold}',
            ]
        return "\n".join(lines) + "\n"


class _Metrics(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(self.server.text().encode())

    def log_message(self, *_: object) -> None:
        pass


def test_a_rate_that_falls_is_one_notification(tmp_path):
    (tmp_path / "prometheus").mkdir()
    with serving(Worker()) as worker, live(tmp_path) as (alertmanager, box):
        target = f"{HOST}:{worker.server_port}"
        with started(Prometheus(tmp_path / "prometheus", target, alertmanager.address)) as prometheus:
            rate = 'upsell:kpi_proportion:ratio{kpi="upsell_cross_sell_rate",segment="all",window="2m"}'
            eventually(lambda: prometheus.value(rate) == 0.25, lambda: prometheus.output)
            eventually(lambda: alertmanager.states() == {"UpsellWatchdog": "active"}, alertmanager.states)
            worker.rate = 0.1
            eventually(lambda: notified(box) != [], alertmanager.states)
            first = alertmanager.updated("UpsellRateBelowTarget")
            eventually(lambda: alertmanager.updated("UpsellRateBelowTarget") > first, alertmanager.states)
            assert alertmanager.states() == {"UpsellWatchdog": "active", "UpsellRateBelowTarget": "active"}
    assert notified(box) == [("commerce-pager", "firing", ["UpsellRateBelowTarget"])]


def notified(box: Inbox) -> list[tuple[str, str, list[str]]]:
    return [notification for notification in box.notifications if notification[0] != "watchdog"]
