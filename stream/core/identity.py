"""Identities of events, short enough to remember many of them.

Rules: an identity is the hash of what names an event within its entity; what is remembered is their concatenation, oldest first.
"""

from hashlib import blake2b

SIZE = 8
REMEMBERED = 1000
"""Identities that an entity remembers: those that arrived last."""


def identity(*parts: str) -> bytes:
    """`SIZE` bytes for a tuple of strings."""
    return blake2b("\0".join(parts).encode(), digest_size=SIZE).digest()


def remember(seen: bytes, mark: bytes) -> bytes:
    """`seen` with one identity more."""
    return (seen + mark)[-REMEMBERED * SIZE :]


def remembers(seen: bytes, mark: bytes) -> bool:
    """Whether an identity is among those seen, and not only bytes of two neighbours."""
    at = seen.find(mark)
    while at > 0 and at % SIZE:
        at = seen.find(mark, at + 1)
    return at >= 0
