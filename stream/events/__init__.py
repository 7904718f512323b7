"""Events in, outcomes and dead letters out: the contract with producers and consumers.

Rules of this room: the pydantic models (`models`, `outcome`) are the one source of truth; whatever else reads or describes events (the
hot path's structs, the JSON Schemas, the examples of docs/reference/events.md) is made from them or tested against them. Bytes are never trusted and never
raise: a record is an event or a `Rejected` that says why.
"""
