"""What entities contribute to the counts."""

from stream.core.entities.assessment import NO_LOSS, Amounts, Sale

SECOND = 1_000_000


def sale(time=7 * SECOND, **parts):
    """A counted transaction."""
    given = {
        "key": b"k", "member": b"m", "time": time, "channel": "web", "segment": "new", "currency": "EUR", "intent": 0,
        "kinds": 0b1001, "amounts": Amounts(initial=100, upsell=20, final=120), "categories": (("shoes", 0b1001),), "loss": NO_LOSS,
    }  # fmt: skip
    return Sale(**{**given, **parts})
