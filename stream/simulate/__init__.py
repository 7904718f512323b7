"""Events to try the product with: a simulated shop (`shop`), and real baskets (`completejourney`).

Rules of the room: generators are pure. Time enters as an argument, randomness as a seed, and nothing here reaches for Kafka, Redis or a clock.
What the simulated shop plants it knows from having done it (`truth`); it never asks the core, which is judged by it.
"""
