"""Store a log as the version before stored it. Runs with that version's code: `golden.layout_1` starts it.

Arguments: URL of an empty Redis, prefix of the keys. Standard input: topic and value (Latin-1) of each record, as JSON Lines.
"""
# ruff: noqa: I001, T201 - the modules are those of another version

import asyncio
import json
import secrets
import sys

from stream.core.changes import ShardId
from stream.core.config import CoreConfig
from stream.core.figures import JOURNEYS, TOTAL, Figures, ShardFigures
from stream.core.registry import Registry
from stream.core.shard import Shard
from stream.core.summary import decode_summary
from stream.events.decode import Rejected, decode_line
from stream.settings import Settings
from stream.tables.interface import Commit
from stream.tables.redis import connect

CONFIG = CoreConfig(customer_key=b"golden")
TOPICS = {"checkout-events": "checkout", "subscription-events": "subscription"}
BATCH = 50


async def main(url, prefix):
    tables = connect(Settings(_env_file=None, redis_url=url, redis_prefix=prefix, app_id="shop"))
    lines = [json.loads(line) for line in sys.stdin]
    registry = Registry()
    for topic, journey in TOPICS.items():
        values = [value.encode("latin-1") for at, value in lines if at == topic]
        shard_id = ShardId(topic, 0)
        claim = await tables.claim(shard_id, secrets.token_bytes(16))
        shard = Shard(shard_id, journey, CONFIG, registry, claim.stored, 2**40)
        for begin in range(0, len(values), BATCH):
            decoded = map(decode_line, values[begin : begin + BATCH])
            events = [event for event in decoded if not isinstance(event, Rejected)]
            shard.advance(max(event.time for event in events))
            # Everything is in memory already.
            shard.provide(dict.fromkeys(shard.missing(events)))
            shard.provide_customers(dict.fromkeys(shard.missing_customers(events)))
            for event in events:
                registry.update(await tables.admit(shard.undecided(event), registry.bounds()))
                shard.step(event)
            commit = Commit(
                shard=shard_id, nonce=claim.nonce, epoch=claim.epoch, batch=secrets.token_bytes(16), start=begin or None,
                end=min(begin + BATCH, len(values)), source=b"", now=max(event.time for event in events), changes=shard.take(),
            )  # fmt: skip
            assert (await tables.commit(commit)).value == "applied"
    figures = Figures(ShardFigures(decode_summary(each.summary, each.recent)) for each in await tables.summaries())
    print(json.dumps({journey: figures.select(TOTAL, journey).plain() for journey in JOURNEYS}))
    await tables.close()


asyncio.run(main(*sys.argv[1:]))
