"""Start times: of `--help`, and of a worker until its first commit on real Kafka and Redis."""

import asyncio
import subprocess
import sys
import time
from statistics import median

from redis import Redis
from support.workers import environment

from bench.broker import fill
from bench.contender import LIMIT, BenchError, process
from bench.dataset import load
from bench.results import Results
from bench.servers import kafka, redis
from bench.worker import COMMAND, Offsets, settings_for


def run(results: Results, *, runs: int = 5) -> None:
    """Print and store both."""
    helped = []
    for _ in range(runs):
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "stream", "--help"], stdout=subprocess.DEVNULL, check=True)
        helped.append(time.monotonic() - began)
    first = []
    with kafka() as broker, redis() as server, Redis.from_url(server.url) as client:
        servers = broker.bootstrap_servers
        events = load(4000, checkouts_only=True)
        for number in range(runs):
            settings = settings_for(servers, server.url, checkout_topic=f"bench-start-{number}")
            asyncio.run(fill(servers, {"checkout": settings.checkout_topic}, events, 4))
            offsets = Offsets(client, settings, settings.checkout_topic, 4)
            began = time.monotonic()
            with process(COMMAND, environment(settings)) as (_, log):
                while not offsets.total():
                    if time.monotonic() - began > LIMIT:
                        raise BenchError(log.read_text(errors="replace")[-3000:])
                    time.sleep(0.005)
                first.append(time.monotonic() - began)
    figures = {
        "help_seconds": [round(median(helped), 2), round(max(helped), 2)],
        "first_commit_seconds": [round(median(first), 2), round(max(first), 2)],
    }
    print(f"  median, worst: {figures}", flush=True)
    results.note("start", figures)
