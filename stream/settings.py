"""The settings. Options override environment variables (`UPSELL_*`), which override the TOML file.

Rules: the environment is read only here. A secret comes from the environment or from a file of its own, never from the TOML file or an option, and
is never printed. An error names the setting as the user wrote it: option, variable or key of the file.
"""

import difflib
import errno
import json
import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import parse_qs, unquote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    RedisDsn,
    SecretStr,
    UrlConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from stream.core.config import DAY, DEFAULT_WINDOWS, MICROSECONDS, CoreConfig, Window
from stream.core.counting.kpi import KPIS
from stream.core.event import Journey
from stream.core.labels import OTHER, UNKNOWN, LabelName, LabelRegistry
from stream.core.money import exponent

_KPIS: Final = {kpi.name: kpi for kpi in KPIS if kpi.has_target}


def _listed(value: object) -> object:
    """A list in an environment variable: `a,b, c`."""
    if isinstance(value, str):
        return tuple(part for part in (part.strip() for part in value.split(",")) if part)
    return value


def _decoded(value: object) -> object:
    """A table in an environment variable or an option: JSON."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON ({error})") from None
    return value


def _kpi(name: str) -> str:
    if name not in _KPIS:
        raise ValueError(f"should be one of {', '.join(_KPIS)}")
    return name


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"not a command ({error})") from None
    if not words:
        raise ValueError("there is no command")
    return text


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
_TOPIC = r"^[A-Za-z0-9._-]{1,249}$"
_TOPIC_OR_NONE = r"^[A-Za-z0-9._-]{0,249}$"
_MAY_BE_EMPTY = ("checkout_topic", "subscription_topic")
"""Settings for which an empty environment variable is a value. Of all others it counts as not set."""

Secret = Literal["kafka_sasl_password", "redis_password", "customer_hash_key"]
_WITH_FILES: tuple[Secret, ...] = get_args(Secret)
"""Each secret has a second setting, `…_file`."""
_SECRET_FILES = (*(f"{name}_file" for name in _WITH_FILES), "kafka_oauth_token_file", "http_token_file")
_FILES = (
    *_SECRET_FILES,
    "kafka_ssl_ca_file",
    "kafka_ssl_cert_file",
    "kafka_ssl_key_file",
    "redis_ca_file",
    "redis_cert_file",
    "redis_key_file",
)

_LABEL_OF: Mapping[str, LabelName] = {
    "channels": "channel",
    "segments": "segment",
    "categories": "category",
    "currencies": "currency",
}


class Target(BaseModel):
    """A rate below which the alerts page somebody."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kpi: Annotated[str, AfterValidator(_kpi)]
    journey: Journey
    segment: str = "all"
    ratio: float = Field(ge=0, le=100, allow_inf_nan=False)

    @model_validator(mode="after")
    def _range(self) -> "Target":
        kpi = _KPIS[self.kpi]
        if kpi.unit == "percent" and self.ratio > 1:
            raise ValueError(f"a target for {self.kpi} must be between 0 and 1, not {self.ratio}")
        if self.segment == "all" and "all" not in kpi.dimensions:
            raise ValueError(f"{self.kpi} exists per segment only; name a segment, or set a target for cross_sell_rate")
        return self


Targets = Annotated[tuple[Target, ...], NoDecode, BeforeValidator(_decoded)]


class Settings(BaseSettings):
    """All settings, with their defaults. The docstrings are the help texts of the options."""

    model_config = SettingsConfigDict(
        env_prefix="UPSELL_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    app_id: str = Field("upsell-stream", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    """Name of the consumer group, and part of every key in Redis. Applications with different ids share nothing."""
    kafka_bootstrap_servers: str = "localhost:9092"
    """Kafka brokers as `host:port`, separated by commas."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Security protocol of the connections to Kafka. SASL_PLAINTEXT sends the password unencrypted."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "SCRAM-SHA-512"
    """SASL mechanism, with SASL_SSL and SASL_PLAINTEXT."""
    kafka_sasl_username: str | None = None
    """User name at Kafka; required with SASL_SSL and SASL_PLAINTEXT, except for OAUTHBEARER."""
    kafka_sasl_password: SecretStr | None = None
    """Password of the Kafka user."""
    kafka_sasl_password_file: FilePath | None = None
    """File with the password of the Kafka user."""
    kafka_oauth_token_file: FilePath | None = None
    """File with the token for OAUTHBEARER; read for each connection."""
    kafka_oauth_token_command: Annotated[str, AfterValidator(_command)] | None = None
    """Command that prints the token for OAUTHBEARER; run for each connection, without a shell."""
    kafka_ssl_ca_file: FilePath | None = None
    """CA certificates to verify Kafka with (PEM). Default: those of the system."""
    kafka_ssl_cert_file: FilePath | None = None
    """Client certificate (PEM), if Kafka requires one."""
    kafka_ssl_key_file: FilePath | None = None
    """Key of the client certificate (PEM), if the certificate's file does not contain it."""
    kafka_session_timeout: float = Field(60.0, ge=1, le=1800)
    """Seconds without a heartbeat after which Kafka assigns a worker's partitions to other workers."""
    kafka_group_instance_id: str | None = Field(None, pattern=_TOPIC)
    """Static membership: a name of its own for each worker, which gets the same partitions again after a restart within the session timeout."""
    kafka_create_topics: bool = True
    """Create missing topics at startup, with `kafka_partitions` and `kafka_replication_factor`."""
    kafka_partitions: int = Field(4, ge=1, le=10_000)
    """Partitions of the topics that are created. This is also the largest number of workers that can share the work."""
    kafka_replication_factor: int = Field(-1, ge=-1, le=32)
    """Replication factor of the topics that are created; -1 for the broker's default."""
    outcome_retention_days: int = Field(7, ge=1, le=3650)
    """Retention of the outcome topic in days, if it is created."""
    dead_letter_retention_days: int = Field(30, ge=1, le=3650)
    """Retention of the dead letter topic in days, if it is created. Dead letters that are older cannot be redriven."""

    checkout_topic: str = Field("checkout-events", pattern=_TOPIC_OR_NONE)
    """Input topic: events of checkouts and orders. Empty: this journey is switched off."""
    subscription_topic: str = Field("subscription-events", pattern=_TOPIC_OR_NONE)
    """Input topic: events of subscriptions. Empty: this journey is switched off."""
    outcome_topic: str = Field("upsell-outcomes", pattern=_TOPIC)
    """Output topic: judged transactions."""
    dead_letter_topic: str = Field("upsell-dead-letters", pattern=_TOPIC)
    """Output topic: rejected records, with the reason."""

    redis_url: Annotated[RedisDsn, UrlConstraints(allowed_schemes=["redis", "rediss", "unix"])] = Field(
        RedisDsn("redis://localhost:6379/0"), repr=False
    )
    """URL of Redis: `redis://`, `rediss://` (TLS) or `unix://`. It may contain a password only in the environment variable."""
    redis_password: SecretStr | None = None
    """Password of the user in `redis_url`, or of the default user."""
    redis_password_file: FilePath | None = None
    """File with the password of the Redis user."""
    redis_ca_file: FilePath | None = None
    """CA certificates to verify Redis with (PEM), with `rediss://`. Default: those of the system."""
    redis_cert_file: FilePath | None = None
    """Client certificate (PEM), if Redis requires one, with `rediss://`."""
    redis_key_file: FilePath | None = None
    """Key of the client certificate for Redis (PEM), if the certificate's file does not contain it."""
    redis_prefix: str = Field("upsell:", pattern=r"^[A-Za-z0-9._:-]{1,100}$")
    """Prefix of every key in Redis."""
    redis_timeout: float = Field(10.0, gt=0, le=600)
    """Seconds to wait for an answer of Redis before the call is retried."""

    http_host: str = Field("127.0.0.1", min_length=1)
    """Address of the HTTP server (metrics, health, rates, live page); `0.0.0.0` for all interfaces."""
    http_port: int = Field(8080, ge=0, le=65535)
    """Port of the HTTP server; 0 for any free port, which is logged at startup."""
    http_token_file: FilePath | None = None
    """File with the token that the live page and the API ask for; health and metrics stay open. Default: everything is open."""

    windows: Names = tuple(window.name for window in DEFAULT_WINDOWS)
    """Lengths of the rolling windows: 1 to 8, each from 1m to 400d, in m, h or d."""
    checkout_retention_days: float = Field(30, gt=0, le=3650)
    """Days after its newest event, by event time, until a checkout is dropped from the state."""
    subscription_retention_days: float = Field(400, gt=0, le=3650)
    """Days after its newest event, by event time, until an inactive subscription is dropped from the state."""
    lateness_hours: float = Field(72, ge=0, le=24 * 366)
    """Allowed lateness in hours: how much older an event of a subscription may be than the newest event of that subscription."""
    swap_hours: float = Field(24, ge=0, le=24 * 366)
    """Hours after a cancellation in which a new plan is judged as a change of the canceled one, of the same or another subscription of the customer."""
    future_minutes: float = Field(10, ge=0, le=24 * 60)
    """Minutes that an event's time may be ahead of its record's Kafka timestamp; events further ahead are rejected."""
    require_key: bool = False
    """Reject records without a key (reason `no_key`). Without a key, the events of one checkout are in several partitions and are judged as several."""
    channels: Names = ()
    """Channels with figures of their own, at most 8; all others are counted as `other`. Default: the first ones seen."""
    segments: Names = ()
    """Segments with figures of their own, at most 16; all others are counted as `other`. Default: the first ones seen."""
    categories: Names = ()
    """Categories with figures of their own, at most 32; all others are counted as `other`. Default: the first ones seen."""
    currencies: Names = ()
    """Currencies (ISO 4217) with revenue figures, at most 4. Default: the first ones seen."""
    customer_hash_key: SecretStr = SecretStr("upsell-stream")
    """Key of the hash that replaces customer ids in Redis, at most 64 bytes. If you change it, known customers count as new ones."""
    customer_hash_key_file: FilePath | None = None
    """File with the key of the hash that replaces customer ids in Redis."""
    time_zone: str = "UTC"
    """Time zone of the days of the history (IANA name, like Europe/Berlin). If you change it, that history begins again. Hours are those of UTC."""
    history_hours_days: int = Field(8, ge=1, le=62)
    """Days for which the history keeps every hour."""
    history_days: int = Field(35, ge=1, le=400)
    """Days for which the history keeps every day; at least `history_hours_days`."""
    targets: Targets = ()
    """Rates below which the alerts page somebody; see the section on targets."""

    behind_seconds: float = Field(60, gt=0, le=86_400)
    """Age in seconds of the oldest record that is not applied above which the figures count as `behind`."""
    batch_records: int = Field(2000, ge=1, le=100_000)
    """Largest number of records of one partition in one commit."""
    cache_mb: int = Field(100, ge=1)
    """Size of a worker's cache in megabytes: half for checkouts and subscriptions, half for customers. A larger cache means fewer reads from Redis."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level of the messages that are logged to standard error."""
    log_format: Literal["text", "json"] = "text"
    """Format of the log: lines of text, or one JSON object a line."""

    @field_validator(*_FILES, mode="wrap")
    @classmethod
    def _file(cls, value: object, inner: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        try:
            file = inner(value)
            if file is not None and info.field_name in _SECRET_FILES:
                secret_in(file)
        except OSError as error:
            raise ValueError(f"cannot read the file: {error.strerror or error}") from None
        return file

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _servers(cls, servers: str) -> str:
        parts = [part.strip() for part in servers.split(",")]
        for part in parts:
            server = re.fullmatch(r"([^\s:\[\]/]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", part)
            if server is None:
                raise ValueError(f"{part!r} is not host:port")
            if server[2] is not None and not 1 <= int(server[2]) <= 65535:
                raise ValueError(f"the port of {part!r} must be from 1 to 65535")
        return ",".join(parts)

    @field_validator("redis_url")
    @classmethod
    def _database(cls, url: RedisDsn) -> RedisDsn:
        # The client takes some of what is not a number for database 0, and fails on the rest only when it connects.
        numbers = [value for name, value in url.query_params() if name == "db"]
        if url.scheme != "unix":
            numbers.append(unquote(url.path or "").strip("/"))
        if any(re.fullmatch("[0-9]*", number, re.ASCII) is None for number in numbers):
            raise ValueError("the database must be a number, as in redis://HOST:PORT/0 or unix://PATH?db=0")
        return url

    @field_validator("windows")
    @classmethod
    def _windows(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not 1 <= len(names) <= 8:
            raise ValueError(f"{len(names)} windows; 1 to 8 are allowed")
        lengths = [Window.parse(name).length for name in names]
        if len(set(lengths)) < len(lengths):
            raise ValueError("two windows have the same length")
        return tuple(name for _, name in sorted(zip(lengths, names, strict=True)))

    @field_validator(*_LABEL_OF)
    @classmethod
    def _labels(cls, values: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        label = _LABEL_OF[str(info.field_name)]
        LabelRegistry({label: values})
        if label == "currency":
            for code in values:
                try:
                    exponent(code)
                except ValueError:
                    allowed = "an ISO 4217 code with a minor unit, in capitals, like EUR"
                    raise ValueError(f"{code!r} is not {allowed}") from None
        return values

    @field_validator("time_zone")
    @classmethod
    def _time_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"{name!r} is not a time zone; write an IANA name like UTC, Europe/Berlin or America/New_York"
            ) from None
        return name

    @field_validator("targets")
    @classmethod
    def _targets(cls, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        if len({(target.kpi, target.journey, target.segment) for target in targets}) < len(targets):
            raise ValueError("two targets have the same kpi, journey and segment")
        return targets

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if not self.input_topics:
            raise ValueError("checkout_topic and subscription_topic are both empty; set at least one of them")
        topics = [*self.input_topics, self.outcome_topic, self.dead_letter_topic]
        if len(set(topics)) < len(topics):
            raise ValueError("checkout_topic, subscription_topic, outcome_topic and dead_letter_topic must differ")
        protocol = self.kafka_security_protocol
        tokens = [name for name in ("kafka_oauth_token_file", "kafka_oauth_token_command") if getattr(self, name)]
        if self.kafka_sasl_mechanism == "OAUTHBEARER" and protocol.startswith("SASL"):
            if len(tokens) != 1:
                raise ValueError(
                    "kafka_sasl_mechanism is OAUTHBEARER; set either kafka_oauth_token_file or kafka_oauth_token_command"
                )
            for name in ("kafka_sasl_username", "kafka_sasl_password", "kafka_sasl_password_file"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} is set but kafka_sasl_mechanism is OAUTHBEARER, which has only a token; unset it"
                    )
        elif tokens:
            raise ValueError(
                f"{tokens[0]} is set but kafka_security_protocol is {protocol} and kafka_sasl_mechanism is {self.kafka_sasl_mechanism}; "
                "set them to SASL_SSL and OAUTHBEARER"
            )
        elif protocol.startswith("SASL"):
            if self.kafka_sasl_username is None:
                raise ValueError(f"kafka_security_protocol is {protocol}; also set kafka_sasl_username")
            if self.kafka_sasl_password is None and self.kafka_sasl_password_file is None:
                raise ValueError(f"kafka_security_protocol is {protocol}; also set kafka_sasl_password_file")
        elif self.kafka_sasl_username is not None:
            raise ValueError(
                f"kafka_sasl_username is set but kafka_security_protocol is {protocol}; "
                "set it to SASL_SSL (or to SASL_PLAINTEXT, which sends the password unencrypted)"
            )
        if not protocol.endswith("SSL"):
            for name in ("kafka_ssl_ca_file", "kafka_ssl_cert_file", "kafka_ssl_key_file"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} is set but kafka_security_protocol is {protocol}; set it to SSL or SASL_SSL"
                    )
        if self.kafka_ssl_key_file is not None and self.kafka_ssl_cert_file is None:
            raise ValueError("kafka_ssl_key_file is set; also set kafka_ssl_cert_file")
        if self.redis_cert_file is not None and self.redis_url.scheme != "rediss":
            raise ValueError(
                f"redis_cert_file is set but redis_url begins with {self.redis_url.scheme}://; use rediss://, which is TLS"
            )
        if self.redis_key_file is not None and self.redis_cert_file is None:
            raise ValueError("redis_key_file is set; also set redis_cert_file")
        for name in _WITH_FILES:
            if getattr(self, f"{name}_file") is not None and name in self.model_fields_set:
                raise ValueError(f"{name} and {name}_file are both set; unset one of them")
        known = (*self.segments, "all", UNKNOWN, OTHER)
        for target in self.targets:
            if self.segments and target.segment not in known:
                raise ValueError(
                    f"targets: the segment {target.segment!r} is not one of segments ({', '.join(self.segments)})"
                )
        if self.history_days < self.history_hours_days:
            raise ValueError("history_days is less than history_hours_days; hours are kept for no longer than days")
        if len(self._customer_key()) > 64:
            raise ValueError("customer_hash_key is longer than 64 bytes")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings calls it with these names
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options override the environment. `load` adds the file below both."""
        return init_settings, env_settings

    def core(self) -> CoreConfig:
        """The settings of the core."""
        return CoreConfig(
            windows=tuple(Window.parse(name) for name in self.windows),
            checkout_retention=round(self.checkout_retention_days * DAY),
            subscription_retention=round(self.subscription_retention_days * DAY),
            lateness=round(self.lateness_hours * DAY / 24),
            swap_window=round(self.swap_hours * DAY / 24),
            customer_key=self._customer_key(),
            time_zone=ZoneInfo(self.time_zone),
            hours_kept=self.history_hours_days * DAY,
            days_kept=self.history_days * DAY,
        )

    def _customer_key(self) -> bytes:
        return (self.password("customer_hash_key") or "").encode()

    @property
    def input_topics(self) -> dict[str, Journey]:
        """The journey of each input topic, without journeys that are switched off."""
        topics: dict[str, Journey] = {self.checkout_topic: "checkout", self.subscription_topic: "subscription"}
        return {topic: journey for topic, journey in topics.items() if topic}

    @property
    def behind(self) -> int:
        """`behind_seconds` in microseconds."""
        return round(self.behind_seconds * MICROSECONDS)

    @property
    def future(self) -> int:
        """`future_minutes` in microseconds."""
        return round(self.future_minutes * 60 * MICROSECONDS)

    def registry(self) -> LabelRegistry:
        """A registry with the label values that the settings list."""
        return LabelRegistry({label: getattr(self, name) for name, label in _LABEL_OF.items()})

    def password(self, name: Secret) -> str | None:
        """A secret, from its file if that is set, otherwise from the environment.

        Raises:
            OSError: the file has become unreadable since the settings were loaded.
        """
        file: Path | None = getattr(self, f"{name}_file")
        if file is not None:
            return secret_in(file)
        secret: SecretStr | None = getattr(self, name)
        return None if secret is None else secret.get_secret_value()


def secret_in(file: Path) -> str:
    """What a file with a secret contains, without white space around it.

    Raises:
        OSError: the file cannot be read, or there is no text in it.
    """
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:  # its message contains bytes of the secret
        raise OSError(errno.EINVAL, "it is not UTF-8", str(file)) from None
    if not secret:
        raise OSError(errno.EINVAL, "it is empty", str(file))
    return secret


class WrongSettingsError(ValueError):
    """Settings that are not allowed. The message has a line for each: the name as the user wrote it, and what is allowed."""


def load(options: Mapping[str, object] | None = None, config: Path | None = None) -> Settings:
    """Load the settings from options (by field name), the environment and a TOML file: `config`, or the one that `UPSELL_CONFIG` names.

    Raises:
        WrongSettingsError: a setting is not allowed, or the file cannot be read.
    """
    options = options or {}
    if config is None and os.environ.get("UPSELL_CONFIG"):
        config = Path(os.environ["UPSELL_CONFIG"])
    file = {} if config is None else _read(config)
    wrong = [f"{name} in {config}: {_unknown(name)}" for name in file if name not in Settings.model_fields]
    wrong += _secrets_in_the_open(options, f"{option('redis_url')}: ")
    wrong += _secrets_in_the_open(file, f"{config}: ")
    if wrong:
        raise WrongSettingsError("\n".join(wrong))
    empty = {variable(name): name for name in _MAY_BE_EMPTY}
    below = {name: value for name, value in file.items() if variable(name) not in _set_variables()}
    below |= {empty[key]: "" for name, value in os.environ.items() if not value and (key := name.upper()) in empty}
    try:
        return Settings(**{**below, **options})
    except ValidationError as error:
        names = {name: variable(name) for name in Settings.model_fields}
        names |= {name: f"{name} in {config}" for name in below} | {name: option(name) for name in options}
        raise WrongSettingsError("\n".join(_explained(error, names))) from None


def variable(name: str) -> str:
    """The environment variable of a field."""
    return f"UPSELL_{name.upper()}"


def option(name: str) -> str:
    """The command line option of a field."""
    return "--bootstrap-servers" if name == "kafka_bootstrap_servers" else "--" + name.replace("_", "-")


def misspelt() -> list[tuple[str, str]]:
    """Environment variables that are probably misspelt settings, each with the setting that was probably meant.

    Only very similar names: other programs use the prefix too (Kubernetes sets `UPSELL_STREAM_…` for a service `upsell-stream`).
    """
    known = [variable(name) for name in Settings.model_fields]
    return [
        (name, meant[0])
        for name in sorted(_set_variables() - {*known, "UPSELL_CONFIG"})
        if (meant := difflib.get_close_matches(name, known, 1, 0.9))
    ]


def is_secret(name: str) -> bool:
    """Whether the field's value must never be printed."""
    return name in _WITH_FILES


def _set_variables() -> set[str]:
    """Names of the variables with our prefix that are not empty, in capitals: pydantic-settings ignores case."""
    return {name.upper() for name, value in os.environ.items() if value and name.upper().startswith("UPSELL_")}


def _read(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise WrongSettingsError(f"{config}: {error.strerror}") from None
    except ValueError as error:
        raise WrongSettingsError(f"{config}: not TOML ({error})") from None


def _unknown(name: str) -> str:
    """The message for a key that is not a setting. Keys must be in lower case: with others, pydantic-settings would skip the checks of secrets."""
    meant = difflib.get_close_matches(name.lower(), Settings.model_fields, 1)
    return "there is no such setting" + (f"; did you mean {meant[0]}?" if meant else "")


def _secrets_in_the_open(values: Mapping[str, object], where: str) -> list[str]:
    """Messages for secrets in options, which the list of processes shows, or in the file of settings, which is often shared."""
    wrong = [
        f"{where}{name} is a secret; set {variable(name)}, or set {name}_file to a file that contains it"
        for name in values
        if is_secret(name)
    ]
    url = str(values.get("redis_url", ""))
    if ":" in url.partition("://")[2].rpartition("@")[0] or "password" in parse_qs(url.partition("?")[2]):
        wrong.append(
            f"{where}redis_url contains a password; set {variable('redis_password')}, or set redis_password_file to a file that contains it"
        )
    return wrong


_LISTS: Mapping[str, str] = {"tuple_type": "should be a list", "model_type": "should be a table"}
"""pydantic's errors in the terms of TOML."""
_TARGET = (
    '; for example [{"kpi": "upsell_ratio", "journey": "checkout", "ratio": 0.1}] as JSON, or [[targets]] in the file'
)


def _explained(error: ValidationError, names: Mapping[str, str]) -> list[str]:
    lines = []
    for detail in error.errors(include_url=False):
        field, *path = detail["loc"] or ("",)
        name, in_file, file = names.get(str(field), str(field)).partition(" in ")
        name += "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path) + in_file + file
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden" and not path:
            message = _unknown(str(field))
        elif detail["type"] in _LISTS:
            message = _LISTS[detail["type"]] + (_TARGET if field == "targets" else "")
        elif not field:
            message = re.sub(r"\b[a-z]+(_[a-z]+)+\b", lambda match: names.get(match[0], match[0]), message)
        elif not is_secret(str(field)) and field != "redis_url" and isinstance(detail["input"], str | int | float):
            message = f"{detail['input']!r} is not allowed: {message[0].lower()}{message[1:]}"
        lines.append(f"{name}: {message}" if name else message)
    return lines
