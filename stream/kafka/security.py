"""How to connect to Kafka: the security options of every client, in one place.

Rules: a password goes over an unencrypted connection only if the setting says `SASL_PLAINTEXT`. Faust derives the protocol from whether there is a TLS
context, so its credentials are made here from the same options.
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
from faust.auth import Credentials, OAuthCredentials, SASLCredentials, SSLCredentials

from stream.kafka.oauth import TokenUnavailableError, token_source
from stream.settings import variable

if TYPE_CHECKING:
    from stream.settings import Settings

CLIENT_ID = "upsell-stream"
"""Name of every client of this product in the brokers' logs and quotas."""
_TIMEOUT_MS = 5000


def client_options(settings: Settings) -> dict[str, Any]:
    """Options of an aiokafka client: `security_protocol`, `ssl_context`, `sasl_…`.

    Raises:
        OSError: a file that the settings name cannot be read, or has no certificate or key; the message names the setting.
    """
    options: dict[str, Any] = {"security_protocol": settings.kafka_security_protocol}
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = _context(settings)
    if settings.kafka_security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.kafka_sasl_mechanism
        if settings.kafka_sasl_mechanism == "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = token_source(settings)
        else:
            options["sasl_plain_username"] = settings.kafka_sasl_username
            options["sasl_plain_password"] = settings.password("kafka_sasl_password")
    return options


def faust_credentials(settings: Settings) -> Credentials | None:
    """The same for Faust's consumer; None for a plain connection.

    Raises:
        OSError: as `client_options`.
    """
    options = client_options(settings)
    context = options.get("ssl_context")
    if "sasl_oauth_token_provider" in options:
        return OAuthCredentials(oauth_cb=options["sasl_oauth_token_provider"], ssl_context=context)
    if "sasl_mechanism" in options:
        return SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            mechanism=options["sasl_mechanism"],
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)


async def refusal(settings: Settings) -> str:
    """Why Kafka cannot be reached, and what to do. aiokafka only logs the reason, so each server is tried here. Never raises; the text has no secret."""
    options = client_options(settings)
    reasons = []
    servers = settings.kafka_bootstrap_servers.split(",")
    for server in servers:
        host, port = server, "9092"
        if not server.endswith("]") and ":" in server:
            host, _, port = server.rpartition(":")
        try:
            connection = await create_conn(
                host.strip("[]"), int(port), client_id=CLIENT_ID, request_timeout_ms=_TIMEOUT_MS, **options
            )
        except (OSError, KafkaError) as error:
            reasons.append(_explained(error, settings))
        else:
            connection.close()
            reasons.append("it can be reached now")
    if len(servers) == 1:
        return reasons[0]
    return "; ".join(f"{server}: {reason}" for server, reason in zip(servers, reasons, strict=True))


def _explained(error: Exception, settings: Settings) -> str:
    if isinstance(error, TokenUnavailableError):
        return str(error)
    if isinstance(error, SaslAuthenticationFailed) and settings.kafka_sasl_mechanism == "OAUTHBEARER":
        setting = "kafka_oauth_token_file" if settings.kafka_oauth_token_file else "kafka_oauth_token_command"
        return f"it refuses the token; check that {variable(setting)} gives one that is valid there and has not expired ({error})"
    protocol = settings.kafka_security_protocol
    known = f"{variable('kafka_security_protocol')} is {protocol}"
    if isinstance(error, SaslAuthenticationFailed | AuthenticationFailedError):
        return (
            f"it refuses the user {settings.kafka_sasl_username!r} or the password; check {variable('kafka_sasl_username')}, "
            f"{variable('kafka_sasl_password_file')} and {variable('kafka_sasl_mechanism')} ({error})"
        )
    if isinstance(error, UnsupportedSaslMechanismError | IllegalSaslStateError):
        return f"it does not accept the mechanism {settings.kafka_sasl_mechanism}; set {variable('kafka_sasl_mechanism')} ({error})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message}); set {variable('kafka_ssl_ca_file')} to the certificates of the "
            "authority that signed it, and use the host name that it was issued for"
        )
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed: the port does not speak TLS, or not this version; {known}, is that right? ({error.reason})"
    if isinstance(error, TimeoutError):
        return f"it does not answer; check that it runs, and {variable('kafka_bootstrap_servers')}; {known}"
    if isinstance(error, KafkaError | ConnectionResetError | BrokenPipeError):
        certificate = (
            f", and does it require a client certificate ({variable('kafka_ssl_cert_file')})"
            if "SSL" in protocol
            else ""
        )
        return f"it closes the connection; {known}, is that right{certificate}? ({error})"
    return f"it cannot be reached; check that it runs, and {variable('kafka_bootstrap_servers')} ({error})"


def _context(settings: Settings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_ca_file)
    except OSError as error:
        raise OSError(
            f"{variable('kafka_ssl_ca_file')}: {settings.kafka_ssl_ca_file} cannot be used; it must have certificates in PEM format ({error})"
        ) from error
    if (certificate := settings.kafka_ssl_cert_file) is not None:
        key = settings.kafka_ssl_key_file
        try:
            context.load_cert_chain(certificate, key)
        except OSError as error:
            raise OSError(
                f"{variable('kafka_ssl_cert_file')}, {variable('kafka_ssl_key_file')}: {certificate}{f' and {key}' if key else ''} cannot be "
                f"used; there must be a certificate and its key in PEM format ({error})"
            ) from error
    return context
