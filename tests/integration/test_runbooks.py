"""Every command of the runbooks runs, on a real Kafka, Redis, Prometheus and worker, and prints what the page says."""

import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.kafka_server import fetch
from support.prometheus_server import PrometheusServer
from support.redis_server import RedisServer
from support.servers import started
from support.traffic import checkouts
from support.workers import LIMIT, environment, group

from deploy.generate import rules
from deploy.generate.rule import Links, TimeScale

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
KAFKA_TOOLS = {
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-get-offsets.sh": "org.apache.kafka.tools.GetOffsetShell",
    "kafka-console-consumer.sh": "org.apache.kafka.tools.consumer.ConsoleConsumer",
}
PRINTED = {
    r"upsell-stream status": r"Nothing to do\.|To do:",
    r"upsell-stream check": r"Kafka|Redis",
    r"upsell-stream rates": r"upsell_cross_sell_rate",
    r"upsell-stream dead-letters": r"",
    r"upsell-stream redrive --dry-run": r"",
    r"upsell-stream classify --strict": r"upsell",
    r"upsell-stream accept-partitions": r"2 partitions are accepted",
    r"upsell-stream retire": r"stop the workers that read it",
    r"curl .*/readyz": r'"ready": ?true',
    r"curl .*/livez": r".",
    r"curl .*/api/v1/rates": r'"windows"',
    r"redis-cli .* ping": r"^PONG",
    r"redis-cli .* info memory": r"used_memory_human[^$]*maxmemory_human",
    r"redis-cli .* info keyspace": r"db0:",
    r"redis-cli .* config set maxmemory": r"^OK",
    r"redis-cli .* --scan": r"",
    r"kafka-topics.sh .* --describe": r"PartitionCount: 2[^$]*Leader: 1",
    r"kafka-consumer-groups.sh .* --members --verbose": r"GROUP-INSTANCE-ID[^$]*HOST|HOST[^$]*GROUP-INSTANCE-ID",
    r"kafka-consumer-groups.sh .* --members": r"HOST",
    r"kafka-get-offsets.sh": r":0:\d+",
    r"kafka-console-consumer.sh": r"",
    r"promtool query instant .*refunded": r"",  # nothing was
    r"promtool query instant": r"=>|\{",
}
"""What commands print, the first pattern that fits."""
WATCHDOG = 'ALERTS{alertname="UpsellWatchdog"}'
REFUSES = ("upsell-stream retire",)
"""Commands that say what to do first."""

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.prometheus, pytest.mark.timeout(900)]


def commands():
    """Every command that a runbook shows, once."""
    for page in sorted(RUNBOOKS.glob("Upsell*.md")):
        for block in re.findall(r"^ *```sh\n(.*?)^ *```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            yield from (line.strip() for line in block.splitlines())


def tools(directory):
    """A directory with Kafka's own tools and this product's command, to put into PATH."""
    directory.mkdir()
    for name, program in KAFKA_TOOLS.items():
        (directory / name).write_text(
            f'#!/bin/sh\nexec java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "{fetch()}/*" {program} "$@"\n'
        )
    (directory / "upsell-stream").write_text(f'#!/bin/sh\nexec {sys.executable} -m stream "$@"\n')
    for path in directory.iterdir():
        path.chmod(0o755)
    return directory


def filled(command, settings):
    """The command with the placeholders replaced as the runbooks' README says."""
    values = {"APP": settings.app_id, "TOPIC": settings.checkout_topic, "PARTITION": "0", "N": "2"}
    return re.sub(rf"(?<![$\w-])({'|'.join(values)})(?!\w)", lambda found: values[found[1]], command)


def prometheus(directory, worker):
    """A Prometheus with the rules as they are delivered."""
    for name, text in rules.files(TimeScale(), Links()).items():
        (directory / name).write_text(text)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [f"{directory}/*.yaml"],
        "scrape_configs": [
            {
                "job_name": "upsell-stream",
                "static_configs": [{"targets": [urlsplit(worker.url).netloc], "labels": {"env": "test"}}],
            }
        ],
    }
    return PrometheusServer(config=json.dumps(config))


def test_every_command_of_a_runbook_is_known_here():
    for command in commands():
        assert any(re.match(pattern, command) for pattern in PRINTED), command


async def test_every_command_of_a_runbook_runs_and_prints_what_the_page_says(kafka, name_prefix, tmp_path):
    path = tools(tmp_path / "bin")
    with (
        started(RedisServer()) as redis,
        group(
            kafka.bootstrap_servers, redis.url, name_prefix, tmp_path, kafka_group_instance_id=f"{name_prefix}1"
        ) as workers,
    ):
        await workers.create_topics(2, 2)
        worker = workers.start()
        await workers.send(checkouts(50))
        await workers.applied()
        (tmp_path / "events.jsonl").write_bytes(b"".join(event.value + b"\n" for event in workers.sent))
        with started(prometheus(tmp_path, worker)) as server:
            async with asyncio.timeout(LIMIT):
                # Prometheus sends no event when it has evaluated the rules.
                while not await asyncio.to_thread(server.query, WATCHDOG, time.time()):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.2)
            variables = environment(workers.settings)
            variables |= {
                "PATH": f"{path}:{variables['PATH']}",
                "WORKER": worker.url,
                "PROMETHEUS": f"http://{server.address}",
                "COLUMNS": "200",
            }
            wrong = []
            for command in dict.fromkeys(filled(command, workers.settings) for command in commands()):
                done = await asyncio.to_thread(run, command, variables, tmp_path)
                pattern = next(text for start, text in PRINTED.items() if re.match(start, command))
                refuses = command.startswith(REFUSES) or command.startswith(
                    ("upsell-stream status", "upsell-stream check")
                )
                if done.returncode not in ((0, 1) if refuses else (0,)) or not re.search(
                    pattern, done.stdout, re.MULTILINE
                ):
                    wrong.append(f"{command}\nexit status {done.returncode}\n{done.stdout}")
            assert not wrong, "\n\n".join(wrong)


def run(command, variables, directory):
    return subprocess.run(
        ["bash", "-c", command],
        env=variables, cwd=directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False, timeout=LIMIT,
    )  # fmt: skip
