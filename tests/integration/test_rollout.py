"""A rolling update stops at the first bad worker, and continues when the cause is gone: real workers, replaced as the chart's Deployment says.

`Rollout` replaces workers by the rules of Kubernetes' controller, with the strategy that Helm renders. Only `minReadySeconds` is shorter.
"""

import asyncio
import re
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from redis import Redis
from support import helm, traffic
from support.redis_server import RedisServer
from support.servers import started
from support.workers import LIMIT, Group, Worker, group, read_topic

from stream.core.shard.write_set import ShardId
from stream.tables.redis import connect

pytestmark = [pytest.mark.kafka, pytest.mark.redis, pytest.mark.helm]

ROOT = Path(__file__).parents[2]
PASSWORD = "secret"
MIN_READY = 3.0
"""In place of `minReadySeconds`."""
PARTITIONS = 4


def deployment() -> dict:
    done = helm.run("template", "upsell", str(ROOT / "deploy" / "kubernetes" / "upsell-stream"), "--set", "replicas=3")
    assert done.returncode == 0, done.stderr
    (found,) = [one for one in yaml.safe_load_all(done.stdout) if one and one["kind"] == "Deployment"]
    return found["spec"]


class Rollout:
    """Replaces old workers by new ones as a Deployment does. `step` is one look at them."""

    def __init__(self, spec: dict, old: list[Worker], start) -> None:
        self.old, self.new = old, []
        self._replicas = spec["replicas"]
        assert len(old) == self._replicas
        strategy = spec["strategy"]["rollingUpdate"]
        self._most = self._replicas + strategy["maxSurge"]
        self._least_available = self._replicas - strategy["maxUnavailable"]
        self._start = start
        self._ready_since: dict[Worker, float] = dict.fromkeys(old, 0.0)
        self._leaving: list[asyncio.Task[int]] = []

    @property
    def complete(self) -> bool:
        return not self.old and len([worker for worker in self.new if self.available(worker)]) == self._replicas

    def available(self, worker: Worker) -> bool:
        return time.monotonic() - self._ready_since.get(worker, time.monotonic()) >= MIN_READY

    async def step(self) -> None:
        for worker in (*self.old, *self.new):
            await self._probe(worker)
        while len(self.new) < self._replicas and len(self.old) + len(self.new) < self._most:
            self.new.append(self._start())
        # As many old ones may leave as leaves enough available, if no new one that is unavailable becomes available.
        unavailable = [worker for worker in self.new if not self.available(worker)]
        room = len(self.old) + len(self.new) - self._least_available - len(unavailable)
        for worker in sorted(self.old, key=self.available)[: max(room, 0)]:
            self.old.remove(worker)
            # Kubernetes starts the next one while this one is still leaving.
            self._leaving.append(asyncio.create_task(worker.stop()))

    async def _probe(self, worker: Worker) -> None:
        try:
            status, _ = await worker.readiness()
        except (OSError, IndexError):  # it does not listen yet
            status = 0
        if status != 200:
            self._ready_since.pop(worker, None)
        else:
            self._ready_since.setdefault(worker, time.monotonic())

    async def until(self, condition) -> None:
        async with asyncio.timeout(LIMIT):
            while not await condition():
                for worker in (*self.old, *self.new):
                    worker.check()
                await self.step()
                await asyncio.sleep(0.2)

    async def left(self) -> list[int]:
        """Exit statuses of the old ones."""
        return await asyncio.gather(*self._leaving)


def rights() -> list[str]:
    """Those that docs/how-to/security.md tells an operator to grant."""
    text = (ROOT / "docs" / "how-to" / "security.md").read_text(encoding="utf-8")
    [line] = re.findall(r"^ACL SETUSER upsell (.*)$", text, re.MULTILINE)
    return [rule for rule in line.split() if rule.startswith(("+", "-"))]


def allow(server: RedisServer, user: str, prefix: str, *more: str) -> None:
    with Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", user, "reset", "on", f">{PASSWORD}", f"~{prefix}*", *rights(), *more)


def start_as(workers: Group, server: RedisServer, user: str) -> Worker:
    """Start a worker with another user of Redis. The group itself stays an administrator."""
    own = workers.settings
    given = own.model_dump(exclude_unset=True) | {
        "redis_url": f"redis://{user}@{server.address}/0",
        "redis_password": PASSWORD,
    }
    workers.settings = type(own)(**given)
    try:
        return workers.start()
    finally:
        workers.settings = own


@asynccontextmanager
async def loaded(workers: Group):
    """Send events for the length of a block."""
    enough = asyncio.Event()

    async def send() -> None:
        number = 0
        while not enough.is_set():
            await workers.send(traffic.checkouts(25, number))
            number += 25
            await asyncio.sleep(0.1)

    async with asyncio.TaskGroup() as sending:
        sending.create_task(send())
        try:
            yield
        finally:
            enough.set()


async def caught_up(workers: Group, shards: set[str]) -> bool:
    """Whether these shards have applied every record that was sent to them."""
    topic = workers.settings.checkout_topic
    ends = dict.fromkeys(range(PARTITIONS), 0)
    for record in await read_topic(workers.settings.kafka_bootstrap_servers, topic):
        ends[record.partition] = max(ends[record.partition], record.offset + 1)
    wanted = {ShardId(topic, number): ends[number] for number in ends if f"{topic}/{number}" in shards}
    tables = connect(workers.settings)
    try:
        owners = await tables.owners(list(wanted))
    finally:
        await tables.close()
    return [owner.offset or 0 for owner in owners] == list(wanted.values())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("missing", ["zadd", "eval"])
async def test_an_update_to_a_redis_user_without_a_right_stops_at_the_first_worker(
    kafka, name_prefix, tmp_path, missing
):
    spec = deployment()
    with started(RedisServer()) as server, group(kafka.bootstrap_servers, server.url, name_prefix, tmp_path) as workers:
        allow(server, "good", name_prefix)
        allow(server, "bad", name_prefix, f"-{missing}")
        await workers.create_topics(PARTITIONS, PARTITIONS)
        old = [start_as(workers, server, "good") for _ in range(3)]
        await workers.until_shared(lambda shares: len(shares) == 3 and all(shares) and sum(shares) == 2 * PARTITIONS)
        rollout = Rollout(spec, old, lambda: start_as(workers, server, "bad"))

        # It stops: the new worker says what Redis refuses, and no other old one leaves while the figures of their shards go on.
        async def refused() -> bool:
            if not rollout.new or "rates at " not in rollout.new[0].said:
                return False
            status, why = await rollout.new[0].readiness()
            return status == 503 and "Redis refuses the request" in why and f"'{missing}'" in why

        async with loaded(workers):
            await workers.until_committed(50)
            await rollout.until(refused)
            until = time.monotonic() + 5 * MIN_READY
            await rollout.until(lambda: asyncio.sleep(0, time.monotonic() > until))
        assert (len(rollout.old), len(rollout.new)) == (2, 1)
        assert await refused()
        assert [(await worker.readiness())[0] for worker in rollout.old] == [200, 200]
        kept = {shard for worker in rollout.old for shard in worker.shards}
        assert kept
        await rollout.until(lambda: caught_up(workers, kept))

        # The right is granted: the same process continues, and so does the update. Nothing is lost or counted twice.
        (bad,) = rollout.new
        allow(server, "bad", name_prefix)
        await rollout.until(lambda: asyncio.sleep(0, rollout.available(bad)))
        assert bad.process.poll() is None
        await rollout.until(lambda: asyncio.sleep(0, rollout.complete))
        await workers.applied()
        assert await rollout.left() == [0, 0, 0]
        assert "Traceback" not in bad.said
        assert await asyncio.gather(*(worker.stop() for worker in rollout.new)) == [0, 0, 0]
