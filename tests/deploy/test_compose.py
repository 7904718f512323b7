"""docker-compose.yml, without a Docker daemon: valid, hardened, and consistent with the product and its files."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
import yaml
from support.programs import program_or_skip
from support.prometheus_server import PrometheusServer
from support.servers import started
from support.workers import LIMIT

from stream.cli.root import cli
from stream.embedded.server import HOST, free_port
from stream.settings import Settings, load, variable

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
PRODUCT = {name: service for name, service in SERVICES.items() if "build" in service}

every_service = pytest.mark.parametrize("name", SERVICES)
every_product = pytest.mark.parametrize("name", PRODUCT)


def read(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def mounts(service):
    """Mounted files of the repository by their path in the container."""
    pairs = [volume.split(":") for volume in service.get("volumes", ()) if volume.startswith("./")]
    assert all(mode == ["ro"] for _, _, *mode in pairs)
    return {inside: outside.removeprefix("./") for outside, inside, _ in pairs}


def test_every_service_is_there():
    always = {"kafka", "redis", "worker-1", "worker-2", "prometheus", "alertmanager", "grafana"}
    assert {name for name, service in SERVICES.items() if not service.get("profiles")} == always
    demo = {name for name, service in SERVICES.items() if service.get("profiles") == ["demo"]}
    assert demo == SERVICES.keys() - always == {"simulator", "backfill"}


def test_the_linter_finds_nothing():
    lint = [sys.executable, "-m", "compose_lint", "check", "--strict-config", "--fail-on", "low", "docker-compose.yml"]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@every_service
def test_a_service_is_hardened(name):
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert service["mem_limit"]
    assert not {"privileged", "network_mode", "pid", "devices", "cap_add"} & service.keys()


@every_service
def test_ports_are_on_loopback(name):
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_two_services_have_a_port():
    ports = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(set(ports)) == len(ports)


@every_service
def test_an_image_is_pinned(name):
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", SERVICES[name]["image"])


@every_service
def test_no_secret_is_in_the_file(name):
    environment = SERVICES[name].get("environment", {})
    assert not [key for key in environment if re.search("PASSWORD|SECRET|TOKEN|_KEY$", key)]


@every_service
def test_a_service_that_others_depend_on_has_a_health_check(name):
    for other, how in SERVICES[name].get("depends_on", {}).items():
        if (name, other) == ("backfill", "simulator"):  # it waits for a file
            assert how == {"condition": "service_started"}
            continue
        assert how == {"condition": "service_healthy"}
        # The product's health check is in its image.
        assert "healthcheck" in SERVICES[other] or "HEALTHCHECK" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
        assert SERVICES[other].get("healthcheck", {}).get("disable") is None
        assert not SERVICES[other].get("profiles")


@every_service
def test_what_is_mounted_exists(name):
    for outside in mounts(SERVICES[name]).values():
        assert (ROOT / outside).exists(), outside
    for volume in SERVICES[name].get("volumes", ()):
        assert volume.startswith("./") or volume.split(":")[0] in COMPOSE["volumes"]


# The product


@every_product
def test_its_command_exists(name):
    command, *arguments = PRODUCT[name]["command"]
    cli.get_command(click.Context(cli), command).make_context(command, arguments)


@every_product
def test_its_settings_exist_and_are_allowed(name, monkeypatch):
    for key in [key for key in os.environ if key.startswith("UPSELL_")]:
        monkeypatch.delenv(key)
    environment = PRODUCT[name]["environment"]
    assert set(environment) <= {variable(field) for field in Settings.model_fields}
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    settings = load()
    assert settings.kafka_bootstrap_servers == "kafka:19092"
    if name != "simulator":
        assert settings.redis_url.host == "redis"
        assert {target.kpi for target in settings.targets} == {"upsell_cross_sell_rate", "upsell_revenue_ratio"}


@every_product
def test_it_is_the_image_that_is_built(name):
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert PRODUCT[name]["image"] == COMPOSE["x-product"]["image"]
    assert f"USER {PRODUCT[name]['user']}\n" in dockerfile


def test_a_worker_gets_the_time_it_needs_to_stop():
    assert PRODUCT["worker-1"]["stop_grace_period"] == "30s"


# The other services


def test_redis_never_evicts():
    command = SERVICES["redis"]["command"]
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert command[command.index("--appendonly") + 1] == "yes"


def test_prometheus_finds_workers_rules_and_alertmanager():
    config = read("deploy/compose/prometheus.yml")
    mounted = mounts(SERVICES["prometheus"])
    (job,) = config["scrape_configs"]
    (group,) = job["static_configs"]
    assert group["targets"] == [f"{name}:8080" for name in PRODUCT if name.startswith("worker")]
    assert group["labels"] == {"env": "compose"}
    (pattern,) = config["rule_files"]
    directory, glob = pattern.rsplit("/", 1)
    assert list((ROOT / mounted[directory]).glob(glob))
    (alerting,) = config["alerting"]["alertmanagers"]
    assert alerting["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]
    assert mounted["/etc/prometheus/prometheus.yml"] == "deploy/compose/prometheus.yml"


def test_alertmanager_inhibits_as_the_example_does_and_notifies_nobody():
    config, example = read("deploy/compose/alertmanager.yml"), read("deploy/alertmanager/alertmanager.yaml")
    assert config["inhibit_rules"] == example["inhibit_rules"]
    assert config["route"] == {"receiver": "nobody", "group_by": example["route"]["group_by"]}
    assert config["receivers"] == [{"name": "nobody"}]


def test_grafana_finds_dashboards_and_prometheus():
    grafana = SERVICES["grafana"]
    mounted = mounts(grafana)
    provisioning = mounted["/etc/grafana/provisioning"]
    (provider,) = read(f"{provisioning}/dashboards/upsell.yml")["providers"]
    dashboards = mounted[provider["options"]["path"]]
    assert len(list((ROOT / dashboards).glob("*.json"))) == 3
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / dashboards / Path(home).name).exists()
    (source,) = read(f"{provisioning}/datasources/prometheus.yml")["datasources"]
    assert source["url"].removeprefix("$") in grafana["environment"]
    scraped = read("deploy/compose/prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped


@pytest.mark.prometheus
@pytest.mark.parametrize(
    "command",
    [
        ("promtool", "check", "config", "--syntax-only", "deploy/compose/prometheus.yml"),
        ("amtool", "check-config", "deploy/compose/alertmanager.yml"),
    ],
    ids=lambda command: command[0],
)
def test_configurations_are_accepted(command):
    name, *arguments = command
    tool = program_or_skip(name, {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}[name])
    done = subprocess.run([tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# What services run, without their containers


def healthy(port: int) -> bool:
    """Run the health check of Kafka against a port of this machine."""
    command = [part.replace("localhost/19092", f"{HOST}/{port}") for part in SERVICES["kafka"]["healthcheck"]["test"]]
    assert command[0] == "CMD"
    assert str(port) in command[-1]
    return subprocess.run(command[1:], capture_output=True, check=False).returncode == 0


@pytest.mark.kafka
def test_kafka_is_healthy_when_it_answers_and_no_jvm_is_needed_to_know(kafka):
    assert healthy(kafka.port)
    assert not healthy(free_port())
    with socket.create_server((HOST, 0)) as silent:
        assert not healthy(silent.getsockname()[1])
    assert "/bin/kafka-" not in str(SERVICES["kafka"]["healthcheck"])


def week_over_week():
    """Every query of a dashboard that compares with last week, with values of the demo for its variables."""
    chosen = {"env": "compose", "journey": "checkout|subscription", "window": "24h", "segment": "family"}
    dashboards = (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")
    panels = [panel for path in dashboards for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]]
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [
        re.sub(r"\$(\w+)", lambda match: chosen[match[1]], expr) for expr in expressions if re.search("offset 1w", expr)
    ]


@pytest.mark.embedded
@pytest.mark.prometheus
def test_panels_compare_with_last_week_at_once(embedded_broker, name_prefix, tmp_path):
    simulator, backfill = SERVICES["simulator"], SERVICES["backfill"]
    directory = dict(reversed(volume.split(":")[:2]) for volume in simulator["volumes"])
    (place,) = directory
    command = [part.replace(place, str(tmp_path)) for part in simulator["command"]]
    environment = {
        "PATH": os.environ["PATH"],
        "UPSELL_KAFKA_BOOTSTRAP_SERVERS": embedded_broker.bootstrap_servers,
        "UPSELL_CHECKOUT_TOPIC": f"{name_prefix}checkout",
        "UPSELL_SUBSCRIPTION_TOPIC": f"{name_prefix}subscription",
    }

    def simulate(*options):
        return subprocess.Popen(
            [sys.executable, "-m", "stream", *command, *options], env=environment, stderr=subprocess.PIPE, text=True
        )

    retention = [option for option in SERVICES["prometheus"]["command"] if "retention" in option]
    server = PrometheusServer(*retention)
    with started(server), simulate("--past-events", "30000") as live:
        try:
            # It runs as it is, except for its paths: the mounted directories are those of this machine.
            script = backfill["command"][0].replace("/past/", f"{tmp_path}/")
            script = script.replace("/prometheus", str(server.directory / "data"))
            importing = [*backfill["entrypoint"], script]
            done = subprocess.run(importing, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            assert live.poll() is None, "it goes on with live events"
            queries = week_over_week()
            assert len(queries) >= 3
            now = int(time.time())
            end = time.monotonic() + LIMIT
            while not server.query(queries[0], now) and time.monotonic() < end:
                time.sleep(1)  # a running Prometheus looks for new blocks every minute
            hour, day = 3600, 86_400
            for moment in (now - 6 * hour, now, now + hour, now + 3 * day, now + 6 * day):
                for query in queries:
                    assert server.query(query, moment), (moment - now, query)
            blocks = set((server.directory / "data").iterdir())
            assert subprocess.run(importing, check=False).returncode == 0
            assert set((server.directory / "data").iterdir()) == blocks, "only once"
        finally:
            live.send_signal(signal.SIGINT)
            assert live.wait(LIMIT) == 0
    # A second start does not send the past again.
    with simulate("--events", "5") as again:
        assert "the past was sent before, so only the live stream is sent" in again.communicate(timeout=LIMIT)[1]


# Digests

DIGEST = "sha256:" + "0123456789abcdef" * 4


def pinned(tmp_path, answer):
    """Run deploy/pin-digests on copies of both files, with a `docker` that prints `answer`."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    copies = [tmp_path / name for name in ("Dockerfile", "docker-compose.yml")]
    for copy in copies:
        if not copy.exists():
            shutil.copy(ROOT / copy.name, copy)
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    pin = [ROOT / "deploy" / "pin-digests", *copies]
    done = subprocess.run(pin, env=environment, capture_output=True, text=True, check=False)
    return done, *(copy.read_text(encoding="utf-8") for copy in copies)


def test_digests_are_pinned_and_renewed(tmp_path):
    for digest in (DIGEST, DIGEST.replace("0", "f")):
        done, dockerfile, compose = pinned(tmp_path, digest)
        assert done.returncode == 0, done.stderr
        assert re.search(rf"^ARG BASE=[^@\n]+@{digest}$", dockerfile, re.MULTILINE)
        images = {name: service["image"] for name, service in yaml.safe_load(compose)["services"].items()}
        assert {name for name, image in images.items() if image.endswith(f"@{digest}")} == SERVICES.keys() - PRODUCT
        assert all(image.count("@") <= 1 for image in images.values())


def test_only_a_digest_is_pinned(tmp_path):
    done, dockerfile, compose = pinned(tmp_path, "not found")
    assert done.returncode != 0
    assert "expected a digest, got: not found" in done.stderr
    assert dockerfile == (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert compose == FILE.read_text(encoding="utf-8")
