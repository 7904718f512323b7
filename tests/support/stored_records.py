"""Entities as a shard reads them, whichever layout stored them."""

from stream.core.entities.checkout import Checkout
from stream.core.entities.subscription import Subscription
from stream.core.shard.cache import Cache
from stream.core.shard.upgrade import upgrade_checkout, upgrade_subscription


def decode_checkout(data):
    return _decode(Cache(Checkout, upgrade_checkout), data)


def decode_subscription(data):
    return _decode(Cache(Subscription, upgrade_subscription), data)


def _decode(cache, data):
    cache.load(b"key", data)
    return cache.peek(b"key")
