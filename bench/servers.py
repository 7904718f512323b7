"""The servers that are measured with: Apache Kafka and Redis on loopback, as the tests start them; Kafka with
the compiler and collector that it has in production."""

from support.kafka_server import KafkaServer
from support.redis_server import RedisServer


class _Kafka(KafkaServer):
    def _java(self) -> list[str]:
        quick_to_start = {"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"}
        return [argument for argument in super()._java() if argument not in quick_to_start]


def kafka() -> KafkaServer:
    """A broker for a block."""
    return _Kafka({"log.flush.interval.messages": str(2**62)}, heap="1g")


def redis() -> RedisServer:
    """A Redis that appends to its file and syncs it every second."""
    return RedisServer("--appendfsync", "everysec", append_only=True)
