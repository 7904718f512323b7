"""Servers for all tests: one of each kind per test process, started when the first test asks for it.

Tests share them and keep out of each other's way by names: every topic, group and key starts with `name_prefix`.
A test that stops, kills, freezes or fills a server starts its own (`support.servers.started`).

A server that is not installed skips its tests and says what to install. With UPSELL_TESTS_REQUIRE_ALL=1 whatever is
skipped fails instead, so that a machine that lacks something cannot look well.
"""

import os
import secrets
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings
from support.kafka_server import KafkaServer
from support.redis_server import RedisServer
from support.servers import started

from stream.embedded.broker import EmbeddedBroker
from stream.embedded.valkey import EmbeddedValkey

# A shell that starts something in the background has it ignore Ctrl-C, and whatever that starts as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REQUIRE_ALL = os.environ.get("UPSELL_TESTS_REQUIRE_ALL") == "1"

# How long an example takes is the machine's business, not the test's. Where everything is required the examples are the same every time: a
# new find is for those who look for it, not for whoever's change is being judged.
settings.register_profile("looking", deadline=None)
settings.register_profile("judging", deadline=None, derandomize=True, database=None)
settings.load_profile("judging" if REQUIRE_ALL else "looking")

MARKER_OF_FIXTURE = {
    "kafka": "kafka",
    "redis_server": "redis",
    "embedded_broker": "embedded",
    "embedded_valkey": "embedded",
}


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    with started(KafkaServer()) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with started(RedisServer()) as server:
        yield server


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    with started(EmbeddedBroker()) as server:
        yield server


@pytest.fixture(scope="session")
def embedded_valkey() -> Iterator[EmbeddedValkey]:
    with started(EmbeddedValkey()) as server:
        yield server


@pytest.fixture
def name_prefix() -> str:
    """Return what the names of this test's topics, groups and keys start with."""
    return f"test-{secrets.token_hex(6)}-"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in MARKER_OF_FIXTURE.keys() & getattr(item, "fixturenames", ()):
            item.add_marker(MARKER_OF_FIXTURE[fixture])
        if item.get_closest_marker("kafka"):
            # Under `--dist loadgroup` one process runs them all, so there is one broker.
            item.add_marker(pytest.mark.xdist_group("kafka"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Iterator[None]:
    return _without_skips((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Iterator[None]:
    return _without_skips((yield))


def _without_skips(report: pytest.TestReport | pytest.CollectReport) -> pytest.TestReport | pytest.CollectReport:
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        _, _, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"UPSELL_TESTS_REQUIRE_ALL=1 forbids this skip: {reason.removeprefix('Skipped: ')}"
    return report
