"""The image: a quick check of its files, and with UPSELL_TEST_IMAGE=1 the image itself, built and started as another user on a read-only root.

No Docker daemon is used: `debootstrap` creates a base, `buildah` builds the image, and the worker runs in its own mount namespace. This needs
root, and two to five minutes.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from importlib.metadata import distributions
from pathlib import Path

import pytest
from support.programs import program_or_skip
from support.servers import started

from stream.embedded.broker import EmbeddedBroker
from stream.embedded.server import free_port
from stream.embedded.valkey import EmbeddedValkey

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SBOM = ROOT / "deploy" / "generate" / "sbom.py"
BASE, IMAGE = "localhost/upsell-base:test", "localhost/upsell-stream:test"


def test_the_linter_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_packages_come_by_hash_from_the_locks():
    assert re.search(r"^ARG BASE=\S+:3\.11-slim-bookworm(@sha256:[0-9a-f]{64})?$", DOCKERFILE, re.MULTILINE)
    installs = [line for line in DOCKERFILE.splitlines() if re.search(r"\bpip\b.* install ", line)]
    locked, own = [line for line in installs if "-r locks/" in line], [line for line in installs if "*.whl" in line]
    assert len(locked) == 2
    assert len(own) == 1
    assert installs == [*locked, *own]
    assert all("--require-hashes --only-binary=:all:" in line for line in locked)
    assert all("--no-index" in line for line in own)


def test_nothing_but_the_product_is_sent_to_the_build():
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [name for line in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]
    assert ignore[1] == "*"
    assert sorted(line[1:] for line in ignore if line.startswith("!")) == sorted(copied)
    assert all((ROOT / name).exists() for name in copied)


# The software bill of materials

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2:2.36-9+deb12u10
Description: GNU C Library
 of a few lines

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""


@pytest.fixture
def sbom():
    spec = importlib.util.spec_from_file_location("sbom", SBOM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_lists_what_is_installed(sbom, tmp_path):
    status = tmp_path / "status"
    status.write_text(STATUS)
    document = sbom.document(status)
    assert document["bomFormat"] == "CycloneDX"
    assert document["specVersion"] == "1.6"
    assert document["metadata"]["component"]["name"] == "upsell-stream"
    listed = [(one["name"], one["version"]) for one in document["components"]]
    assert len(set(listed)) == len(listed)
    installed = {(one.metadata["Name"], one.version) for one in distributions()}
    assert {*listed, ("upsell-stream", document["metadata"]["component"]["version"])} == {
        *installed,
        ("libc6", "2:2.36-9+deb12u10"),
    }
    purls = {one["name"]: one["purl"] for one in document["components"]}
    assert purls["libc6"] == "pkg:deb/debian/libc6@2%3A2.36-9%2Bdeb12u10?arch=amd64"
    assert re.fullmatch(r"pkg:pypi/faust-streaming@[\d.]+", purls["faust-streaming"])


def test_the_bill_is_reproducible(sbom, tmp_path):
    assert sbom.document(tmp_path / "none") == sbom.document(tmp_path / "none")
    printed = subprocess.run([sys.executable, SBOM], capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == sbom.document()


# The image itself


def buildah(*arguments):
    environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    done = subprocess.run(
        ["buildah", *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Build the image; yields its configuration and the path of its root file system."""
    for name in ("buildah", "debootstrap"):
        program_or_skip(name, name)
    tree = tmp_path_factory.mktemp("base")
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", packages, "bookworm", tree], check=True, capture_output=True)
    # The build must trust the same certificates as this machine, which may use a mirror of the package index.
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", tree / "etc/ssl/certs/ca-certificates.crt")
    base = buildah("from", "scratch")
    buildah("add", "--quiet", base, tree, "/")
    buildah("commit", "--quiet", "--rm", base, BASE)
    shutil.rmtree(tree)
    mirror = Path("/etc/pip.conf")
    secret = ("--secret", f"id=pip,src={mirror}") if mirror.exists() else ()
    # Docker's format, because OCI's has no health check.
    buildah("bud", "--pull-never", "--format", "docker", *secret, "--build-arg", f"BASE={BASE}", "-t", IMAGE, ROOT)
    config = json.loads(buildah("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    container = buildah("from", "--pull-never", IMAGE)
    try:
        yield config, Path(buildah("mount", container))
    finally:
        buildah("rm", container)
        buildah("rmi", IMAGE, BASE)


def finished(image, command, environment=()):
    """Exit status and output of a command, run as by `inside`."""
    with inside(image, command, environment) as process:
        output, _ = process.communicate(timeout=60)
        return process.returncode, output


def inside(image, command, environment=()):
    """Start a command as the image's user, with a read-only root, its own /tmp, and this machine's network."""
    config, root = image
    script = (
        'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && mount -t tmpfs none "$1/tmp"'
        ' && root=$1 && user=$2 && shift 2 && exec chroot --userspec="$user" "$root" /usr/bin/env -i "$@"'
    )
    arguments = [root, config["User"], *config["Env"], *environment, *command]
    return subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, "sh", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.image
@pytest.mark.timeout(1200)
def test_a_worker_runs_as_nobody_on_a_read_only_root(image):
    config, root = image
    assert config["User"] == "10001:10001"
    assert (config["Entrypoint"], config["Cmd"]) == (["upsell-stream"], ["worker"])
    assert not list(root.glob("opt/upsell-stream/lib/*/site-packages/pip"))
    _, output = finished(image, ["sh", "-c", "id -u; touch /opt/upsell-stream/x || touch /x || echo read-only"])
    assert output.startswith("10001\n")
    assert output.endswith("read-only\n")
    materials = json.loads((root / "opt/upsell-stream/sbom.cdx.json").read_text(encoding="utf-8"))
    assert {"faust-streaming", "libc6"} <= {one["name"] for one in materials["components"]}

    kind, *health = config["Healthcheck"]["Test"]
    assert kind == "CMD"
    with started(EmbeddedBroker()) as broker, started(EmbeddedValkey()) as valkey:
        port = free_port()
        settings = [
            f"UPSELL_KAFKA_BOOTSTRAP_SERVERS={broker.address}",
            f"UPSELL_REDIS_URL={valkey.url}",
            "UPSELL_KAFKA_SESSION_TIMEOUT=6",
            f"UPSELL_HTTP_PORT={port}",
        ]
        status, output = finished(image, health, settings)
        assert status != 0, "healthy without a worker"
        with inside(image, [*config["Entrypoint"], *config["Cmd"]], settings) as worker:
            try:
                wait_until_ready(f"http://127.0.0.1:{port}/readyz", worker)
                status, output = finished(image, health, settings)
                assert status == 0, output
                worker.terminate()
                output, _ = worker.communicate(timeout=60)
            finally:
                worker.kill()
        assert worker.returncode == 0, output
        assert "Read-only file system" not in output


def wait_until_ready(url, worker):
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            assert worker.poll() is None, worker.stdout.read()
            assert time.monotonic() < deadline, "the worker is not ready"
        time.sleep(0.2)
