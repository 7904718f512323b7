"""A chaos run: three workers, real Kafka and Redis behind proxies, faults at random moments, and an exact account at the end.

Rules: what was sent is the truth, and `classify` on it the only answer. Nothing here is timed to pass; times are measured and printed. The seed
decides the records, the faults, their order and their victims; when exactly they strike is the machine's.
"""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from chaos import faults as kinds
from chaos.health import Health
from chaos.load import LARGEST, Sender, large_values, records
from redis.asyncio import Redis
from support.commands import output, totals, until_totals
from support.kafka_server import QUICKLY_BACK, KafkaServer
from support.redis_server import RedisServer
from support.servers import started
from support.tcp_proxy import TcpProxy
from support.workers import LIMIT, Group, Worker, group, read_topic

from stream.cli.rates import figures_of
from stream.core.counting.figures import TOTAL
from stream.core.counting.summary import decode_summary
from stream.core.offline import Offline
from stream.embedded.server import HOST
from stream.events.decode import Rejected, decode_line
from stream.events.outcome import outcome_event
from stream.kafka.topics import Topic, create_topics
from stream.tables.redis import connect

PARTITIONS = 12
WORKERS = 3
SPREAD = 4.0
"""Seconds over which the share of events is sent that goes with a fault."""


class Run:
    """What the faults are done to."""

    def __init__(self, seed: int, workers: Group, kafka, redis, kafka_proxy, redis_proxy) -> None:
        self.dice = Random(f"faults {seed}")
        self.workers: Group = workers
        self.session: float = workers.settings.kafka_session_timeout
        self.shards = 2 * PARTITIONS
        self.kafka: KafkaServer = kafka
        self.redis: RedisServer = redis
        self.kafka_proxy: TcpProxy = kafka_proxy
        self.redis_proxy: TcpProxy = redis_proxy
        self.measured: dict[str, list[float]] = {}
        self.fenced = 0
        self.large = large_values()
        self.client: Redis
        self.health: Health
        self.sender: Sender
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", flush=True)  # noqa: T201 - what the command is for

    def note(self, text: str) -> None:
        self.say(f"  {text}")

    def measure(self, what: str, seconds: float) -> None:
        self.measured.setdefault(what, []).append(seconds)
        self.note(f"{what}: {seconds:.1f} s")

    def expect(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
        if not holds:
            raise AssertionError(otherwise)

    def any_worker(self) -> Worker:
        return self.dice.choice(self.health.running())

    def any_topic(self) -> str:
        return self.dice.choice([self.workers.settings.checkout_topic, self.workers.settings.subscription_topic])

    def start_worker(self) -> Worker:
        return self.workers.start()

    async def until(self, condition) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition():
                self.workers.check()
                await asyncio.sleep(0.05)

    async def until_shared(self, number: int) -> None:
        """Wait until so many workers have all shards between them."""
        await self.until(
            lambda: len(shares := self.workers.shares()) == number and sum(shares) == self.shards and shares[-1] > 0
        )

    async def until_fenced(self, worker: Worker) -> None:
        """Wait until a worker tells that a write of its was refused."""
        async with asyncio.timeout(LIMIT):
            while not (refused := _fenced(await worker.get("/metrics"))):
                self.workers.check()
                await asyncio.sleep(0.1)
        self.fenced += refused
        self.note(f"{worker.log.stem} was refused {refused} times")


async def chaos(directory: Path, *, events: int, faults: Sequence[kinds.Fault], seed: int) -> Run:
    """Do it; raises `AssertionError` where an account is wrong."""
    async with AsyncExitStack() as stack:
        enter = stack.enter_context
        redis = enter(
            started(
                RedisServer(
                    "--enable-debug-command", "yes", "--busy-reply-threshold", "200",
                    "--auto-aof-rewrite-percentage", "0",
                    append_only=True,
                )
            )
        )  # fmt: skip
        redis_proxy = await stack.enter_async_context(TcpProxy(redis.port))
        kafka_proxy = await stack.enter_async_context(TcpProxy(0))
        size = str(LARGEST)
        kafka = enter(
            started(
                KafkaServer(
                    {"message.max.bytes": size, "replica.fetch.max.bytes": size, **QUICKLY_BACK},
                    "640m",
                    kafka_proxy.port,
                )
            )
        )
        kafka_proxy.server_port = kafka.proxied_port
        workers = enter(
            group(
                f"{HOST}:{kafka_proxy.port}", f"redis://{HOST}:{redis_proxy.port}/0", f"chaos-{seed}-", directory,
                redis_timeout=3.0,
            )
        )  # fmt: skip
        run = Run(seed, workers, kafka, redis, kafka_proxy, redis_proxy)
        settings = workers.settings
        topics = (settings.checkout_topic, settings.subscription_topic)
        await create_topics(kafka.bootstrap_servers, [Topic(name, PARTITIONS) for name in topics])
        run.client = Redis(host=HOST, port=redis.port)
        stack.push_async_callback(run.client.aclose)
        planted = records(settings, events, seed)
        run.sender = await stack.enter_async_context(Sender(kafka.bootstrap_servers, planted))
        run.health = await stack.enter_async_context(Health(workers))
        run.say(f"seed {seed}: {events:,} events, {len(faults)} faults, {PARTITIONS} partitions a topic")
        await run.sender.plant(topics[0], b"the head of a partition is poison", partition=0)
        for _ in range(WORKERS):
            run.start_worker()
        await run.until_shared(WORKERS)
        await run.health.until_ready(WORKERS)
        for number, fault in enumerate(faults, start=1):
            await _strike(run, fault, number, events // len(faults))
        await run.sender.send(events, 0)
        run.say(f"{run.sender.sent:,} records sent, {run.health.looks:,} looks at the workers' health")
        run.expect(not run.health.lies, "\n".join(run.health.lies[:20]))
        await account(run, directory)
        for worker in run.health.running():
            run.expect(await worker.stop() == 0, "a worker does not stop well")
        return run


async def _strike(run: Run, fault: kinds.Fault, number: int, share: int) -> None:
    sending = asyncio.create_task(run.sender.send(share, SPREAD))
    await asyncio.sleep(run.dice.uniform(0.2, SPREAD / 2))
    run.say(f"fault {number}: {fault.__name__}")
    began = time.monotonic()
    await fault(run)
    mended = time.monotonic()
    await run.health.until_ready(WORKERS)
    run.measure(f"all ready after {fault.__name__}", time.monotonic() - mended)
    await sending
    run.note(f"well again after {time.monotonic() - began:.1f} s")


async def account(run: Run, directory: Path) -> None:
    """Compare what the workers counted, published and rejected with the pure answer."""
    settings = run.workers.settings
    file = directory / "sent.jsonl"
    file.write_bytes(b"".join(value + b"\n" for value in run.sender.good))
    published, expected = await asyncio.to_thread(_judge, run)
    await until_totals(run.workers, expected, 10 * LIMIT)
    figures = await _settled(run)
    pure = json.loads(await output("classify", "--summary", "--json", "--as-of", figures["as_of"], file))
    run.expect(totals(pure) == expected, "classify differs from itself")
    for window in figures["windows"].keys() - {TOTAL}:
        ours, theirs = figures["windows"][window], pure["windows"][window]
        run.expect(ours == theirs, f"window {window} at {figures['as_of']}:\n{ours}\n{theirs}")
    run.say(f"total and windows are equal at {figures['as_of']}")
    outcomes = await read_topic(run.kafka.bootstrap_servers, settings.outcome_topic)
    bodies: dict[str, set[bytes]] = {}
    for outcome in outcomes:
        bodies.setdefault(json.loads(outcome.value)["id"], set()).add(outcome.value)
    run.expect(
        bodies == {name: {body} for name, body in published.items()},
        f"outcomes: {len(published.keys() - bodies.keys())} missing, {len(bodies.keys() - published.keys())} invented, "
        f"with two bodies: {[values for values in bodies.values() if len(values) > 1]}",
    )
    run.say(f"{len(bodies):,} outcomes are those of classify, byte by byte ({len(outcomes) - len(bodies):,} repeats)")
    letters = await read_topic(run.kafka.bootstrap_servers, settings.dead_letter_topic)
    found = {_origin(dict(letter.headers)) for letter in letters}
    missing, invented = run.sender.poison - found, found - run.sender.poison
    run.expect(not missing and not invented, f"dead letters: missing {missing}, invented {invented}")
    run.say(f"{len(found):,} dead letters are the planted poison ({len(letters) - len(found):,} repeats)")


def _judge(run: Run) -> tuple[dict[str, bytes], dict]:
    """Every outcome to be published, by id, and the summary."""
    settings = run.workers.settings
    offline = Offline(settings.core(), settings.registry())
    published: dict[str, bytes] = {}
    for value in run.sender.good:
        event = decode_line(value)
        assert not isinstance(event, Rejected), event
        for version in offline.apply(event).versions:
            if version.publish:
                published[version.id] = outcome_event(version, settings.app_id)
    summary = offline.figures().summary()
    return published, totals(summary)


async def _settled(run: Run) -> dict:
    """What `rates --json` tells at a moment at which every shard's windows stand."""
    tables = connect(run.workers.settings)
    try:
        async with asyncio.timeout(LIMIT):
            while True:
                run.workers.check()
                summaries = await tables.summaries()
                if len({decode_summary(each.summary, each.recent).at for each in summaries}) == 1:
                    return figures_of(summaries).plain()
                await asyncio.sleep(0.2)
    finally:
        await tables.close()


def _origin(headers: dict[str, bytes]) -> tuple[str, int, int]:
    topic, partition, offset = (headers[f"upsell-source-{name}"].decode() for name in ("topic", "partition", "offset"))
    return topic, int(partition), int(offset)


def _fenced(metrics: str) -> int:
    return int(sum(float(value) for value in re.findall(r"^upsell_fenced_total (.*)$", metrics, re.MULTILINE)))
