"""docs/how-to/dead-letters.md, followed from its first command to its last."""

import asyncio
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from support import traffic
from support.commands import output
from support.workers import LIMIT, group

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "dead-letters.md").read_text(encoding="utf-8")


def shown(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def alike(line):
    """A line without its numbers."""
    return re.sub(r"\d+(\.\d+)?", "N", line).strip()


@pytest.mark.kafka
@pytest.mark.redis
async def test_the_page_leads_from_the_first_look_to_the_end(kafka, redis_server, name_prefix, tmp_path):
    look, _, redrive, over = shown("sh")
    sending = redrive.splitlines()

    async def typed(line):
        assert line.startswith("upsell-stream ")
        return (await output(*shlex.split(line)[1:], settings=workers.settings)).decode()

    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        await workers.begin(traffic.subscriptions(5))
        refused = list(traffic.checkouts(4))
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
            for event in refused:
                two_hours_before = (traffic.START - 7_200) * 1000
                await producer.send(
                    workers.settings.checkout_topic, event.value, key=event.key, timestamp_ms=two_hours_before
                )
        printed = ""
        async with asyncio.timeout(LIMIT):
            while printed.count("future") < len(refused):
                workers.check()
                printed = await typed(look)
        (example,) = shown("text")
        assert printed.splitlines()[0].strip() == example.splitlines()[0]
        found = {
            alike(line) for line in printed.replace(workers.settings.checkout_topic, "checkout-events").splitlines()
        }
        place, problem, continued = example.splitlines()[1:4]  # a terminal wraps, a pipe does not
        assert {alike(place), alike(f"{problem} {continued.strip()}")} <= found
        assert "***" in printed

        dry = await typed(sending[0])
        assert re.search(rf"future +{len(refused)} +would be sent", dry)
        sent = await typed(sending[1])
        assert re.search(rf"future +{len(refused)} +sent", sent)
        workers.sent += refused
        await workers.applied()
        assert "sent back before" not in await typed(over)
        # The page says `5m`, in which these dead letters still are; a test does not wait so long.
        now = datetime.now(UTC).isoformat()
        assert await typed(over.replace("5m", now)) == "no dead letters\n"
