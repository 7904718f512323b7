"""How to reach Kafka: the settings of every client, in one place.

Rules: a password over an unencrypted connection only where `SASL_PLAINTEXT` was asked for by name. Faust derives the protocol
from the presence of a TLS context instead, so its credentials are made here from the same decision.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from faust.auth import Credentials, SASLCredentials, SSLCredentials

if TYPE_CHECKING:
    from stream.settings import Settings


def client_options(settings: Settings) -> dict[str, Any]:
    """Options of an aiokafka client: `security_protocol`, `ssl_context`, `sasl_…`.

    Raises:
        OSError: a file that the settings name cannot be read (`ssl.SSLError` where it holds no certificate or key).
    """
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        options["sasl_plain_username"] = settings.kafka_sasl_username
        options["sasl_plain_password"] = settings.password("kafka_sasl_password")
    return options


def faust_credentials(settings: Settings) -> Credentials | None:
    """The same for Faust's consumer; None for a plain connection. Raises as `client_options`."""
    options = client_options(settings)
    context = options.get("ssl_context")
    if "sasl_mechanism" in options:
        return SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)


def _context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.kafka_ssl_ca_file)
    if settings.kafka_ssl_cert_file is not None:
        context.load_cert_chain(settings.kafka_ssl_cert_file, settings.kafka_ssl_key_file)
    return context
