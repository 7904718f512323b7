"""The Helm chart and its examples, without a cluster: what Helm renders is compared with Kubernetes' schemas, the product and its files."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from unittest.mock import Mock

import kubernetes_validate
import promql_parser
import pytest
import yaml
from jsonschema import Draft202012Validator
from support import traffic
from support.helm import run
from support.programs import program_or_skip
from support.workers import group

from deploy.generate import chart as generate
from stream.embedded.server import free_port
from stream.kafka.producer import LARGEST_MESSAGE
from stream.observe.http import HttpServer
from stream.observe.manifest import METRICS
from stream.settings import Settings, is_secret, load, variable

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "kubernetes" / "upsell-stream"
EXAMPLES = ROOT / "deploy" / "kubernetes" / "examples"
VALUES = {"defaults": (), "all": ("--values", str(EXAMPLES / "values.yaml"))}
CUSTOM = yaml.safe_load(Path(__file__).with_name("custom_resources.yaml").read_text(encoding="utf-8"))["$defs"]
KUBERNETES = ("1.27", "1.37")
ITS_NAME = ("--set", "fullnameOverride=upsell-stream")
"""As if the release had the name that it has on the page."""
SERVICE_MONITOR = (
    "--set",
    "podMonitor.enabled=false,serviceMonitor.enabled=true,serviceMonitor.labels.release=prometheus",
)

pytestmark = pytest.mark.helm
both = pytest.mark.parametrize("values", VALUES)


@cache
def rendered(values: str, *options: str) -> tuple[dict, ...]:
    done = run("template", "upsell", str(CHART), "--namespace", "shop", *VALUES[values], *options)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def only(kind: str, values: str = "all", *options: str) -> dict:
    (found,) = [document for document in rendered(values, *options) if document["kind"] == kind]
    return found


def refusal(*options: str) -> str:
    done = run("template", "upsell", str(CHART), *options)
    assert done.returncode != 0
    return done.stderr


def example(name: str) -> list[dict]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text(encoding="utf-8")))


def check(document: dict) -> None:
    key = f"{document['apiVersion']}/{document['kind']}"
    if key in CUSTOM:
        schema = {
            "$defs": CUSTOM,
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "additionalProperties": False,
            "properties": {
                "apiVersion": True,
                "kind": True,
                "metadata": {"$ref": "#/$defs/metadata"},
                "spec": CUSTOM[key],
            },
        }
        Draft202012Validator(schema).validate(document)
    else:
        for version in KUBERNETES:
            assert kubernetes_validate.validate(document, version, strict=True) == version


# Valid for Helm, Kubernetes and the operators


@both
def test_the_linter_finds_nothing(values):
    done = run("lint", "--strict", str(CHART), *VALUES[values])
    assert done.returncode == 0, done.stdout + done.stderr


@both
def test_what_is_rendered_is_valid(values):
    for document in rendered(values):
        check(document)
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "upsell"
    names = [(document["kind"], document["metadata"]["name"]) for document in rendered(values)]
    assert len(set(names)) == len(names)


def test_what_is_rendered_for_service_monitors_is_valid():
    for document in rendered("all", *SERVICE_MONITOR):
        check(document)


def test_every_kind_is_there_and_by_default_none_that_needs_an_operator():
    core = {"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "Pod"}
    assert {document["kind"] for document in rendered("defaults")} == core
    operated = {"PodMonitor", "PrometheusRule", "ScaledObject", "ConfigMap"}
    assert {document["kind"] for document in rendered("all")} == core | operated


@pytest.mark.parametrize("name", ["external-secret.yaml", "kafka-topics.yaml", "redis.yaml"])
def test_an_example_is_valid(name):
    for document in example(name):
        check(document)


def test_the_schemas_of_custom_resources_find_a_mistake():
    wrong = json.loads(json.dumps(only("ScaledObject")))
    del wrong["spec"]["triggers"][0]["metadata"]["query"]
    with pytest.raises(Exception, match="'query' is a required property"):
        check(wrong)


def test_what_is_packed_has_rules_and_dashboards(tmp_path):
    done = run("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.iterdir()
    shutil.unpack_archive(package, tmp_path)
    for inside, outside in (("rules", "prometheus/rules"), ("dashboards", "grafana/dashboards")):
        there = {path.name: path.read_bytes() for path in (tmp_path / "upsell-stream" / inside).iterdir()}
        assert there == {path.name: path.read_bytes() for path in (ROOT / "deploy" / outside).iterdir()}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            ["--set", "replicas=5"],
            "replicas is larger than partitions: a worker without a partition is ready but idle",
        ),
        (["--set", "setings.channels=web"], "setings"),
        (["--set", "settings.redis_uri=redis://redis"], "redis_uri"),
        (["--set", "settings.redis_password=secret"], "redis_password"),
        (["--set", "settings.redis_url=redis://:secret@redis:6379"], "redis_url"),
        (["--set", "settings.kafka_group_instance_id=one"], "kafka_group_instance_id"),
        (["--set", "settings.channels=web"], "channels"),
        (["--set", "files.password.secret=s,files.password.key=k"], "password"),
        (["--set", "files.redis_password_file.secret=s"], "key"),
        (["--set", "scaling.enabled=true"], "scaling.prometheusUrl is needed"),
        (
            ["--set", "scaling.enabled=true,scaling.minReplicas=5"],
            "scaling.minReplicas is larger than partitions: a worker without a partition is ready but idle",
        ),
        (["--set", "terminationGracePeriodSeconds=10"], "terminationGracePeriodSeconds"),
        (
            ["--set", "podMonitor.enabled=true,serviceMonitor.enabled=true"],
            "podMonitor.enabled and serviceMonitor.enabled are both true: Prometheus would scrape every worker twice; enable one",
        ),
        (
            ["--set", "settings.checkout_topic=,settings.subscription_topic="],
            "settings.checkout_topic and settings.subscription_topic are both empty, so there is no journey",
        ),
        (
            ["--set-json", 'extraEnv=[{"name": "UPSELL_REDIS_URL", "value": "redis://other"}]'],
            "extraEnv contains UPSELL_REDIS_URL, which the chart sets; change it under settings",
        ),
        (
            ["--set", "settings.redis_ca_file=/a,files.redis_ca_file.secret=s,files.redis_ca_file.key=k"],
            "settings.redis_ca_file and files.redis_ca_file are both set; keep one of them",
        ),
        (["--set", "settings.redis_ca_file=ca.pem"], "redis_ca_file"),
        (["--set", "settings.redis_timeout=0"], "redis_timeout"),
        (["--set-json", 'extraVolumes=[{"name": "tmp", "emptyDir": {}}]'], "extraVolumes"),
        (["--set-json", 'extraVolumeMounts=[{"name": "a", "mountPath": "/tmp"}]'], "extraVolumeMounts"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_value_is_refused_by_name(options, says):
    assert says in refusal(*options)


# The product


def pod(values: str = "all", *options: str) -> dict:
    return only("Deployment", values, *options)["spec"]["template"]["spec"]


def services(values: str = "all", *options: str) -> tuple[dict, dict]:
    """The Service with the workers that are ready, and the one with all workers."""
    found = [document for document in rendered(values, *options) if document["kind"] == "Service"]
    ready, every = sorted(found, key=lambda service: service["spec"].get("publishNotReadyAddresses", False))
    return ready, every


def environment(values: str, *options: str) -> dict[str, str]:
    (worker,) = pod(values, *options)["containers"]
    names = [entry["name"] for entry in worker["env"]]
    assert len(set(names)) == len(names)
    return {entry["name"]: entry["value"] for entry in worker["env"]}


def loaded(given: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    for key in [key for key in os.environ if key.startswith("UPSELL_")]:
        monkeypatch.delenv(key)
    (tmp_path / "file").write_text("secret")
    for key, value in given.items():
        monkeypatch.setenv(key, str(tmp_path / "file") if key.endswith("_FILE") else value)
    return load()


@both
def test_settings_exist_and_are_allowed(values, monkeypatch, tmp_path):
    given = environment(values)
    assert set(given) <= {variable(field) for field in Settings.model_fields}
    assert loaded(given, monkeypatch, tmp_path).http_port == 8080


def test_settings_arrive_as_they_were_written(monkeypatch, tmp_path):
    settings = loaded(environment("all", "--set", "settings.cache_mb=2500000"), monkeypatch, tmp_path)
    written = example("values.yaml")[0]["settings"]
    assert list(settings.channels) == written["channels"]
    assert [target.model_dump(exclude_unset=True) for target in settings.targets] == written["targets"]
    assert (settings.kafka_session_timeout, settings.kafka_create_topics) == (15, False)
    assert (settings.kafka_partitions, settings.cache_mb) == (12, 2_500_000)


def test_the_schema_has_every_setting():
    text = (CHART / "values.schema.json").read_text(encoding="utf-8")
    assert generate.render(json.loads(text)) == text, "run `make generate`"
    schema = json.loads(text)["properties"]
    settings = schema["settings"]["properties"].keys()
    left_out = {name for name in Settings.model_fields if is_secret(name)}
    assert (
        settings == Settings.model_fields.keys() - left_out - generate.SET_BY_THE_CHART - generate.NOT_FOR_A_DEPLOYMENT
    )
    assert set(schema["files"]["propertyNames"]["enum"]) == {name for name in settings if name.endswith("_file")}
    # Everything that it allows is an option that values.yaml shows with its default, and the other way round.
    shown = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert schema.keys() - {"global"} == shown.keys()
    for name, part in schema.items():
        if name not in {"settings", "files", "global"} and "properties" in part:
            assert part["properties"].keys() == shown[name].keys(), name


def test_every_kind_of_setting_arrives(monkeypatch, tmp_path):
    """Each setting of the schema with a value of its type, as the product reads it."""
    # Not the default, where a default could hide that the value did not arrive.
    given = {
        "app_id": "other",
        "kafka_session_timeout": 12.5,
        "kafka_create_topics": False,
        "outcome_retention_days": 3,
        "windows": ["1h", "1d"],
        "channels": ["web"],
        "targets": [{"kpi": "upsell_ratio", "journey": "checkout", "ratio": 0.5}],
        "log_level": "debug",
    }
    options = [f"settings.{name}={json.dumps(value)}" for name, value in given.items()]
    settings = loaded(
        environment("defaults", *(part for one in options for part in ("--set-json", one))), monkeypatch, tmp_path
    )
    found = {name: getattr(settings, name) for name in given}
    found["targets"] = [target.model_dump(exclude_unset=True) for target in settings.targets]
    assert json.loads(json.dumps(found)) == given


def test_an_empty_topic_switches_its_journey_off(monkeypatch, tmp_path):
    given = environment("defaults", "--set", "settings.subscription_topic=")
    assert given["UPSELL_SUBSCRIPTION_TOPIC"] == ""
    assert list(loaded(given, monkeypatch, tmp_path).input_topics.values()) == ["checkout"]


def test_variables_volumes_and_annotations_can_be_added():
    added = {
        "extraEnv": [
            {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
            {"name": "UPSELL_REDIS_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}},
        ],
        "extraEnvFrom": [{"configMapRef": {"name": "proxies"}}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "company-ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/company", "readOnly": True}],
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/upsell"}},
        "settings.redis_ca_file": "/etc/company/ca.pem",
    }
    options = tuple(part for name, value in added.items() for part in ("--set-json", f"{name}={json.dumps(value)}"))
    for values in VALUES:
        for document in rendered(values, *options):
            check(document)
        (worker,) = pod(values, *options)["containers"]
        assert all(entry in worker["env"] for entry in added["extraEnv"])
        assert {"name": "UPSELL_REDIS_CA_FILE", "value": "/etc/company/ca.pem"} in worker["env"]
        assert worker["envFrom"] == added["extraEnvFrom"]
        assert added["extraVolumeMounts"][0] in worker["volumeMounts"]
        assert added["extraVolumes"][0] in pod(values, *options)["volumes"]
        annotations = only("ServiceAccount", values, *options)["metadata"]["annotations"]
        assert annotations.items() >= added["serviceAccount"]["annotations"].items()


def test_every_file_comes_from_the_secret_that_is_named():
    (worker,) = pod()["containers"]
    (mount,) = [mount for mount in worker["volumeMounts"] if mount["name"] == "files"]
    (volume,) = [volume for volume in pod()["volumes"] if volume["name"] == "files"]
    secrets = [source["secret"] for source in volume["projected"]["sources"]]
    there = {
        f"{mount['mountPath']}/{item['path']}": {"secret": secret["name"], "key": item["key"]}
        for secret in secrets
        for item in secret["items"]
    }
    files = example("values.yaml")[0]["files"]
    assert there == {environment("all")[variable(name)]: file for name, file in files.items()}
    assert mount["readOnly"]
    assert "files" not in {volume["name"] for volume in pod("defaults")["volumes"]}


def test_no_secret_is_rendered():
    assert not {document["kind"] for values in VALUES for document in rendered(values)} & {"Secret"}
    for values in VALUES:
        assert not {variable(name) for name in Settings.model_fields if is_secret(name)} & environment(values).keys()


@both
def test_a_worker_is_hardened_and_has_time_to_stop(values):
    spec = pod(values)
    (worker,) = spec["containers"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    context = spec["securityContext"]
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}\n" in dockerfile
    assert context["runAsNonRoot"]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert worker["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["terminationGracePeriodSeconds"] == 30
    assert worker["args"] == ["worker"]
    assert worker["resources"]["limits"].keys() == {"memory"}


def test_at_most_one_worker_is_unavailable_and_there_is_no_surge():
    assert only("Deployment")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert only("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_an_update_sees_a_worker_that_gets_its_partitions_late():
    """A worker that joins before the old one has left may get no partition, and is ready like any worker without one."""
    deployment = only("Deployment", "defaults")["spec"]
    (worker,) = pod("defaults")["containers"]
    probe = worker["readinessProbe"]
    leaving = deployment["template"]["spec"]["terminationGracePeriodSeconds"] - 5
    assert deployment["minReadySeconds"] >= leaving + probe["periodSeconds"] * probe["failureThreshold"]
    assert deployment["progressDeadlineSeconds"] > 2 * deployment["minReadySeconds"]


def test_the_page_is_reachable_while_no_worker_is_ready_and_programs_get_only_ready_ones():
    ready, every = services("defaults")
    assert every["metadata"]["name"] == f"{ready['metadata']['name']}-page"
    assert every["spec"].pop("publishNotReadyAddresses") is True
    assert ready["spec"] == every["spec"]


def test_probes_ask_what_the_product_answers():
    (worker,) = pod()["containers"]
    (port,) = worker["ports"]
    assert str(port["containerPort"]) == environment("all")["UPSELL_HTTP_PORT"]
    paths = {name: worker[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    scraped = only("PodMonitor")["spec"]["podMetricsEndpoints"][0]["path"]
    assert {*paths.values(), scraped} <= set(HttpServer._routes(Mock()))


def test_the_image_is_that_of_the_chart_s_application_unless_a_digest_is_given():
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
    assert pod("defaults")["containers"][0]["image"] == f"upsell-stream:{version}"
    digest = "sha256:" + "0" * 64
    assert pod("defaults", "--set", f"image.digest={digest}")["containers"][0]["image"] == f"upsell-stream@{digest}"


def test_every_selector_selects_the_workers():
    deployment = only("Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        *(service["spec"]["selector"] for service in services()),
        only("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(only(kind)["spec"]["selector"]["matchLabels"] for kind in ("PodDisruptionBudget", "PodMonitor")),
        *(spread["labelSelector"]["matchLabels"] for spread in pod()["topologySpreadConstraints"]),
    ]
    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    assert only("ServiceAccount")["metadata"]["name"] == pod()["serviceAccountName"]


@pytest.mark.parametrize(
    ("kafka", "redis", "ports"),
    [
        ("a:9092", "redis://r:6379/0", {9092, 6379}),
        ("a:9093, b:9094,c:9093", "rediss://user@r:6380/0", {9093, 9094, 6380}),
        ("a:9092", "redis://r", {9092, 6379}),
        ("a", "redis://r", {9092, 6379}),
        ("a, b:9094,[fd00::1]:9095", "redis://r", {9092, 9094, 9095, 6379}),
        ("a:9094,[fd00::9096]", "redis://r", {9092, 9094, 6379}),
    ],
)
def test_workers_reach_only_kafka_redis_and_dns(kafka, redis, ports):
    given = {"settings": {"kafka_bootstrap_servers": kafka, "redis_url": redis}}
    policy = only("NetworkPolicy", "defaults", "--set-json", f"settings={json.dumps(given['settings'])}")["spec"]
    (rule,) = policy["egress"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {port["port"] for port in rule["ports"] if port["protocol"] == "TCP"} == ports | {53}


# helm test


def asks(values: str = "defaults", *options: str) -> tuple[list[str], dict]:
    """Command line and specification of the pod that `helm test` runs."""
    test = only("Pod", values, *options)
    assert test["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = test["spec"]["containers"]
    return [*container["command"], *container["args"]], test


def test_helm_test_asks_both_services_from_a_pod_that_is_none_of_their_workers():
    ready, every = services("defaults")
    (python, option, script, *addresses), test = asks()
    assert (python, option) == ("python3", "-c")
    assert script == (CHART / "answers.py").read_text(encoding="utf-8")
    port = ready["spec"]["ports"][0]["port"]
    assert addresses == [f"http://{service['metadata']['name']}:{port}" for service in (ready, every)]
    labels = test["metadata"]["labels"].items()
    assert not ready["spec"]["selector"].items() <= labels
    peers = [peer for rule in only("NetworkPolicy")["spec"]["ingress"] for peer in rule["from"]]
    assert labels in [peer.get("podSelector", {}).get("matchLabels", {}).items() for peer in peers]
    (container,) = test["spec"]["containers"]
    (worker,) = pod("defaults")["containers"]
    assert container["image"] == worker["image"]
    assert container["securityContext"] == worker["securityContext"]


def told(*addresses: str, patience: float = 60.0) -> tuple[int, str]:
    """Run what the pod runs, against these addresses in place of its Services."""
    (_, option, script, *_), _ = asks()
    patient = script.replace("PATIENCE: Final = 60.0", f"PATIENCE: Final = {patience}")
    done = subprocess.run(
        [sys.executable, option, patient, *addresses], capture_output=True, text=True, check=False, env={}
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.embedded
async def test_helm_test_succeeds_when_a_worker_answers(embedded_broker, embedded_valkey, name_prefix, tmp_path):
    with group(embedded_broker.bootstrap_servers, embedded_valkey.url, name_prefix, tmp_path) as workers:
        worker = await workers.begin(traffic.checkouts(20))
        code, said = await asyncio.to_thread(told, worker.url, worker.url)
        assert (code, said.splitlines()[0]) == (0, "ready: at least one worker")
        assert await worker.stop() == 0


@pytest.mark.embedded
async def test_helm_test_has_the_token_that_the_page_asks_for(embedded_broker, embedded_valkey, name_prefix, tmp_path):
    token = tmp_path / "token"
    token.write_text("a-token-of-this-test\n")
    given = {"http_token_file": token}
    with group(embedded_broker.bootstrap_servers, embedded_valkey.url, name_prefix, tmp_path, **given) as workers:
        worker = await workers.begin(traffic.checkouts(20))
        code, said = await asyncio.to_thread(told, worker.url, worker.url, str(token))
        assert code == 0, said
        code, said = await asyncio.to_thread(told, worker.url, worker.url, patience=0.0)
        assert (code, "answers 401" in said) == (1, True), said
        assert await worker.stop() == 0
    options = ("--set", "files.http_token_file.secret=page,files.http_token_file.key=token")
    command, test = asks("defaults", *options)
    (container,), (volume,) = test["spec"]["containers"], test["spec"]["volumes"]
    (mount,) = container["volumeMounts"]
    (item,) = volume["secret"]["items"]
    assert (volume["secret"]["secretName"], item["key"]) == ("page", "token")
    assert (
        command[-1]
        == f"{mount['mountPath']}/{item['path']}"
        == environment("defaults", *options)["UPSELL_HTTP_TOKEN_FILE"]
    )
    check(test)


async def test_helm_test_says_why_no_worker_is_ready(name_prefix, tmp_path):
    nobody = f"http://127.0.0.1:{free_port()}"
    with group("127.0.0.1:9", "redis://127.0.0.1:9/0", name_prefix, tmp_path) as workers:
        worker = workers.start()
        await workers.until_said(worker, "waiting for ")
        code, said = await asyncio.to_thread(told, nobody, worker.url, patience=0.0)
        _, ready = await worker.readiness()
        assert await worker.stop() == 0
    first, *rest = said.splitlines()
    assert (code, first) == (1, f"no worker is ready: {nobody}/readyz answers nothing")
    assert any(reason.strip() in ready for reason in rest[1:]), said


# Monitoring


def test_a_service_monitor_finds_every_worker_once_and_labels_as_a_pod_monitor_does():
    monitor, by_pod = only("ServiceMonitor", "all", *SERVICE_MONITOR), only("PodMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    selected = [service for service in services() if wanted <= service["metadata"]["labels"].items()]
    # Prometheus must also scrape a worker that is not ready.
    assert [service["spec"].get("publishNotReadyAddresses") for service in selected] == [True]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == by_pod["spec"]["podMetricsEndpoints"][0]
    assert endpoint["port"] in {port["name"] for port in selected[0]["spec"]["ports"]}
    assert monitor["metadata"] == by_pod["metadata"]


def test_the_rules_are_those_of_prometheus(tmp_path):
    spec = only("PrometheusRule")["spec"]
    files = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))
    committed = [group for path in files for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]

    def without_links(groups):
        text = json.dumps(groups)
        return json.loads(re.sub(r'("(?:runbook|dashboard)_url": ")[^"]*?/((?:d/|Upsell)[^"]*")', r"\1\2", text))

    assert without_links(spec["groups"]) == without_links(committed)
    for rule in (rule for part in spec["groups"] for rule in part["rules"] if "alert" in rule):
        notes = rule["annotations"]
        assert notes["runbook_url"] == f"https://runbooks.example.com/upsell-stream/{rule['alert']}.md"
        assert notes["dashboard_url"].startswith("https://grafana.example.com/d/upsell-")
    promtool = program_or_skip("promtool", "prometheus")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    done = subprocess.run(
        [promtool, "check", "rules", "--lint-fatal", str(tmp_path / "rules.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_in_alerts_stay_when_none_is_given():
    rule = only("PrometheusRule", "defaults", "--set", "prometheusRule.enabled=true")
    files = sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yaml"))
    committed = [group for path in files for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    assert rule["spec"]["groups"] == committed


def test_the_dashboards_are_those_of_grafana():
    maps = [document for document in rendered("all") if document["kind"] == "ConfigMap"]
    data = {name: json.loads(text) for document in maps for name, text in document["data"].items()}
    files = (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")
    assert data == {path.name: json.loads(path.read_text(encoding="utf-8")) for path in files}
    assert all(document["metadata"]["labels"]["grafana_dashboard"] == "1" for document in maps)


def test_scaling_ends_at_the_partitions_and_asks_for_a_metric_that_exists():
    spec = only("ScaledObject")["spec"]
    deployment = only("Deployment")
    assert spec["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert only("Deployment", "defaults")["spec"]["replicas"] == 2
    assert spec["maxReplicaCount"] == int(environment("all")["UPSELL_KAFKA_PARTITIONS"])
    query = spec["triggers"][0]["metadata"]["query"]
    promql_parser.parse(query)
    (metric,) = re.findall(r"upsell_\w+", query)
    assert {"topic", "partition"} <= set(METRICS[metric].labels)
    relabelled = {
        r["targetLabel"]: r["replacement"] for r in only("PodMonitor")["spec"]["podMetricsEndpoints"][0]["relabelings"]
    }
    assert f'job="{relabelled["job"]}", namespace="shop"' in query
    # The part that is an API of Kubernetes itself.
    scaler = {"scaleTargetRef": {"kind": "Deployment", "name": "x"}, "maxReplicas": 1}
    check(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "x"},
            "spec": scaler | spec["advanced"]["horizontalPodAutoscalerConfig"],
        }
    )


# The page


PAGE = (ROOT / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8")
CASES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = sorted(
    {
        line
        for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
        if line.startswith(("helm ", "kubectl "))
    }
    | set(re.findall(r"`((?:helm|kubectl) [^`]*--namespace[^`]*)`", PAGE.replace("\n", " ")))
)


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: str(list(yaml.safe_load(case).get("files", yaml.safe_load(case)["settings"]))[-1])
)
def test_the_values_on_the_page_are_valid_and_the_product_loads_them(case, monkeypatch, tmp_path):
    (tmp_path / "values.yaml").write_text(case)
    options = ("--values", str(tmp_path / "values.yaml"))
    for document in rendered("defaults", *options):
        check(document)
    assert loaded(environment("defaults", *options), monkeypatch, tmp_path).kafka_partitions == 4


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_on_the_page_names_what_the_chart_creates(line):
    program, *words = shlex.split(line)
    if "--namespace" in words:
        place = words.index("--namespace")
        assert words[place + 1] == "shop"
        del words[place : place + 2]
    match (program, *words):
        case ("helm", "upgrade", "--install", "upsell-stream", chart, "--values", values):
            done = run("template", "upsell-stream", str(ROOT / chart), "--values", str(ROOT / values))
            assert done.returncode == 0, done.stderr
        case ("helm", "test", "upsell-stream", "--logs") | ("helm", "rollback", "upsell-stream"):
            pass
        case ("kubectl", "create", "namespace", "shop"):
            pass
        case ("kubectl", "apply", *files):
            assert {path.name for path in EXAMPLES.iterdir()} - {"values.yaml"} == {
                Path(name).name for name in files if name != "-f" and (ROOT / name).exists()
            }
        case ("kubectl", "rollout", "status", thing):
            assert thing == f"deployment/{only('Deployment', 'all', *ITS_NAME)['metadata']['name']}"
        case ("kubectl", "port-forward", "pod/NAME", ports):
            (worker,) = pod("all", *ITS_NAME)["containers"]
            assert ports.endswith(f":{worker['ports'][0]['containerPort']}")
        case ("kubectl", "port-forward", thing, ports):
            _, every = services("all", *ITS_NAME)
            assert thing == f"service/{every['metadata']['name']}"
            assert ports.endswith(f":{every['spec']['ports'][0]['port']}")
        case _:
            raise AssertionError(f"not known here: {line}")


# The examples


def test_topics_are_those_that_the_product_would_create():
    topics = {topic["metadata"]["name"]: topic["spec"] for topic in example("kafka-topics.yaml")}
    fields = Settings.model_fields
    names = [fields[f"{name}_topic"].default for name in ("checkout", "subscription", "outcome", "dead_letter")]
    assert list(topics) == names
    partitions = example("values.yaml")[0]["partitions"]
    assert {topic["partitions"] for topic in topics.values()} == {partitions}
    for name in names[2:]:
        assert topics[name]["config"]["max.message.bytes"] == LARGEST_MESSAGE
    day = 86_400_000
    assert topics["upsell-outcomes"]["config"]["retention.ms"] == fields["outcome_retention_days"].default * day


def test_redis_never_evicts_and_is_the_one_in_the_values():
    configuration, service, redis = example("redis.yaml")
    lines = configuration["data"]["redis.conf"].splitlines()
    assert {"maxmemory-policy noeviction", "appendonly yes"} <= set(lines)
    assert environment("all")["UPSELL_REDIS_URL"] == f"redis://{service['metadata']['name']}:6379/0"
    (password,) = [volume for volume in redis["spec"]["template"]["spec"]["volumes"] if volume["name"] == "password"]
    (secret,) = example("external-secret.yaml")
    keys = {entry["secretKey"] for entry in secret["spec"]["data"]}
    assert password["secret"]["secretName"] == secret["spec"]["target"]["name"]
    assert {item["key"] for item in password["secret"]["items"]} <= keys
    used = [file["key"] for file in example("values.yaml")[0]["files"].values() if file["secret"] == "upsell-stream"]
    assert set(used) == keys
