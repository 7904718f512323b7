"""Judged transactions as the core returns them."""

from stream.core.result import Judged, JudgedLine, Reversed, Version


def line(kind, product_id, sku=None):
    return JudgedLine(kind, "addition", product_id, sku, None, None, "offer", "0.00")


LINES = [
    line("upsell", "bag"),
    line("cross_sell", None, "<b>belt</b>"),
    line("cross_sell", "bag"),
    line("downsell", "hat"),
]


def version(transaction="a", *, withdrawn=False, kinds=(), lines=(), reversed_kinds=(), number=1, **parts):
    judged = {
        "event_id": "event-1",
        "subject": "checkout/1",
        "time": "2026-01-02T03:04:05Z",
        "journey": "checkout",
        "customer": "ada",
        "channel": "web",
        "segment": "new",
        "currency": "EUR",
        "intent": "known",
        "initial": "0.00",
        "final": "0.00",
        "upsell": "0.00",
        "cross_sell": "0.00",
        "downsell": "0.00",
        "restored": "0.00",
        "reversed": Reversed(False, list(reversed_kinds), {}),
        "version": number,
        "kinds": list(kinds),
        "lines": list(lines),
    }
    return Version(transaction, "checkout/1:hash:1", Judged(**(judged | parts)), True, withdrawn)
