"""docs/reference/performance.md and its chart, made from one file of results: `python -m bench page`. Edit this, not the page."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final
from xml.sax.saxutils import escape

from bench.results import Results

Noted = Mapping[str, Any]

BUSY: Final = 2
"""Load a processor above which somebody else was at work: server, worker and producer alone come to less."""

_HEAD: Final = """# Performance

`bench/page.py` makes this page from results of `make bench` on one machine. Each section is one run, at the time it gives.
Ratios between rows of one table also hold on other machines; events per second do not.

"""
_REPEAT: Final = """## How to repeat it

```sh
make bench
make bench ARGS="throughput --runs 5"
make bench ARGS="--quick"
make bench ARGS=page
```

You need what the tests marked `kafka` and `redis` need, and an idle machine. The third command is small and rough, with Java not warmed up. The last one
writes this page from `build/bench.json`. Java and Maven build the Kafka Streams program, and pip installs Quix Streams by hash, both outside the
repository. `make bench ARGS=--help` lists the options.

## What is measured

- **Servers and events.** Real Apache Kafka and real Redis (append-only, synced every second) on loopback, four partitions per topic. The events are the
  checkout events of the [simulator](../../README.md) (650 bytes). They are produced before anything starts, and shifted in time to end now. Carts become
  orders twenty times as fast as in reality.
- **A worker** is one process with everything on: verdicts, four windows, customers, metrics, outcomes published and acknowledged, atomic commits.
- **Events per second** of a worker are measured from a quarter of the records to nine tenths, by the offsets in Redis (at both readings about as much is
  applied and not yet committed). A peer reports itself what it has processed, and is measured from a quarter to the last record. Java needs so many events
  to get warm: with 120,000 events Kafka Streams takes 60 to 78 µs per event.
- **Processor time** is that of the processes, from `/proc`. Contenders take turns. Tables show the median and, in brackets, the slowest and the fastest
  run.
- **The peers do less**: the kinds of the verdict, the state of the intent, and counts by minute, channel and segment, in order of arrival, without
  refunds, customers, outcomes or duplicates. Their counts must equal those of `upsell-stream classify`. Slow peers get fewer events.
- **Kafka Streams** runs with one thread and its defaults. It counts minutes by channel and segment in windows of its DSL, through the repartition topic
  that these need, as Quix Streams does. "Plain store" counts in a store of each partition, which is faster, and leaves adding up the partitions to
  readers. **Faust** keeps its tables in memory.
- **CPython** built with profile-guided optimisation, as those of Debian and of the official images are, is 5 to 15 % faster than one without. It does not
  report how it was built.
- **Latency** is from handing a record to a producer in another process until the offset of its shard in Redis has passed it, checked every 2 ms. Before,
  the broker has worked for the length of four runs: until its code is compiled it takes two thirds of one of two processors, and the median latency at
  5,000 events/s is 56 to 104 ms.
- **Catching up**: what the shop sells in the meantime is generated before it opens, because generating it takes a third of a processor.
"""


def run(results: Results, *, page: Path) -> None:
    """Write the page, and the chart beside it."""
    noted = results.noted
    chart = page.with_suffix(".svg")
    text = "\n".join([_HEAD + "\n".join(_machine(noted)), *_sections(noted), _REPEAT])
    page.write_text(text, encoding="utf-8")
    if "throughput" in noted:
        chart.write_text(_chart(noted["throughput"]["figures"]["contenders"]), encoding="utf-8")
    print(f"wrote {page}")


def _machine(noted: Noted) -> Iterator[str]:
    machine = noted.get("machine", {})
    yield f"{machine.get('processors')} processors ({machine.get('model')}), Python {machine.get('python')}.\n"
    load = machine.get("load", 0)
    if load > BUSY * (machine.get("processors") or 1):
        yield f"**Preliminary**: the machine had other work (load {load}); ratios may hold, figures do not.\n"


def _sections(noted: Noted) -> Iterator[str]:
    sections = {
        "throughput": _throughput,
        "stages": _stages,
        "latency": _latency,
        "catch_up": _catch_up,
        "memory": _memory,
        "growth": _growth,
        "start": _start,
    }
    for name, section in sections.items():
        if name in noted:
            yield "\n".join(section(noted[name]["figures"])) + f"\n\n(measured {noted[name]['at']})\n"


def _throughput(figures: Noted) -> Iterator[str]:
    yield "## Throughput\n"
    yield "![events per second](performance.svg)\n"
    contenders = figures["contenders"]
    ours = contenders.get("upsell-stream", {}).get("events_per_second")
    rows = []
    for name, one in contenders.items():
        runs = [run["events_per_second"] for run in one["runs"]]
        rows.append(
            [
                name if one["right"] else f"{name} (counts wrong)",
                f"{one['events_per_second']:,} ({min(runs):,} to {max(runs):,})",
                f"{ours / one['events_per_second']:.2f}" if ours else "",
                f"{one['worker_us']:.1f}",
                f"{one['redis_us']:.1f}" if one["redis_us"] else "",
                f"{one['broker_us']:.1f}",
                f"{one['records']:,}",
            ]
        )
    yield from _table(["", "events/s", "upsell-stream / this", "µs per event", "Redis", "broker", "events"], rows)


def _stages(figures: Noted) -> Iterator[str]:
    yield "## Where the time goes\n"
    yield (
        f"Processor time in µs per event, in batches of up to {figures['batch']} (checkouts and subscriptions): "
        f"worker {figures['worker_us']}, "
        + ", ".join(f"{name} {spent}" for name, spent in figures["others_us"].items())
        + ".\n"
    )
    yield from _table(["stage", "µs"], [[stage, f"{spent:.2f}"] for stage, spent in figures["stages_us"].items()])


def _latency(figures: Noted) -> Iterator[str]:
    yield "## Latency from produce to visible\n"
    yield from _table(
        ["events/s requested", "sent", "p50 ms", "p99 ms"],
        [
            [
                f"{int(rate):,}",
                f"{median(run['really_per_second'] for run in runs):,.0f}",
                *(_middle([run[part] for run in runs]) for part in ("p50_ms", "p99_ms")),
            ]
            for rate, runs in figures.items()
        ],
    )


def _middle(values: Sequence[float]) -> str:
    return f"{median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _catch_up(figures: Noted) -> Iterator[str]:
    yield "## Catching up after an outage\n"
    yield (
        f"A backlog of {figures['backlog']:,} events ({figures['backlog'] / figures['rate'] / 60:.3g} minutes at {figures['rate']:,}/s) "
        f"while {figures['rate']:,} new events/s arrive.\n"
    )
    if not figures["caught_up"]:
        yield "The worker did not catch up while the shop was open."
        return
    yield (
        f"{figures['events_per_second']:,} events/s, {figures['times_real_time']} times real time; "
        f"{figures['seconds']} s from the worker's start until it was caught up."
    )
    if after := figures.get("latency_after"):
        yield f"Latency afterwards: p50 {after['p50_ms']} ms, p99 {after['p99_ms']} ms."


def _memory(figures: Noted) -> Iterator[str]:
    yield "## Memory\n"
    yield from _table(
        ["", ""],
        [
            [
                f"worker with {figures['checkouts']:,} open checkouts (`cache_mb` {figures['cache_mb']}), MB",
                str(figures["worker_mb"]),
            ],
            ["Redis, bytes per open checkout of two lines", str(figures["redis_bytes_a_checkout"])],
            ["Redis, bytes per customer with an order", str(figures["redis_bytes_a_customer"])],
        ],
    )


def _growth(figures: Noted) -> Iterator[str]:
    yield "## As the work grows\n"
    rows = figures["rows"]
    first = rows[0]["events_per_second"]
    yield from _table(
        ["customers", "partitions", "events/s", "of the first row", "worker µs", "Redis µs"],
        [
            [
                f"{row['customers']:,}",
                str(row["partitions"]),
                f"{row['events_per_second']:,}",
                f"{row['events_per_second'] / first:.2f}",
                str(row["worker_us"]),
                str(row["redis_us"]),
            ]
            for row in rows
        ],
    )
    yield ""
    yield from _table(
        ["page, 64 shards and all labels", "median ms", "worst ms", "kB"],
        [
            [f"`{path}`", str(one["median"]), str(one["worst"]), str(one["kilobytes"])]
            for path, one in figures["pages_ms"].items()
        ],
    )


def _start(figures: Noted) -> Iterator[str]:
    yield "## Start\n"
    names = {"help_seconds": "`--help`, s", "first_commit_seconds": "worker, start to first commit, s"}
    yield from _table(["", "median", "worst"], [[names[name], *map(str, both)] for name, both in figures.items()])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _chart(contenders: Noted) -> str:
    """Bars of events a second, on one linear scale."""
    names, height, width = list(contenders), 26, 420
    most = max(one["events_per_second"] for one in contenders.values())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="780" height="{height * len(names) + 10}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for at, name in enumerate(names):
        value = contenders[name]["events_per_second"]
        colour = "#1f6feb" if name.startswith("upsell") else "#bbb" if name.startswith("floor") else "#888"
        y = 5 + at * height
        parts.append(f'<text x="265" y="{y + 17}" text-anchor="end" fill="#222">{escape(name)}</text>')
        parts.append(
            f'<rect x="275" y="{y + 3}" width="{max(1, width * value / most):.0f}" height="18" fill="{colour}"/>'
        )
        parts.append(f'<text x="{280 + width * value / most:.0f}" y="{y + 17}" fill="#222">{value:,}</text>')
    return "\n".join([*parts, "</svg>", ""])
