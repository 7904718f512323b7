"""Events to try the product with: a simulated shop (`shop`) and real baskets (`completejourney`).

Rules of the room: generators are pure. Time is an argument, randomness comes from a seed, and nothing here uses Kafka, Redis or a clock.
The shop knows the truth because it planted it (`truth`). It never asks the core, which is tested against it.
"""
