"""What `check` reports: findings, and those about the settings."""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from stream.settings import Settings, variable

Level = Literal["ok", "warning", "error"]
"""error: lost data, or a worker that cannot run. warning: may be intended, or could not be looked at."""


class Finding(NamedTuple):
    """One line of the report."""

    level: Level
    about: str
    text: str
    """What was found; for a warning or an error also what to do."""


def about_settings(settings: Settings) -> Iterator[Finding]:
    """Settings that are allowed but rarely intended."""
    yield Finding("ok", "settings", f"application {settings.app_id}, windows {', '.join(settings.windows)}")
    if "customer_hash_key" not in settings.model_fields_set and settings.customer_hash_key_file is None:
        yield Finding(
            "warning",
            "settings",
            "customer ids are hashed with the default key, which is public; "
            f"set {variable('customer_hash_key_file')} to a file with a key of your own",
        )
    if settings.kafka_security_protocol == "SASL_PLAINTEXT":
        yield Finding(
            "warning", "settings", "SASL_PLAINTEXT sends the Kafka password or token unencrypted; use SASL_SSL"
        )
