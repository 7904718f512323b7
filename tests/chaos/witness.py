"""Looks at everything that is shown, once a second, and at what Redis really has; `Verdict` judges.

Rules: Redis is read directly, not through the proxy, and only raw fields: no code of the product but the names of its keys. `status` is the exception: it is
what it looks at. A look may come late on a busy machine; then there are fewer looks, not other results.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable

import aiohttp
from chaos.health import PATIENCE, Health
from chaos.verdict import Answers, Stored, Verdict
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from support.workers import Worker

from stream.cli.inspection import inspect
from stream.core.counting.figures import TOTAL
from stream.core.shard.write_set import ShardId
from stream.embedded.server import HOST
from stream.settings import Settings
from stream.tables.keys import Keys

EVERY = 1.0
"""Seconds between two looks."""
STATUS_EVERY = 5.0
REDIS_PATIENCE = 5.0
STATUS_PATIENCE = 10.0
"""Seconds that Redis, or `status`, has to answer."""
_UP = re.compile(r'^upsell_journey_up\{journey="(\w+)"\} (\S+)$', re.MULTILINE)
_READY = re.compile(r"^upsell_ready (\S+)$", re.MULTILINE)


class Witness:
    """Looks while its block runs."""

    def __init__(self, verdict: Verdict, settings: Settings, health: Health, redis_port: int) -> None:
        self._verdict = verdict
        self._settings = settings
        self._health = health
        self._redis = Redis(
            host=HOST, port=redis_port, socket_timeout=REDIS_PATIENCE, socket_connect_timeout=REDIS_PATIENCE,
            retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
        keys = Keys(settings.redis_prefix, settings.app_id)
        self._keys = {shard: keys.shard(ShardId(*shard)) for shard in verdict.shards}

    async def __aenter__(self):
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        looks = ((self._look_at_redis, EVERY), (self._look_at_workers, EVERY), (self._look_at_status, STATUS_EVERY))
        self._tasks = [asyncio.create_task(_repeat(look, pause)) for look, pause in looks]
        return self

    async def __aexit__(self, *error):
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._client.close()
        await self._redis.aclose()
        for task in self._tasks:
            if not task.cancelled():
                task.result()

    async def _look_at_redis(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for keys in self._keys.values():
            pipeline.hget(keys.view, "committed_at")
            pipeline.hget(keys.shard, "offset")
            pipeline.hexists(keys.view, "halt")
        try:
            answers = await pipeline.execute()
        except (RedisError, OSError):
            # It is down, frozen, loading or busy, so nothing can be committed.
            self._verdict.miss()
            return
        stored = {
            shard: Stored(_number(committed_at), _number(offset), bool(halted))
            for shard, committed_at, offset, halted in zip(
                self._keys, answers[::3], answers[1::3], answers[2::3], strict=True
            )
        }
        self._verdict.find(stored, time.monotonic())

    async def _look_at_status(self) -> None:
        at = time.monotonic()
        inspection = await inspect(self._settings, STATUS_PATIENCE)
        for journey in self._settings.input_topics.values():
            if inspection.journeys is not None and journey in inspection.journeys:
                self._verdict.show("status", journey, inspection.journeys[journey].state, at, view=0)
            else:
                self._verdict.show_nothing("status", journey)
        self._verdict.show_to_do("status", list(inspection.to_do), at)

    async def _look_at_workers(self) -> None:
        await asyncio.gather(*map(self._look_at, self._health.running()))

    async def _look_at(self, worker: Worker) -> None:
        if not self._can_answer(worker):
            return
        try:
            url = worker.url
        except IndexError:  # it has not logged its URL yet
            return
        at, name, verdict = time.monotonic(), worker.log.stem, self._verdict
        owned = [(topic, int(number)) for topic, _, number in (shard.rpartition("/") for shard in worker.shards)]
        try:
            ready, _ = await self._get(f"{url}/readyz")
            status, rates, page, metrics, _ = await self._shown(url)
        except (aiohttp.ClientError, TimeoutError):
            return
        if not self._can_answer(worker):
            return
        verdict.own(name, owned, at)
        verdict.show_ready(name, "/readyz", ready == 200, at)
        verdict.show_ready(name, "page", page["ready"], at)
        verdict.show_ready(name, "upsell_ready", float(_READY.findall(metrics)[0]) == 1, at)
        states = rates["state"] if status == 200 else {}
        for journey in self._settings.input_topics.values():
            for place, shown in ((f"{name} rates", states), (f"{name} page", page["states"])):
                if journey in shown:
                    verdict.show(place, journey, shown[journey]["state"], at)
                else:
                    verdict.show_nothing(place, journey)
        if "checkout" in states:
            total = rates["windows"][TOTAL]["checkout"]["opportunities"]
            verdict.show_total(name, states["checkout"]["state"], total, at)
        ups = _ups(metrics)
        for journey, up in ups.items():
            verdict.show(f"{name} upsell_journey_up", journey, "live" if up else "down", at)
        contradiction = Answers(states, page["states"], ups).contradiction()
        if contradiction is not None:
            await self._ask_again(worker, url, at)

    async def _ask_again(self, worker: Worker, url: str, at: float) -> None:
        """A refresh between two answers explains a contradiction; so it counts only if no refresh was seen, and the second one contradicts too."""
        try:
            status, rates, page, metrics, refreshed = await self._shown(url)
        except (aiohttp.ClientError, TimeoutError):
            return
        answers = Answers(rates["state"] if status == 200 else {}, page["states"], _ups(metrics))
        contradiction = answers.contradiction()
        if contradiction is not None and not refreshed and self._can_answer(worker):
            self._verdict.contradict(worker.log.stem, contradiction, at)

    async def _shown(self, url: str) -> tuple[int, dict, dict, str, bool]:
        """Status and content of the rates; the page; the metrics; whether the rates changed meanwhile."""
        before = await self._get(f"{url}/api/v1/rates")
        _, page = await self._get(f"{url}/page.json")
        _, metrics = await self._get(f"{url}/metrics")
        after = await self._get(f"{url}/api/v1/rates")
        return before[0], json.loads(before[1]), json.loads(page), metrics, before != after

    async def _get(self, url: str) -> tuple[int, str]:
        async with self._client.get(url) as answer:
            return answer.status, await answer.text()

    def _can_answer(self, worker: Worker) -> bool:
        return worker not in self._health.frozen and worker.wanted and worker.process.poll() is None


async def _repeat(look: Callable[[], Awaitable[None]], pause: float) -> None:
    while True:
        await look()
        await asyncio.sleep(pause)


def _ups(metrics: str) -> dict[str, bool]:
    return {journey: float(value) == 1 for journey, value in _UP.findall(metrics)}


def _number(field: bytes | None) -> int | None:
    return None if field is None else int(field)
