"""Shards with a past, in any tables: what happened in which hour is given, and a worker's shard stores it."""

from decimal import Decimal

from stream.core.config import DAY, STEP, CoreConfig
from stream.core.event import CheckoutEvent, CheckoutType, Line, OfferEvent
from stream.core.labels import LabelRegistry
from stream.core.shard.shard import Shard
from stream.core.shard.write_set import ShardId
from stream.tables.interface import Commit, CommitResult

HOUR = DAY // 24
NOW = 1_772_370_000_000_000 + 20 * 60 * 1_000_000
"""20 minutes after an hour: 2026-03-01T13:20:00Z."""
CHECKOUTS = ShardId("checkout-events", 0)
PRICE = Decimal(10)


def checkouts(time, opened, upsold=0, plain=0, *, channel="web", segment="new", currency="EUR", name=""):
    """Checkouts that start at a time: so many, of which these are bought a minute later with an upsell of 10.00, or as they were (10.00)."""
    events = []
    for number in range(opened):
        entity = f"{name}{channel}-{segment}-{currency}-{time}-{number}"
        kinds = [(CheckoutType.STARTED, 1)]
        if number < upsold + plain:
            kinds.append((CheckoutType.COMPLETED, 2 if number < upsold else 1))
        events += [
            CheckoutEvent(
                type=kind,
                source="shop",
                id=kind.name,
                time=time + (kind is CheckoutType.COMPLETED) * 60_000_000,
                version=0,
                entity=entity,
                customer=entity,
                currency=currency,
                channel=channel,
                segment=segment,
                products=(Line("A", None, "a", "things", units, PRICE),),
            )
            for kind, units in kinds
        ]
    return events


def offered(time, shown, accepted=0, declined=0, *, offer="banner", slot="cart", wanted="A", extra="X", name=""):
    """Checkouts with a product, in which an offer is shown; these are bought a minute later, with another product (10.00) because of the offer."""
    events = []
    for number in range(shown):
        entity = f"{name}{offer}-{slot}-{wanted}-{time}-{number}"
        lines = [Line("", None, wanted, "things", 1, PRICE), Line("", None, extra, "more", 1, PRICE, offer_id=offer)]

        def checkout(kind, after, products, entity=entity):
            at = time + after * 1_000_000
            return CheckoutEvent(kind, "shop", kind.name, at, 0, entity, entity, "EUR", products=tuple(products))

        def about(was_shown, after, entity=entity):
            at = time + after * 1_000_000
            return OfferEvent("checkout", entity, was_shown, offer, slot, at, 0, f"{was_shown}", "shop")

        events += [checkout(CheckoutType.STARTED, 0, lines[:1]), about(True, 1)]
        if number < accepted:
            events.append(checkout(CheckoutType.COMPLETED, 60, lines))
        elif number < accepted + declined:
            events.append(about(False, 2))
    return events


async def commit(tables, events, now=NOW, *, shard=CHECKOUTS, journey="checkout", config=None, settle=True):
    """Apply events in one batch, as a worker does; `settle`: then tick, so that what waits goes to the records of the history."""
    nonce = b"nonce of %d" % shard.partition
    claim = await tables.claim(shard, nonce)
    labels = LabelRegistry()
    core = Shard(shard, journey, config or CoreConfig(), labels, claim.stored, 10**9)
    offset = claim.offset
    for number, batch in enumerate((events, ()) if settle else (events,)):
        core.advance(now + number * STEP)
        preload = core.preload(batch)
        while (request := preload.request) is not None:
            labels.update(await tables.register_labels(request.labels, labels.bounds()))
            loaded = await tables.load(shard, request.entities, request.customers)
            preload.receive(loaded.entities, loaded.customers, await tables.load_history(shard, request.history))
        core.apply(preload.events)
        end = (offset or 0) + len(batch)
        made = Commit(
            shard, nonce, claim.epoch, b"%d/%d" % (end, number), offset, end, b"", now + number * STEP, core.drain()
        )
        assert await tables.commit(made) is CommitResult.APPLIED
        offset = end
