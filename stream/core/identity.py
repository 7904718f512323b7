"""Identities of events, short enough to remember many of them.

Rules: an identity is the hash of what names an event within its entity. An entity remembers the concatenation of its identities, oldest first. Ids and
sources of events have no U+0000, so no two tuples are joined to the same string: at most the first part may have one.
"""

from hashlib import blake2b

SIZE = 8
REMEMBERED = 1000
"""Identities that an entity remembers: those that arrived last."""


def identity(source: str, *parts: str) -> bytes:
    """`SIZE` bytes for a tuple of strings."""
    name = f"{source}\0{parts[0]}" if len(parts) == 1 else "\0".join((source, *parts))
    return blake2b(name.encode(), digest_size=SIZE).digest()


def remember(seen: bytes, event_hash: bytes) -> bytes:
    """`seen` with one more identity; the oldest goes where there are too many."""
    seen += event_hash
    return seen if len(seen) <= REMEMBERED * SIZE else seen[-REMEMBERED * SIZE :]


def remembers(seen: bytes, event_hash: bytes) -> bool:
    """Whether an identity is among those seen: at a whole place, not across two neighbours."""
    at = seen.find(event_hash)
    while at > 0 and at % SIZE:
        at = seen.find(event_hash, at + 1)
    return at >= 0
