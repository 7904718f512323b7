"""The oracle: every figure of the product, computed a second time.

Rules of this package: it is written from the specification of the events and from docs/reference/semantics.md alone, imports
nothing of the product, and is plain and slow on purpose. Where it and the product differ, one of them is wrong.

`records` parses, `carts` and `plans` judge, `checkout` and `subscription` apply the events of one entity, `oracle` reads a file
and counts. `past`, `offers` and `drivers` count by the hour and the day. `generate` has the Hypothesis strategies for streams of events.
"""
