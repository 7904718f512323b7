"""Looks at every worker's `/livez` and `/readyz` all the time, and compares what they say with what is known."""

import asyncio
from contextlib import suppress

import aiohttp
from support.workers import LIMIT, Group, Worker

EVERY = 0.2
PATIENCE = 20.0
"""Seconds for an answer: two cores are shared with everything else that runs here."""


class Health:
    """`ready` has what each running worker said last; `lies` what cannot be true."""

    def __init__(self, workers: Group) -> None:
        self.lies: list[str] = []
        self.looks = 0
        self.frozen: set[Worker] = set()
        """Workers that cannot answer now."""
        self._workers = workers
        self._urls: dict[Worker, str] = {}
        self._ready: dict[Worker, bool] = {}
        self._said: dict[Worker, str] = {}

    async def __aenter__(self):
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(self, *error):
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._client.close()
        if not self._task.cancelled():
            self._task.result()

    def running(self) -> list[Worker]:
        return [worker for worker in self._workers.workers if worker.wanted and worker.process.poll() is None]

    async def until_ready(self, number: int) -> None:
        """Wait until so many workers run and each says that it is ready."""
        self._ready.clear()
        await self._until(lambda: len(self.running()) == number and all(map(self._ready.get, self.running())))

    async def until_unready(self, because: str = "") -> None:
        """Wait until a worker says that it is not, with these words among its reasons."""
        self._ready.clear()
        await self._until(lambda: any(self._is_unready(worker, because) for worker in self._ready))

    async def until_none_is_ready(self, because: str) -> None:
        """Wait until every worker says that it is not, with these words among its reasons."""
        self._ready.clear()
        await self._until(lambda: all(self._is_unready(worker, because) for worker in self.running()))

    def _is_unready(self, worker: Worker, because: str) -> bool:
        return self._ready.get(worker) is False and because in self._said[worker]

    async def _until(self, condition) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                while not condition():
                    self._workers.check()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(
                f"readyz: {[(w.log.name, r, self._said[w]) for w, r in self._ready.items()]}"
            ) from None

    async def _look(self) -> None:
        while True:
            await asyncio.gather(*map(self._look_at, self.running()))
            await asyncio.sleep(EVERY)

    async def _look_at(self, worker: Worker) -> None:
        if worker in self.frozen:
            return
        if worker not in self._urls:
            with suppress(IndexError):
                self._urls[worker] = worker.url
            return
        said: dict[str, int | str] = {}
        reasons = ""
        for path in ("/livez", "/readyz"):
            try:
                async with self._client.get(self._urls[worker] + path) as answer:
                    said[path] = answer.status
                    reasons = await answer.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                said[path] = repr(error)
        if worker in self.frozen or not worker.wanted or worker.process.poll() is not None:
            return
        self.looks += 1
        if said["/livez"] != 200:
            self.lies.append(f"{worker.log.name}: /livez {said['/livez']}")
        if said["/readyz"] not in (200, 503):
            self.lies.append(f"{worker.log.name}: /readyz {said['/readyz']}")
        self._said[worker] = reasons
        self._ready[worker] = said["/readyz"] == 200
