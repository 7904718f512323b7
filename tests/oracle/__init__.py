"""The oracle: every figure of the product, computed a second time.

Rules of this room: it is written from the specification of the events and from docs/reference/semantics.md alone, imports
nothing of the product, and is plain and slow on purpose. Where it and the product differ, one of them is wrong.
"""
