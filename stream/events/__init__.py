"""Input events, outcomes and dead letters: the contract with producers and consumers.

Rules of this package: each thing is defined once. The pydantic models (`models`) define input events; the core's structs (`stream.core.result`)
and `outcome` define outcomes. Fast decoding and the JSON Schemas are made from them; the examples of docs/reference/events.md are tested against them.
Bytes from outside never raise: a record becomes an event or a `Rejected` that says why.
"""
