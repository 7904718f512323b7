"""A chaos run: three workers, real Kafka and Redis behind proxies, faults at random moments, and an exact comparison at the end.

Rules: the only correct result is that of `classify` for the records that were sent. Times are measured and printed; of the
checks, only `Verdict` depends on them, with generous limits.
The seed decides the records, the order of the faults, and the worker or topic of each. The exact moment of a fault depends on the machine.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from chaos import faults as kinds
from chaos.health import Health
from chaos.history import STEPS, differences, differences_of_days, stored_past
from chaos.load import LARGEST, Sender, large_values, records
from chaos.verdict import Verdict
from chaos.witness import Witness
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
"""Seconds in which the events of one fault are sent."""


class Run:
    """The servers and workers into which faults are injected."""

    def __init__(self, seed: int, workers: Group, kafka, redis, kafka_proxy, redis_proxy) -> None:
        self.random = Random(f"faults {seed}")
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
        topics = workers.settings.input_topics
        self.verdict = Verdict(
            {(topic, number): journey for topic, journey in topics.items() for number in range(PARTITIONS)}, self._began
        )
        self._lies = 0

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", flush=True)  # noqa: T201 - what the command is for

    def note(self, text: str) -> None:
        self.say(f"  {text}")

    def note_lies(self) -> None:
        """Print the lies since the last call; at the end they fail the run."""
        for lie in self.verdict.lies[self._lies :]:
            self.note(f"LIE: {lie}")
        self._lies = len(self.verdict.lies)

    def acknowledge(self, topic: str, partition: int, offset: int) -> None:
        """Note that Kafka has a record."""
        self.verdict.acknowledge((topic, partition), offset, time.monotonic())

    def measure(self, what: str, seconds: float) -> None:
        self.measured.setdefault(what, []).append(seconds)
        self.note(f"{what}: {seconds:.1f} s")

    def expect(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
        if not holds:
            raise AssertionError(otherwise)

    def any_worker(self) -> Worker:
        return self.random.choice(self.health.running())

    def any_topic(self) -> str:
        return self.random.choice([self.workers.settings.checkout_topic, self.workers.settings.subscription_topic])

    def start_worker(self) -> Worker:
        return self.workers.start()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition is true."""
        await self.workers.until(condition)

    async def until_shared(self, number: int) -> None:
        """Wait until this number of workers runs, each has a shard, and together they have all."""
        await self.until(
            lambda: len(shares := self.workers.shares()) == number and sum(shares) == self.shards and shares[-1] > 0
        )

    async def until_fenced(self, worker: Worker) -> None:
        """Wait until a worker's metrics show a refused write."""
        async with asyncio.timeout(LIMIT):
            while not (refused := _fenced(await worker.get("/metrics"))):
                self.workers.check()
                await asyncio.sleep(0.1)
        self.fenced += refused
        self.note(f"{worker.log.stem}: {refused} writes were refused")


async def chaos(directory: Path, *, events: int, faults: Sequence[kinds.Fault], seed: int) -> Run:
    """Send the events, inject the faults, and compare the results. Raises `AssertionError` if a result is wrong."""
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
        run.sender = await stack.enter_async_context(Sender(kafka.bootstrap_servers, planted, run.acknowledge))
        run.health = await stack.enter_async_context(Health(workers))
        run.say(f"seed {seed}: {events:,} events, {len(faults)} faults, {PARTITIONS} partitions a topic")
        await run.sender.plant(topics[0], b"a bad record at the head of a partition", partition=0)
        for _ in range(WORKERS):
            run.start_worker()
        await run.until_shared(WORKERS)
        await run.health.until_ready(WORKERS)
        async with Witness(run.verdict, settings, run.health, redis.port):
            run.verdict.end(time.monotonic())
            for number, fault in enumerate(faults, start=1):
                await _inject(run, fault, number, events // len(faults))
            await run.sender.send(events, 0)
            run.say(f"{run.sender.sent:,} records sent, {run.health.checks:,} checks of the workers' health")
            run.expect(not run.health.violations, "\n".join(run.health.violations[:20]))
            await compare(run, directory)
        _judge_states(run)
        for worker in run.health.running():
            run.expect(await worker.stop() == 0, "a worker exited with an error after SIGTERM")
        return run


async def _inject(run: Run, fault: kinds.Fault, number: int, share: int) -> None:
    sending = asyncio.create_task(run.sender.send(share, SPREAD))
    await asyncio.sleep(run.random.uniform(0.2, SPREAD / 2))
    run.say(f"fault {number}: {fault.__name__}")
    began = time.monotonic()
    run.verdict.begin(fault.__name__, began, rewinds=fault in kinds.REWINDING)
    await fault(run)
    repaired = time.monotonic()
    run.verdict.end(repaired)
    await run.health.until_ready(WORKERS)
    run.measure(f"all ready after {fault.__name__}", time.monotonic() - repaired)
    await sending
    run.note(f"all ready again {time.monotonic() - began:.1f} s after the fault began")
    run.note_lies()


def _judge_states(run: Run) -> None:
    verdict = run.verdict
    run.expect(not verdict.lies, "what was shown was wrong:\n" + "\n".join(verdict.lies[:20]))
    run.say(
        f"no state lied: {verdict.looks:,} looks at rates, pages, metrics, /readyz and `status`; {verdict.trials['worker']:,} looks at workers and "
        f"{verdict.trials['status']:,} at `status` while figures stood still for long"
    )


async def compare(run: Run, directory: Path) -> None:
    """Compare the figures, the history, outcomes and dead letters of the workers with those of `classify`."""
    settings = run.workers.settings
    file = directory / "sent.jsonl"
    file.write_bytes(b"".join(value + b"\n" for value in run.sender.good))
    published, expected, offline = await asyncio.to_thread(_judge, run)
    await until_totals(run.workers, expected, 10 * LIMIT)
    figures = await _figures_at_one_time(run)
    pure = json.loads(await output("classify", "--summary", "--json", "--as-of", figures["as_of"], file))
    run.expect(totals(pure) == expected, "`classify` and offline judging have different totals")
    for window in figures["windows"].keys() - {TOTAL}:
        ours, theirs = figures["windows"][window], pure["windows"][window]
        run.expect(ours == theirs, f"window {window} at {figures['as_of']}:\n{ours}\n{theirs}")
    run.say(f"total and windows are equal at {figures['as_of']}")
    await _compare_history(run, offline)
    outcomes = await read_topic(run.kafka.bootstrap_servers, settings.outcome_topic)
    bodies: dict[str, set[bytes]] = {}
    for outcome in outcomes:
        bodies.setdefault(json.loads(outcome.value)["id"], set()).add(outcome.value)
    run.expect(
        bodies == {name: {body} for name, body in published.items()},
        f"outcomes: {len(published.keys() - bodies.keys())} missing, {len(bodies.keys() - published.keys())} unexpected, "
        f"with two bodies: {[values for values in bodies.values() if len(values) > 1]}",
    )
    run.say(f"{len(bodies):,} outcomes equal those of classify, byte by byte ({len(outcomes) - len(bodies):,} repeats)")
    letters = await read_topic(run.kafka.bootstrap_servers, settings.dead_letter_topic)
    found = {_origin(dict(letter.headers)) for letter in letters}
    missing, unexpected = run.sender.poison - found, found - run.sender.poison
    run.expect(not missing and not unexpected, f"dead letters: missing {missing}, unexpected {unexpected}")
    run.say(f"{len(found):,} dead letters are the planted bad records ({len(letters) - len(found):,} repeats)")


async def _compare_history(run: Run, offline: Offline) -> None:
    settings = run.workers.settings
    zone = settings.core().time_zone
    stored = await stored_past(settings)
    timeline = offline.timeline()
    for step in STEPS:
        wrong = differences(stored.timelines[step], timeline, step, zone)
        run.expect(not wrong, f"history, {len(wrong)} differences:\n" + "\n".join(wrong[:20]))
    hours, days = (len({table for _, table in stored.timelines[step].tables}) for step in STEPS)
    run.expect(hours > 0 < days, "no history was stored")
    run.say(f"history: every cell of {hours} hours and {days} days is equal in both journeys")
    wrong, compared = differences_of_days(stored.days, offline.days(), stored.ordinals)
    run.expect(not wrong, f"offers and products, {len(wrong)} differences:\n" + "\n".join(wrong[:20]))
    run.expect(compared > 0, "nothing was stored of offers and products")
    run.say(f"offers and products: {compared:,} rows of days are equal in both journeys")


def _judge(run: Run) -> tuple[dict[str, bytes], dict, Offline]:
    """Every outcome that must be published, by id, the totals, and what knows the history."""
    settings = run.workers.settings
    offline = Offline(settings.core(), settings.registry(), time.time_ns() // 1000)
    published: dict[str, bytes] = {}
    for value in run.sender.good:
        event = decode_line(value)
        assert not isinstance(event, Rejected), event
        for version in offline.apply(event).versions:
            if version.publish:
                published[version.id] = outcome_event(version, settings.app_id)
    summary = offline.figures().summary()
    return published, totals(summary), offline


async def _figures_at_one_time(run: Run) -> dict:
    """The document of `rates --json`, at a moment when the windows of all shards end at the same time."""
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
