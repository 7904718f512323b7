"""The servers for measurements: Apache Kafka and Redis on loopback, started as in the tests, but Kafka with the JVM's compiler and garbage collector of
production."""

from support.kafka_server import KafkaServer
from support.redis_server import RedisServer


class _Kafka(KafkaServer):
    def _java(self) -> list[str]:
        quick_to_start = {"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}
        return [argument for argument in super()._java() if argument not in quick_to_start]


def kafka() -> KafkaServer:
    """A broker; use it as a context manager."""
    return _Kafka({"log.flush.interval.messages": str(2**62)}, heap="1g")


def redis() -> RedisServer:
    """A Redis with an append-only file that is synced every second."""
    return RedisServer("--appendfsync", "everysec", append_only=True)
