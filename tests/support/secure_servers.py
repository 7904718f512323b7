"""Kafka and Redis with TLS, users and passwords. Each also has a plain listener, for the tests' own administration."""

import base64
import json
import secrets
import time
from pathlib import Path

from redis import Redis
from support.certificates import Authority
from support.kafka_server import KafkaServer
from support.redis_server import RedisServer

from stream.embedded.server import HOST, free_port

USER = "upsell"


SESSION_MS = 4000
"""How long Kafka lets a client use one token, if it is valid for longer."""


def token(seconds: float = 3600.0) -> str:
    """A token for `USER` that is valid for so long, as Kafka takes it without any signature (RFC 7515, unsecured)."""
    now = time.time()
    parts = {"alg": "none"}, {"sub": USER, "iat": now - 7200, "exp": now + seconds, "jti": secrets.token_hex(16)}
    return "".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() + "." for part in parts)


class SecureKafka(KafkaServer):
    """Kafka with one listener each for users (`SASL_SSL`, SCRAM-SHA-512 and PLAIN), tokens (`SASL_SSL`, OAUTHBEARER) and client certificates (`SSL`)."""

    def __init__(self, authority: Authority) -> None:
        super().__init__()
        self._authority = authority
        self._sasl_port, self._mutual_port, self._token_port = free_port(), free_port(), free_port()
        self.password = secrets.token_hex(16)

    @property
    def for_users(self) -> str:
        return f"{HOST}:{self._sasl_port}"

    @property
    def for_certificates(self) -> str:
        return f"{HOST}:{self._mutual_port}"

    @property
    def for_tokens(self) -> str:
        return f"{HOST}:{self._token_port}"

    def _properties(self) -> dict[str, str]:
        properties = super()._properties()
        certificate, key = self._authority.issue("kafka")
        both = self.directory / "kafka.pem"
        both.write_text(key.read_text() + certificate.read_text())
        secure = f",USERS://{self.for_users},CERTIFICATES://{self.for_certificates},TOKENS://{self.for_tokens}"
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
        oauth = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
        return properties | {
            "listeners": properties["listeners"] + secure,
            "advertised.listeners": properties["advertised.listeners"] + secure,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,USERS:SASL_SSL,CERTIFICATES:SSL,TOKENS:SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(both),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._authority.certificate),
            "listener.name.certificates.ssl.client.auth": "required",
            "listener.name.users.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            "listener.name.users.scram-sha-512.sasl.jaas.config": f"{scram} required;",
            "listener.name.users.plain.sasl.jaas.config": f'{plain} required user_{USER}="{self.password}";',
            "listener.name.tokens.sasl.enabled.mechanisms": "OAUTHBEARER",
            "listener.name.tokens.oauthbearer.sasl.jaas.config": f'{oauth} required unsecuredLoginStringClaim_sub="broker";',
            "listener.name.tokens.oauthbearer.connections.max.reauth.ms": str(SESSION_MS),
        }

    def _format(self, properties: Path) -> None:
        super()._format(properties, f"--add-scram=SCRAM-SHA-512=[name={USER},password={self.password}]")


class SecureRedis(RedisServer):
    """Redis with a TLS listener, which may require client certificates (`mutual`). `allow` creates its user."""

    def __init__(self, authority: Authority, *, mutual: bool = False) -> None:
        certificate, key = authority.issue("redis")
        self.tls_port = free_port()
        super().__init__(
            "--tls-port", str(self.tls_port),
            "--tls-cert-file", str(certificate),
            "--tls-key-file", str(key),
            "--tls-ca-cert-file", str(authority.certificate),
            "--tls-auth-clients", "yes" if mutual else "no",
        )  # fmt: skip
        self.password = secrets.token_hex(16)

    @property
    def tls_url(self) -> str:
        return f"rediss://{USER}@{HOST}:{self.tls_port}/0"

    def allow(self, *rules: str) -> None:
        """Create the user, or replace its rules by exactly these."""
        with Redis.from_url(self.url, decode_responses=True) as admin:
            admin.execute_command("ACL", "SETUSER", USER, "reset", "on", f">{self.password}", *rules)

    @property
    def denied(self) -> list[str]:
        """What Redis has refused since the last call."""
        with Redis.from_url(self.url, decode_responses=True) as admin:
            entries = admin.execute_command("ACL", "LOG")
            admin.execute_command("ACL", "LOG", "RESET")
        return [f"{entry['reason']} {entry['object']}" for entry in entries]
