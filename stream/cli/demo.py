"""`upsell-stream demo`: runs a simulated shop, a broker, Valkey and a worker on this machine, and shows the worker's figures.

Rules: settings in the environment are ignored, so the demo never touches another Kafka or Redis. Servers and worker are child processes that end
with this process, also if it is killed; nothing is written to disk. The measured figures must equal the shop's own counts, to the cent.

Events of others in the demo's topics are welcome, and count. With some, the comparison has two steps: the core counts again all records that the worker has
applied, which must give the worker's figures; and without the others' records, which must give the shop's own counts.
"""

import asyncio
import json
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

import aiohttp
import click
from aiokafka.errors import KafkaError
from prometheus_client.parser import text_string_to_metric_families
from pydantic import RedisDsn
from rich.console import Console
from rich.live import Live
from rich.text import Text

from stream.cli.figures import by_window, on_screen
from stream.cli.interrupt import Stop, stopping
from stream.cli.parameters import Number
from stream.cli.rates import figures_of
from stream.cli.records import Sender, send
from stream.cli.recount import Recount, contains, ends_of, longest_window, recent, records, summary_of
from stream.cli.screen import output, quiet_clients
from stream.cli.simulate import as_they_arrive
from stream.core.counting.cells import Count
from stream.core.counting.figures import TOTAL, Figures, ShardFigures
from stream.core.counting.summary import decode_summary
from stream.core.shard.write_set import ShardId
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


class Foreign(NamedTuple):
    """Records in the topics that the demo did not send."""

    events: int
    with_them: dict[str, Any]
    """The summary of all records by the core; the measured one must equal it."""
    without_them: dict[str, Any]
    """The summary of the demo's own records by the core; the planted one must equal it."""


class Report(NamedTuple):
    """The comparison of the shop's own counts with the worker's."""

    planted: dict[str, Any]
    """In the format of `classify --summary --json`, like `measured`."""
    measured: dict[str, Any]
    events_per_second: float
    equal: bool
    """Whether they are equal; with records of others, whether both summaries of `foreign` are what they must be."""
    foreign: Foreign | None

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return self._asdict() | {"foreign": self.foreign and self.foreign._asdict()}

    def verdict(self) -> str:
        """What was compared, and the result, in words."""
        if self.foreign is None:
            result = "equal" if self.equal else "DIFFER from"
            return f"{self.measured['events']:,} events; the measured figures {result} the shop's own counts"
        every, foreign = f"{self.measured['events']:,}", f"{self.foreign.events:,}"
        with_them = "equal" if self.foreign.with_them == self.measured else "DIFFER from"
        verb = "equals" if self.foreign.without_them == self.planted else "DIFFERS from"
        return (
            f"{every} events, of which {foreign} are not the demo's own\n"
            f"the measured figures {with_them} a second count of all {every} events, made now from Kafka\n"
            f"the same count without those {foreign} {verb} the shop's own"
        )


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
    help="Print one JSON object at the end: planted and measured counts, whether they are equal, and events of others.",
)
@click.pass_context
def demo(ctx: click.Context, *, duration: float | None, rate: float, seed: int, as_json: bool) -> None:
    """Run everything on this machine: a simulated shop, an embedded broker and Valkey, a worker, live rates.

    Ctrl-C, or the end of --duration, compares the measured figures with the shop's own counts; exit status 0 if they are equal.
    A second Ctrl-C ends at once. You may send events of your own to the Kafka address that is printed: they are counted, and the
    comparison allows for them.

    Needs the extra `demo` (pip install 'upsell-stream[demo]'). Nothing is written to disk.
    """
    # With --json, standard output is for the JSON object only.
    console = output(stderr=as_json)
    quiet_clients()
    wanted = ShopSettings(seed=seed, rate=rate, pace=10.0, duplicates=0.01, disorder_seconds=3.0, poison=0.002)
    with stopping() as stop:
        try:
            report = asyncio.run(_Demo(wanted, duration, console, stop).run())
        except (
            ServerUnavailableError,
            ServerFailedError,
            KafkaError,
            TablesUnavailableError,
            aiohttp.ClientError,
        ) as error:
            raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(json.dumps(report.document(), indent=2))
    else:
        console.print(report.verdict() + ("" if report.equal else "\n--json prints all figures; please report this"))
    ctx.exit(int(not report.equal))


class _Demo:
    """One run of the demo."""

    def __init__(self, shop: ShopSettings, duration: float | None, console: Console, stop: Stop) -> None:
        past = min(_LONGEST_PAST, _PAST / shop.rate)
        self._shop = Shop(shop, datetime.now(UTC) - timedelta(seconds=past))
        self._duration = duration
        self._console = console
        self._stop = stop
        self._sent = 0
        self._page = ""

    async def run(self) -> Report:
        """Run until a stop is requested, then wait for the worker and compare."""
        click.echo("starting a broker, Valkey and a worker …", err=True)
        async with AsyncExitStack() as stack:
            broker = await stack.enter_async_context(EmbeddedBroker())
            valkey = await stack.enter_async_context(EmbeddedValkey())
            settings = _settings(broker.bootstrap_servers, valkey.url)
            worker = await stack.enter_async_context(_Worker(settings))
            self._page = f"{worker.url}/"
            where = f"--app-id {settings.app_id} --redis-url {valkey.url}"
            self._console.print(
                f"page     {self._page}\nmetrics  {worker.url}/metrics\nrates    {worker.url}/api/v1/rates\n"
                f"Kafka    {broker.bootstrap_servers}\nRedis    {valkey.url}\n\nfrom another terminal:\n"
                f"{_program()} rates --watch {where}\n"
                f"{_program()} status {where} --bootstrap-servers {broker.bootstrap_servers}\n",
                soft_wrap=True,
            )
            tables = connect(settings)
            stack.push_async_callback(tables.close)
            sender = await stack.enter_async_context(Sender(settings))
            # Inside of the connections, which would wait for the servers.
            stack.enter_context(_killed_if_interrupted(worker, valkey, broker))
            if self._duration is not None:
                asyncio.get_running_loop().call_later(self._duration, self._stop.request)
            async with self._shown(tables, worker) as shown:
                began = time.monotonic()
                await send(sender, self._records(), bar=False)
                if shown.done():
                    await shown
                if self._stop.interrupted:
                    self._console.print(
                        "stopping: the worker applies what was sent, then the figures are compared; Ctrl-C ends at once"
                    )
                await sender.flush()
                await _caught_up(tables, settings, worker)
                seconds = time.monotonic() - began
            broker.pause()  # while others keep sending, no two answers would be about the same records
            state = await _state(tables, worker)
            broker.resume()
            foreign = await _foreign(settings, sender, state)
        planted, measured = self._shop.truth.summary(), state.summary
        equal = (
            planted == measured if foreign is None else (planted, measured) == (foreign.without_them, foreign.with_them)
        )
        return Report(planted, measured, round(measured["events"] / seconds, 1), equal, foreign)

    def _records(self) -> Iterator[Emitted | None]:
        for record in as_they_arrive(self._shop, None, self._stop):
            yield record
            self._sent += record is not None

    @asynccontextmanager
    async def _shown(self, tables: Tables, worker: _Worker) -> AsyncIterator[asyncio.Task[None]]:
        """Show the figures in a task while the context is open, and on a terminal once more at its end.

        The task requests a stop when it ends, which it does only with an error.
        """
        with ExitStack() as stack:
            seconds, show = _LINE, self._print
            if self._console.is_terminal:
                live = stack.enter_context(Live(console=self._console, auto_refresh=False))
                seconds, show = _REFRESH, lambda *seen: self._draw(live, *seen)
            task = asyncio.create_task(_repeat(tables, worker, seconds, show))
            task.add_done_callback(lambda _: self._stop.request())
            try:
                yield task
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            if self._console.is_terminal and (seen := await _look(tables)) is not None:
                show(*seen)

    def _draw(self, live: Live, figures: Figures, applied: int) -> None:
        hint = "" if self._duration is not None else "   Ctrl-C: compare"
        head = [Text(f"{self._sent:,} events sent, {applied:,} applied   {self._page}{hint}")]
        tables = list(by_window(figures.plain()["windows"], brief=True))
        live.update(on_screen(self._console, head, tables, "all are on the page"), refresh=True)

    def _print(self, figures: Figures, applied: int) -> None:
        window, figure_set = next(
            (window, figure_set)
            for window in (*figures.windows, TOTAL)
            if (figure_set := figures.select(window)).sales[Count.TRANSACTIONS] or window == TOTAL
        )
        rates = ", ".join(f"{name} {value:.1%}" for name, value in figure_set.rates.items() if value is not None)
        done = f"{self._sent:,} events sent, {applied:,} applied"
        self._console.print(f"{datetime.now(UTC):%H:%M:%S}  {done}  {window}: {rates}")


@contextmanager
def _killed_if_interrupted(*servers: Server) -> Iterator[None]:
    """Kill the servers at once when a second Ctrl-C ends the work."""
    try:
        yield
    except (asyncio.CancelledError, KeyboardInterrupt):
        for server in servers:
            server.kill()
        raise


def _program() -> str:
    """How the person called this program."""
    called = sys.argv[0]
    if Path(called).name != "upsell-stream":
        return f"{sys.executable} -m stream"
    found = shutil.which("upsell-stream")
    return "upsell-stream" if found is not None and Path(found).samefile(called) else called


async def _repeat(tables: Tables, worker: _Worker, seconds: float, show: Callable[[Figures, int], None]) -> None:
    """Show the figures and the number of applied records repeatedly, once there are figures.

    Raises:
        ServerFailedError: the worker ended.
    """
    while worker.pid:
        # The next attempt may succeed.
        with suppress(TablesUnavailableError):
            if (seen := await _look(tables)) is not None:
                show(*seen)
                await asyncio.sleep(seconds)
                continue
        await asyncio.sleep(_POLL)


async def _look(tables: Tables) -> tuple[Figures, int] | None:
    """The figures and the number of applied records; None while there are no figures."""
    summaries = await tables.summaries()
    figures = figures_of(summaries)
    if not figures.select(TOTAL).sales[Count.TRANSACTIONS]:
        return None
    owners = await tables.owners([each.shard for each in summaries])
    return figures, sum(owner.offset or 0 for owner in owners)


def _settings(bootstrap_servers: str, redis_url: str) -> Settings:
    # Without validation, and so without the environment.
    return Settings.model_construct(
        app_id="upsell-demo",
        kafka_bootstrap_servers=bootstrap_servers,
        kafka_session_timeout=_SESSION_TIMEOUT,
        redis_url=RedisDsn(redis_url),
        log_level="warning",
    )


async def _caught_up(tables: Tables, settings: Settings, worker: _Worker) -> None:
    """Wait until all records that are in the topics now are committed, also those of others."""
    shards = [ShardId(topic, number) for topic in settings.input_topics for number in range(settings.kafka_partitions)]
    ends = await ends_of(settings, shards)
    before, deadline = -1, 0.0
    while True:
        offsets = [owner.offset or 0 for owner in await tables.owners(shards)]
        if all(offset >= ends[shard] for shard, offset in zip(shards, offsets, strict=True)):
            return
        if sum(offsets) > before:
            before, deadline = sum(offsets), time.monotonic() + _TIMEOUT
        if time.monotonic() > deadline:
            raise ServerFailedError(f"{worker.name} has made no progress for {_TIMEOUT:.0f} s:\n{worker.output}")
        await asyncio.sleep(0.1)


class _State(NamedTuple):
    """What the worker has counted, at one moment."""

    summary: dict[str, Any]
    offsets: dict[ShardId, int]
    """For each shard, the records that it has applied."""
    moments: dict[ShardId, int]
    """For each shard, where its windows stand, microseconds since the epoch."""


async def _state(tables: Tables, worker: _Worker) -> _State:
    """The figures from Valkey, and numbers of records from the worker's metrics, of the same records.

    The customers are those of the longest window, once it contains the newest event: no demo runs longer than that.

    Raises:
        ServerFailedError: the worker's answers were never about the same records.
    """
    deadline = time.monotonic() + _TIMEOUT
    while True:
        shards = [each.shard for each in await tables.summaries()]
        before = [owner.offset or 0 for owner in await tables.owners(shards)]
        results = await _results(worker)
        summaries = {each.shard: each for each in await tables.summaries()}
        after = [owner.offset or 0 for owner in await tables.owners(list(summaries))]
        late = time.monotonic() > deadline
        # The worker counts a batch after the commit.
        if shards == list(summaries) and before == after and results.total() == sum(after):
            counted = {
                shard: ShardFigures(decode_summary(each.summary, each.recent), each.customers)
                for shard, each in summaries.items()
            }
            # A window moves in steps, so it may not contain the purchases of the last seconds yet.
            if late or all(map(_is_complete, counted.values())):
                moments = {shard: each.summary.at for shard, each in counted.items()}
                summary = summary_of(results, map(recent, counted.values()))
                return _State(summary, dict(zip(shards, after, strict=True)), moments)
        if late:
            raise ServerFailedError(
                f"nothing was compared: {worker.name} does not count as many records as it has applied:\n{worker.output}"
            )
        await asyncio.sleep(_POLL)


def _is_complete(shard: ShardFigures) -> bool:
    _, window = longest_window(shard.summary)
    return window.pane_of(shard.summary.stream_time) <= window.pane_of(shard.summary.at)


async def _foreign(settings: Settings, sender: Sender, state: _State) -> Foreign | None:
    """The records of others among those that the worker has applied, and what the core counts with and without them; None if there are none."""
    own = sum(len(sent) for ranges in sender.acknowledged.values() for sent in ranges)
    if sum(state.offsets.values()) == own:
        return None
    ours = {shard: sorted(ranges, key=attrgetter("start")) for shard, ranges in sender.acknowledged.items()}
    with_them, without_them = Recount(settings, state.moments), Recount(settings, state.moments)
    foreign = 0
    async for record in records(settings, state.offsets):
        with_them.add(record)
        if contains(ours.get(ShardId(record.topic, record.partition), ()), record.offset):
            without_them.add(record)
        else:
            foreign += 1
    return Foreign(foreign, with_them.summary(ever=False), without_them.summary(ever=True))


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
