"""The one settings class: TOML file, environment (`UPSELL_*`), options, in that order of rising precedence.

Rules: the environment is read only here. A secret comes from the environment or from a file of its own, never from the TOML file or an
option, and is never printed. Whatever is wrong is named as the user wrote it: option, variable or key of the file.
"""

import difflib
import errno
import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import parse_qs, unquote

from pydantic import (
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
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from stream.core.config import DAY, DEFAULT_WINDOWS, MICROSECONDS, CoreConfig, Window
from stream.core.labels import OTHER, UNKNOWN, LabelName, LabelRegistry
from stream.core.money import exponent

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


def _decoded(value: object) -> object:
    """JSON as environment variables and options carry tables."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON ({error})") from None
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
_TOPIC = r"^[A-Za-z0-9._-]{1,249}$"


Secret = Literal["kafka_sasl_password", "redis_password", "customer_hash_key"]
_WITH_FILES: tuple[Secret, ...] = get_args(Secret)
"""Every secret has a second setting, `…_file`."""
_FILES = (
    *(f"{name}_file" for name in _WITH_FILES),
    "kafka_ssl_ca_file",
    "kafka_ssl_cert_file",
    "kafka_ssl_key_file",
    "redis_ca_file",
)

_LABEL_OF: Mapping[str, LabelName] = {
    "channels": "channel",
    "segments": "segment",
    "categories": "category",
    "currencies": "currency",
}


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
        if self.kpi == "cross_sell_ratio" and self.segment == "all":
            raise ValueError(
                "cross_sell_ratio is known per segment only; name a segment, or set a target of cross_sell_rate"
            )
        return self


Targets = Annotated[tuple[Target, ...], NoDecode, BeforeValidator(_decoded)]


class Settings(BaseSettings):
    """Every setting of the product, with its default."""

    model_config = SettingsConfigDict(
        env_prefix="UPSELL_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        validate_default=True,
    )

    app_id: str = Field("upsell-stream", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    """Consumer group and key space: two applications with different ids do not see each other."""
    kafka_bootstrap_servers: str = "localhost:9092"
    """`host:port`, several with commas."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How connections to Kafka are secured; SASL_PLAINTEXT sends the password in the clear, and only when asked for by this name."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the user's name and password are sent to Kafka."""
    kafka_sasl_username: str | None = None
    """Needed with SASL_SSL and SASL_PLAINTEXT."""
    kafka_sasl_password: SecretStr | None = None
    """The password of that user."""
    kafka_sasl_password_file: FilePath | None = None
    """A file with the password of that user."""
    kafka_ssl_ca_file: FilePath | None = None
    """Certificates that sign Kafka's (PEM); default: those of the system."""
    kafka_ssl_cert_file: FilePath | None = None
    """Our own certificate (PEM), where Kafka asks for one."""
    kafka_ssl_key_file: FilePath | None = None
    """The key of our certificate (PEM), where the certificate's file does not hold it."""
    kafka_session_timeout: float = Field(60.0, ge=1, le=1800)
    """Seconds after which a silent worker's partitions go to others."""
    kafka_group_instance_id: str | None = Field(None, pattern=_TOPIC)
    """Static membership: a restart within the session timeout moves no partition."""
    kafka_create_topics: bool = True
    """Create missing topics at the start, with `kafka_partitions` and `kafka_replication_factor`."""
    kafka_partitions: int = Field(4, ge=1, le=10_000)
    """Partitions of a topic that is created; as many workers as this can share the work."""
    kafka_replication_factor: int = Field(-1, ge=-1, le=32)
    """Replicas of a topic that is created; -1: the broker's default."""
    outcome_retention_days: int = Field(7, ge=1, le=3650)
    """How long outcomes are kept, where the topic is created."""

    checkout_topic: str = Field("checkout-events", pattern=_TOPIC)
    """Input: events of checkouts and orders."""
    subscription_topic: str = Field("subscription-events", pattern=_TOPIC)
    """Input: events of subscriptions."""
    outcome_topic: str = Field("upsell-outcomes", pattern=_TOPIC)
    """Output: judged transactions."""
    dead_letter_topic: str = Field("upsell-dead-letters", pattern=_TOPIC)
    """Output: records that could not be used, with the reason."""

    redis_url: Annotated[RedisDsn, UrlConstraints(allowed_schemes=["redis", "rediss", "unix"])] = Field(
        RedisDsn("redis://localhost:6379/0"), repr=False
    )
    """`redis://`, `rediss://` (TLS) or `unix://`. A password in it is allowed in the environment only."""
    redis_password: SecretStr | None = None
    """Password of the user in `redis_url`, else of the default user."""
    redis_password_file: FilePath | None = None
    """A file with the password of Redis' user."""
    redis_ca_file: FilePath | None = None
    """Certificates that sign Redis' (PEM), with `rediss://`; default: those of the system."""
    redis_prefix: str = Field("upsell:", pattern=r"^[A-Za-z0-9._:-]{1,100}$")
    """What every key in Redis starts with."""
    redis_timeout: float = Field(10.0, gt=0, le=600)
    """Seconds to wait for an answer before the same call is made again."""

    http_host: str = Field("127.0.0.1", min_length=1)
    """Address that metrics, health and rates are served on; `0.0.0.0` for all interfaces."""
    http_port: int = Field(8080, ge=0, le=65535)
    """0: any free port, printed at the start."""

    windows: Names = tuple(window.name for window in DEFAULT_WINDOWS)
    """1 to 8 lengths between 1m and 400d, in m, h or d."""
    checkout_retention_days: float = Field(30, gt=0, le=3650)
    """A checkout is forgotten this long after its newest fact, by event time."""
    subscription_retention_days: float = Field(400, gt=0, le=3650)
    """A subscription is forgotten this long after its newest event, once it is no longer active."""
    lateness_hours: float = Field(24, ge=0, le=24 * 366)
    """How much older than its newest event an event of a subscription may be."""
    future_minutes: float = Field(10, ge=0, le=24 * 60)
    """How far an event may lie ahead of its record's Kafka time stamp."""
    channels: Names = ()
    """The only channels with figures of their own, at most 8; default: the first ones seen. The rest is `other`."""
    segments: Names = ()
    """The only segments with figures of their own, at most 16; likewise."""
    categories: Names = ()
    """The only categories with figures of their own, at most 32; likewise."""
    currencies: Names = ()
    """The only currencies (ISO 4217) with revenue figures, at most 4; default: the first ones seen."""
    customer_hash_key: SecretStr = SecretStr("upsell-stream")
    """Key of the hash under which customers are counted in Redis, at most 64 bytes. Changing it starts the count of customers anew."""
    customer_hash_key_file: FilePath | None = None
    """A file with the key of the hash under which customers are counted."""
    targets: Targets = ()
    """Rates below which somebody is to be paged; see the section on targets."""

    batch_records: int = Field(2000, ge=1, le=100_000)
    """Records of one partition in one commit, at most."""
    cache_mb: int = Field(100, ge=1)
    """Megabytes of entities and customers, half for either, that a worker keeps in memory over all its shards, so that fewer are loaded."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are written (to standard error)."""

    @field_validator(*_FILES, mode="wrap")
    @classmethod
    def _file(cls, value: object, inner: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        try:
            file = inner(value)
            if file is not None and str(info.field_name).removesuffix("_file") in _WITH_FILES:
                _secret_in(file)
        except OSError as error:
            raise ValueError(f"the file cannot be used: {error.strerror or error}") from None
        return file

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _servers(cls, servers: str) -> str:
        parts = [part.strip() for part in servers.split(",")]
        for part in parts:
            server = re.fullmatch(r"([^\s:\[\]/]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", part)
            if server is None:
                raise ValueError(f"{part!r} is no host:port")
            if server[2] is not None and not 1 <= int(server[2]) <= 65535:
                raise ValueError(f"the port of {part!r} is not from 1 to 65535")
        return ",".join(parts)

    @field_validator("redis_url")
    @classmethod
    def _database(cls, url: RedisDsn) -> RedisDsn:
        # What is no number would be taken for database 0, or as an error in the middle of the start.
        numbers = [value for name, value in url.query_params() if name == "db"]
        if url.scheme != "unix":
            numbers.append(unquote(url.path or "").strip("/"))
        if any(re.fullmatch("[0-9]*", number, re.ASCII) is None for number in numbers):
            raise ValueError("the database is no number; redis://HOST:PORT/0 and unix://PATH?db=0 name the first one")
        return url

    @field_validator("windows")
    @classmethod
    def _windows(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not 1 <= len(names) <= 8:
            raise ValueError(f"{len(names)} windows; 1 to 8 are allowed")
        lengths = [Window.parse(name).length for name in names]
        if len(set(lengths)) < len(lengths):
            raise ValueError("two windows are equally long")
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
                    raise ValueError(f"{code!r} is no ISO 4217 code with a minor unit, in capitals, like EUR") from None
        return values

    @field_validator("targets")
    @classmethod
    def _targets(cls, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        if len({(target.kpi, target.journey, target.segment) for target in targets}) < len(targets):
            raise ValueError("two targets for the same kpi, journey and segment")
        return targets

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        topics = [self.checkout_topic, self.subscription_topic, self.outcome_topic, self.dead_letter_topic]
        if len(set(topics)) < len(topics):
            raise ValueError("checkout_topic, subscription_topic, outcome_topic and dead_letter_topic must differ")
        protocol = self.kafka_security_protocol
        if protocol.startswith("SASL"):
            if self.kafka_sasl_username is None:
                raise ValueError(f"kafka_security_protocol is {protocol}; set kafka_sasl_username, too")
            if self.kafka_sasl_password is None and self.kafka_sasl_password_file is None:
                raise ValueError(f"kafka_security_protocol is {protocol}; set kafka_sasl_password_file, too")
        elif self.kafka_sasl_username is not None:
            raise ValueError(
                f"kafka_sasl_username is set but kafka_security_protocol is {protocol}; "
                "set it to SASL_SSL (or SASL_PLAINTEXT, which sends the password in the clear)"
            )
        if not protocol.endswith("SSL"):
            for name in ("kafka_ssl_ca_file", "kafka_ssl_cert_file", "kafka_ssl_key_file"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"{name} is set but kafka_security_protocol is {protocol}; set it to SSL or SASL_SSL"
                    )
        if self.kafka_ssl_key_file is not None and self.kafka_ssl_cert_file is None:
            raise ValueError("kafka_ssl_key_file is set; set kafka_ssl_cert_file, too")
        for name in _WITH_FILES:
            if getattr(self, f"{name}_file") is not None and name in self.model_fields_set:
                raise ValueError(f"{name} and {name}_file are both set; keep one")
        known = (*self.segments, "all", UNKNOWN, OTHER)
        for target in self.targets:
            if self.segments and target.segment not in known:
                raise ValueError(
                    f"targets: the segment {target.segment!r} is not among segments ({', '.join(self.segments)})"
                )
        if len(self._customer_key()) > 64:
            raise ValueError("customer_hash_key is longer than 64 bytes")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - a name that pydantic-settings fixes
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options, then environment. `load` puts the file below both."""
        return init_settings, env_settings

    def core(self) -> CoreConfig:
        """What the core must know."""
        return CoreConfig(
            windows=tuple(Window.parse(name) for name in self.windows),
            checkout_retention=round(self.checkout_retention_days * DAY),
            subscription_retention=round(self.subscription_retention_days * DAY),
            lateness=round(self.lateness_hours * DAY / 24),
            customer_key=self._customer_key(),
        )

    def _customer_key(self) -> bytes:
        return (self.password("customer_hash_key") or "").encode()

    @property
    def future(self) -> int:
        """`future_minutes` in microseconds."""
        return round(self.future_minutes * 60 * MICROSECONDS)

    def registry(self) -> LabelRegistry:
        """A registry that knows the lists of the settings."""
        return LabelRegistry({label: getattr(self, name) for name, label in _LABEL_OF.items()})

    def password(self, name: Secret) -> str | None:
        """A secret from its file if one is named, else from the environment.

        Raises:
            OSError: the file cannot be used any more, though it could when the settings were loaded.
        """
        file: Path | None = getattr(self, f"{name}_file")
        if file is not None:
            return _secret_in(file)
        secret: SecretStr | None = getattr(self, name)
        return None if secret is None else secret.get_secret_value()


def _secret_in(file: Path) -> str:
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:  # whose text tells bytes of the secret
        raise OSError(errno.EINVAL, "it is not UTF-8", str(file)) from None
    if not secret:
        raise OSError(errno.EINVAL, "it is empty", str(file))
    return secret


class WrongSettingsError(ValueError):
    """Settings that are not allowed: a line for each, with its name as the user wrote it and what is allowed."""


def load(options: Mapping[str, object] | None = None, config: Path | None = None) -> Settings:
    """Settings from options (by field name), the environment, and a TOML file: `config`, else what `UPSELL_CONFIG` names, else none.

    Raises:
        WrongSettingsError: anything is wrong with any of them.
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
    below = {name: value for name, value in file.items() if variable(name) not in _set_variables()}
    try:
        return Settings(**{**below, **options})
    except ValidationError as error:
        names = {
            **{name: variable(name) for name in Settings.model_fields},
            **{name: f"{name} in {config}" for name in below},
        }
        names |= {name: option(name) for name in options}
        raise WrongSettingsError("\n".join(_explained(error, names))) from None


def variable(name: str) -> str:
    """The environment variable of a field."""
    return f"UPSELL_{name.upper()}"


def option(name: str) -> str:
    """The command line option of a field."""
    return "--bootstrap-servers" if name == "kafka_bootstrap_servers" else "--" + name.replace("_", "-")


def misspelt() -> list[tuple[str, str]]:
    """Variables that look like a setting and are none, each with the one that was probably meant.

    Only near misses: others use the prefix, too (Kubernetes describes the service `upsell-stream` in `UPSELL_STREAM_…`).
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
    """Names that start with our prefix and are not empty, in capitals, as pydantic-settings takes them."""
    return {name.upper() for name, value in os.environ.items() if value and name.upper().startswith("UPSELL_")}


def _read(config: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(config.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise WrongSettingsError(f"{config}: {error.strerror}") from None
    except ValueError as error:
        raise WrongSettingsError(f"{config}: not TOML ({error})") from None


def _unknown(name: str) -> str:
    """That there is no such setting, and which is meant. In another letter case a name is none: pydantic-settings would take it for one."""
    meant = difflib.get_close_matches(name.lower(), Settings.model_fields, 1)
    return "there is no such setting" + (f"; did you mean {meant[0]}?" if meant else "")


def _secrets_in_the_open(values: Mapping[str, object], where: str) -> list[str]:
    """Others see options in the list of processes, and files of settings are passed around."""
    wrong = [
        f"{where}{name} is a secret; set {variable(name)}, or {name}_file to a file that holds it"
        for name in values
        if is_secret(name)
    ]
    url = str(values.get("redis_url", ""))
    if ":" in url.partition("://")[2].rpartition("@")[0] or "password" in parse_qs(url.partition("?")[2]):
        wrong.append(
            f"{where}redis_url holds a password; set {variable('redis_password')}, or redis_password_file to a file that holds it"
        )
    return wrong


_LISTS: Mapping[str, str] = {"tuple_type": "should be a list", "model_type": "should be a table"}
"""In the words of TOML."""
_TARGET = (
    '; one target is [{"kpi": "upsell_ratio", "journey": "checkout", "ratio": 0.1}] as JSON, [[targets]] in the file'
)


def _explained(error: ValidationError, names: Mapping[str, str]) -> list[str]:
    lines = []
    for detail in error.errors(include_url=False):
        field, *path = detail["loc"] or ("",)
        name = names.get(str(field), str(field)) + "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in path
        )
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
