"""How to reach Kafka: the settings of every client, in one place.

Rules: a password over an unencrypted connection only where `SASL_PLAINTEXT` was asked for by name. Faust derives the protocol
from the presence of a TLS context instead, so its credentials are made here from the same decision.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from faust.auth import Credentials, SASLCredentials, SSLCredentials

from stream.settings import variable

if TYPE_CHECKING:
    from stream.settings import Settings

_PATIENCE_MS = 5000


def client_options(settings: Settings) -> dict[str, Any]:
    """Options of an aiokafka client: `security_protocol`, `ssl_context`, `sasl_…`.

    Raises:
        OSError: a file that the settings name cannot be read, or holds no certificate or key; says which setting.
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


async def refusal(settings: Settings) -> str:
    """Why Kafka cannot be reached, and what to do: the client keeps the reason for its log. Never raises, and never tells a secret."""
    options = client_options(settings)
    reasons = []
    servers = settings.kafka_bootstrap_servers.split(",")
    for server in servers:
        host, port = server, "9092"
        if not server.endswith("]") and ":" in server:
            host, _, port = server.rpartition(":")
        try:
            connection = await create_conn(
                host.strip("[]"), int(port), client_id="upsell-stream", request_timeout_ms=_PATIENCE_MS, **options
            )
        except (OSError, KafkaError) as error:
            reasons.append(_explained(error, settings))
        else:
            connection.close()
            reasons.append("it answers now")
    if len(servers) == 1:
        return reasons[0]
    return "; ".join(f"{server}: {reason}" for server, reason in zip(servers, reasons, strict=True))


def _explained(error: Exception, settings: Settings) -> str:
    protocol = settings.kafka_security_protocol
    known = f"{variable('kafka_security_protocol')} is {protocol}"
    if isinstance(error, SaslAuthenticationFailed | AuthenticationFailedError):
        return (
            f"it refuses the user {settings.kafka_sasl_username!r} or the password; are {variable('kafka_sasl_username')}, "
            f"{variable('kafka_sasl_password_file')} and {variable('kafka_sasl_mechanism')} right? ({error})"
        )
    if isinstance(error, UnsupportedSaslMechanismError | IllegalSaslStateError):
        return f"it does not take {settings.kafka_sasl_mechanism}; set {variable('kafka_sasl_mechanism')} ({error})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message}); set {variable('kafka_ssl_ca_file')} to the certificates of who "
            "signs it, and name Kafka as its certificate does"
        )
    if isinstance(error, ssl.SSLError):
        return f"no TLS is spoken there, or another one; {known}, is that right? ({error.reason})"
    if isinstance(error, TimeoutError):
        return f"no answer; is it running, and is {variable('kafka_bootstrap_servers')} right? {known}"
    if isinstance(error, KafkaError | ConnectionResetError | BrokenPipeError):
        certificate = (
            f", and does it ask for a certificate ({variable('kafka_ssl_cert_file')})" if "SSL" in protocol else ""
        )
        return f"it ends the connection; {known}, is that right{certificate}? ({error})"
    return f"it cannot be reached; is it running, and is {variable('kafka_bootstrap_servers')} right? ({error})"


def _context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_ca_file)
    except OSError as error:
        raise OSError(
            f"{variable('kafka_ssl_ca_file')}: {settings.kafka_ssl_ca_file} cannot be used; certificates (PEM) are wanted there ({error})"
        ) from error
    if (certificate := settings.kafka_ssl_cert_file) is not None:
        key = settings.kafka_ssl_key_file
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise OSError(
                f"{variable('kafka_ssl_cert_file')}, {variable('kafka_ssl_key_file')}: {certificate}{f' and {key}' if key else ''} cannot be "
                f"used; a certificate and its key (PEM) are wanted there ({error})"
            ) from error
    return context
