"""Asks every worker for `/livez` and `/readyz` all the time, and checks the answers."""

import asyncio
from contextlib import suppress

import aiohttp
from support.workers import LIMIT, Group, Worker

EVERY = 0.2
"""Seconds between two rounds."""
PATIENCE = 20.0
"""Seconds to wait for an answer: generous, because the machine is busy."""


class Health:
    """The last answers of all running workers. `violations` are answers that a running worker must never give."""

    def __init__(self, workers: Group) -> None:
        self.violations: list[str] = []
        self.checks = 0
        self.frozen: set[Worker] = set()
        """Workers that cannot answer, because a fault froze them."""
        self._workers = workers
        self._urls: dict[Worker, str] = {}
        self._ready: dict[Worker, bool] = {}
        self._reasons: dict[Worker, str] = {}

    async def __aenter__(self):
        self._client = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE))
        self._task = asyncio.create_task(self._poll())
        return self

    async def __aexit__(self, *error):
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._client.close()
        if not self._task.cancelled():
            self._task.result()

    def running(self) -> list[Worker]:
        """Workers that run and that no fault has asked to end."""
        return [worker for worker in self._workers.workers if worker.wanted and worker.process.poll() is None]

    async def until_ready(self, number: int) -> None:
        """Wait until this number of workers runs and all of them are ready."""
        self._ready.clear()
        await self._until(lambda: len(self.running()) == number and all(map(self._ready.get, self.running())))

    async def until_unready(self, because: str = "") -> None:
        """Wait until a worker is not ready, with this text in its reasons."""
        self._ready.clear()
        await self._until(lambda: any(self._is_unready(worker, because) for worker in self._ready))

    async def until_none_is_ready(self, because: str) -> None:
        """Wait until no worker is ready, with this text in the reasons of each."""
        self._ready.clear()
        await self._until(lambda: all(self._is_unready(worker, because) for worker in self.running()))

    def _is_unready(self, worker: Worker, because: str) -> bool:
        return self._ready.get(worker) is False and because in self._reasons[worker]

    async def _until(self, condition) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                while not condition():
                    self._workers.check()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(
                f"readyz: {[(w.log.name, r, self._reasons[w]) for w, r in self._ready.items()]}"
            ) from None

    async def _poll(self) -> None:
        while True:
            await asyncio.gather(*map(self._check, self.running()))
            await asyncio.sleep(EVERY)

    async def _check(self, worker: Worker) -> None:
        if worker in self.frozen:
            return
        if worker not in self._urls:
            with suppress(IndexError):
                self._urls[worker] = worker.url
            return
        answers: dict[str, int | str] = {}
        reasons = ""
        for path in ("/livez", "/readyz"):
            try:
                async with self._client.get(self._urls[worker] + path) as answer:
                    answers[path] = answer.status
                    reasons = await answer.text()
            except (aiohttp.ClientError, TimeoutError) as error:
                answers[path] = repr(error)
        if worker in self.frozen or not worker.wanted or worker.process.poll() is not None:
            return
        self.checks += 1
        if answers["/livez"] != 200:
            self.violations.append(f"{worker.log.name}: /livez {answers['/livez']}")
        if answers["/readyz"] not in (200, 503):
            self.violations.append(f"{worker.log.name}: /readyz {answers['/readyz']}")
        self._reasons[worker] = reasons
        self._ready[worker] = answers["/readyz"] == 200
