"""The one settings class: TOML file, environment (`UPSELL_*`), options, in that order of rising precedence.

Rules: the environment is read only here. A secret comes from the environment or from a file named there, and is never printed.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    RedisDsn,
    SecretStr,
    UrlConstraints,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from stream.core.config import DAY, DEFAULT_WINDOWS, MICROSECONDS, CoreConfig, Window
from stream.core.registry import Registry

Kpi = Literal[
    "upsell_cross_sell_rate",
    "upsell_ratio",
    "upsell_revenue_ratio",
    "upsell_revenue_share",
    "cross_sell_rate",
    "cross_sell_ratio",
    "customer_upsell_rate",
    "customer_cross_sell_rate",
    "customer_any_rate",
]


def _listed(value: object) -> object:
    """`a,b, c` as environment variables carry lists."""
    if isinstance(value, str):
        return tuple(part for part in (part.strip() for part in value.split(",")) if part)
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
_TOPIC = r"^[A-Za-z0-9._-]{1,249}$"


class Target(BaseModel):
    """A rate below which somebody is to be paged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kpi: Kpi
    journey: Literal["checkout", "subscription"]
    segment: str = "all"
    ratio: float = Field(ge=0, le=100, allow_inf_nan=False)

    @model_validator(mode="after")
    def _range(self) -> "Target":
        if self.kpi != "upsell_revenue_ratio" and self.ratio > 1:
            raise ValueError(f"a target of {self.kpi} lies between 0 and 1, not {self.ratio}")
        return self


class Settings(BaseSettings):
    """Every setting of the product, with its default."""

    model_config = SettingsConfigDict(env_prefix="UPSELL_", extra="forbid", frozen=True, validate_default=True)

    app_id: str = Field("upsell-stream", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    """Consumer group and key space: two applications with different ids do not see each other."""
    kafka_bootstrap_servers: str = Field("localhost:9092", min_length=1)
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """SASL_PLAINTEXT sends the password in the clear; it is used only when asked for by this name."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_sasl_password_file: Path | None = None
    kafka_ssl_ca_file: Path | None = None
    kafka_ssl_cert_file: Path | None = None
    kafka_ssl_key_file: Path | None = None
    kafka_session_timeout: float = Field(60.0, ge=1, le=1800)
    """Seconds after which a silent worker's partitions go to others."""
    kafka_group_instance_id: str | None = None
    """Static membership: a restart within the session timeout moves no partition."""
    kafka_create_topics: bool = True
    """Create missing topics at the start, with `kafka_partitions` and `kafka_replication_factor`."""
    kafka_partitions: int = Field(4, ge=1, le=10_000)
    kafka_replication_factor: int = Field(-1, ge=-1, le=32)
    """-1: the broker's default."""
    outcome_retention_days: int = Field(7, ge=1, le=3650)

    checkout_topic: str = Field("checkout-events", pattern=_TOPIC)
    subscription_topic: str = Field("subscription-events", pattern=_TOPIC)
    outcome_topic: str = Field("upsell-outcomes", pattern=_TOPIC)
    dead_letter_topic: str = Field("upsell-dead-letters", pattern=_TOPIC)

    redis_url: Annotated[RedisDsn, UrlConstraints(allowed_schemes=["redis", "rediss", "unix"])] = RedisDsn(
        "redis://localhost:6379/0"
    )
    redis_password_file: Path | None = None
    redis_ca_file: Path | None = None
    redis_prefix: str = Field("upsell:", pattern=r"^[A-Za-z0-9._:-]{1,100}$")
    redis_timeout: float = Field(10.0, gt=0, le=600)
    """Seconds to wait for an answer before the same call is made again."""

    http_host: str = "127.0.0.1"
    http_port: int = Field(8080, ge=0, le=65535)
    """0: any free port, printed at the start."""

    windows: Names = tuple(window.name for window in DEFAULT_WINDOWS)
    checkout_retention_days: float = Field(30, gt=0, le=3650)
    subscription_retention_days: float = Field(400, gt=0, le=3650)
    lateness_hours: float = Field(24, ge=0, le=24 * 366)
    """How much older than its newest event an event of a subscription may be."""
    future_minutes: float = Field(10, ge=0, le=24 * 60)
    """How far an event may lie ahead of its record's Kafka time stamp."""
    channels: Names = ()
    segments: Names = ()
    categories: Names = ()
    currencies: Names = ()
    customer_hash_key: SecretStr = SecretStr("upsell-stream")
    """Key of the hash under which customers are counted in Redis. Changing it starts the count of customers anew."""
    targets: tuple[Target, ...] = ()

    batch_records: int = Field(1000, ge=1, le=100_000)
    """Records of one partition in one commit, at most."""
    cached_entities: int = Field(50_000, ge=1000)
    """Entities, and as many customers, that a worker keeps in memory, over all its shards."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("windows")
    @classmethod
    def _windows(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not 1 <= len(names) <= 8:
            raise ValueError(f"{len(names)} windows; 1 to 8 are allowed")
        lengths = [Window.parse(name).length for name in names]
        if len(set(lengths)) < len(lengths):
            raise ValueError("two windows are equally long")
        return tuple(name for _, name in sorted(zip(lengths, names, strict=True)))

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        topics = [self.checkout_topic, self.subscription_topic, self.outcome_topic, self.dead_letter_topic]
        if len(set(topics)) < len(topics):
            raise ValueError("checkout_topic, subscription_topic, outcome_topic and dead_letter_topic must differ")
        if self.kafka_security_protocol.startswith("SASL") and self.kafka_sasl_username is None:
            raise ValueError(f"kafka_security_protocol {self.kafka_security_protocol} needs kafka_sasl_username")
        if self.kafka_sasl_username is not None and not self.kafka_security_protocol.startswith("SASL"):
            raise ValueError(
                "kafka_sasl_username is set but kafka_security_protocol is "
                f"{self.kafka_security_protocol}; set SASL_SSL (or SASL_PLAINTEXT, which sends the password in the clear)"
            )
        self.registry()
        for code in self.currencies:
            if re.fullmatch("[A-Z]{3}", code) is None:
                raise ValueError(f"currencies: {code!r} is no ISO 4217 code")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - a name that pydantic-settings fixes
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, then environment, then file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    def core(self) -> CoreConfig:
        """What the core must know."""
        return CoreConfig(
            windows=tuple(Window.parse(name) for name in self.windows),
            checkout_retention=round(self.checkout_retention_days * DAY),
            subscription_retention=round(self.subscription_retention_days * DAY),
            lateness=round(self.lateness_hours * DAY / 24),
            customer_key=self.customer_hash_key.get_secret_value().encode()[:64],
        )

    @property
    def future(self) -> int:
        """`future_minutes` in microseconds."""
        return round(self.future_minutes * 60 * MICROSECONDS)

    def registry(self) -> Registry:
        """A registry that knows the lists of the settings."""
        return Registry(
            {
                "channel": self.channels,
                "segment": self.segments,
                "category": self.categories,
                "currency": self.currencies,
            }
        )

    def password(self, name: Literal["kafka_sasl_password", "redis_password"]) -> str | None:
        """A secret from its file if one is named, else from the environment."""
        file: Path | None = getattr(self, f"{name}_file")
        if file is not None:
            return file.read_text(encoding="utf-8").strip()
        secret: Any = getattr(self, name, None)
        return secret.get_secret_value() if isinstance(secret, SecretStr) else None
