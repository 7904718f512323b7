"""The pure core: events in, verdicts and counts out.

Rules of this room: no clock, no randomness, no input or output; time enters as an argument (microseconds since the epoch, UTC).
A shard is a fold over its events: `Shard.step(event)` changes the shard's memory and returns what must be told to the
world as data; `Shard.take()` hands over everything that must be written, as bytes, to be committed together with the source offset.
"""
