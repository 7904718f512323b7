"""Servers for all tests: one of each kind per test process, started when the first test asks for it.

Tests share them. To keep apart, each test starts the names of its topics, groups and keys with `name_prefix`.
A test that stops, kills, freezes or fills a server starts its own (`support.servers.started`).

If a program is missing, its tests are skipped; the last line of the run says how many, and how to install the program.
With UPSELL_TESTS_REQUIRE_ALL=1 a skip is a failure: CI sets it, so that a missing program cannot hide a broken test.

`--fast` (`make check`) runs only what takes seconds: see `SLOW`.
"""

import os
import secrets
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.kafka_server import KafkaServer
from support.redis_server import RedisServer
from support.servers import started

from stream.embedded.broker import EmbeddedBroker
from stream.embedded.valkey import EmbeddedValkey

# A shell starts background commands with Ctrl-C (SIGINT) ignored, and their children inherit that. Tests that send SIGINT need the default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REQUIRE_ALL = os.environ.get("UPSELL_TESTS_REQUIRE_ALL") == "1"

# Hypothesis: no deadline, since a slow machine is no failure. CI and `--fast` use the same examples every time, so that a run fails only for what was
# changed; elsewhere the examples are random, to find new cases. Tests that need more or fewer examples multiply `settings().max_examples`.
settings.register_profile("random", deadline=None)
settings.register_profile("fixed", deadline=None, derandomize=True, database=None)
settings.register_profile("fast", deadline=None, max_examples=10, derandomize=True, database=None)

SLOW = (
    "integration",
    "oracle",
    "simulate",
    "simulation",
    "test_against_oracle.py",
    "test_audit.py",
    "test_conftest.py",
    "test_history_page.py",
    "test_offers_page.py",
)
SLOW_MARKERS = {"embedded", "kafka", "redis", "prometheus", "helm", "browser", "terminal", "image", "datasets"}
"""What `--fast` leaves out: these files and directories, and tests that need a server or a program. Properties get fewer examples."""

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
    """Return a prefix for the names of this test's topics, groups and keys."""
    return f"test-{secrets.token_hex(6)}-"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only tests that take seconds and need no server")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("fast" if config.getoption("fast") else "fixed" if REQUIRE_ALL else "random")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    slow = config.getoption("fast") and collection_path.parent == Path(__file__).parent and collection_path.name in SLOW
    return True if slow else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in MARKER_OF_FIXTURE.keys() & getattr(item, "fixturenames", ()):
            item.add_marker(MARKER_OF_FIXTURE[fixture])
        if item.get_closest_marker("kafka"):
            # With `--dist loadgroup` one process runs all of them, so only one broker is started.
            item.add_marker(pytest.mark.xdist_group("kafka"))
    if config.getoption("fast"):
        slow = [item for item in items if any(mark.name in SLOW_MARKERS for mark in item.iter_markers())]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


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


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    yield
    # The outermost wrapper: pytest has printed its own summary. xdist's workers have no terminal.
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and (skipped := terminal.stats.get("skipped")):
        terminal.write_line(_summary_of_skips(report.longrepr[2] for report in skipped))


def _summary_of_skips(reasons: Iterable[str]) -> str:
    """One line: how many tests were skipped for which missing program, and how to install it."""
    counts = Counter(reason.removeprefix("Skipped: ").partition("\n")[0] for reason in reasons)
    parts = []
    for reason, count in counts.most_common():
        name, missing, how = reason.partition(" is missing: ")
        parts.append(f"{count}: {name} is missing ({how})" if missing else f"{count}: {reason}")
    total = counts.total()
    return f"{total} test{'s' if total > 1 else ''} skipped. {'; '.join(parts)}"
