"""The pure core: events in, verdicts and counts out.

Rules of this room: no clock, no randomness, no input or output. Time enters as an argument (microseconds since the epoch, UTC).

    event result money identity config labels    the words of the core
    judging/      the verdicts: a cart, the items of a subscription
    entities/     a checkout, a subscription, a customer; how a transaction is assessed
    counting/     counts, rolling windows, figures, KPIs
    shard/        the fold over the events of one partition: preload, apply, drain
    offline       the whole application in one process

Imports go upwards in this list only: a file uses what is above it.
"""
