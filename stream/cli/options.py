"""The settings as options of the commands."""

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, Final

import click

from stream.settings import Settings, WrongSettingsError, is_secret, load, misspelt, option, variable

KAFKA: Final = (
    "kafka_bootstrap_servers",
    "kafka_security_protocol",
    "kafka_sasl_mechanism",
    "kafka_sasl_username",
    "kafka_sasl_password_file",
    "kafka_oauth_token_file",
    "kafka_oauth_token_command",
    "kafka_ssl_ca_file",
    "kafka_ssl_cert_file",
    "kafka_ssl_key_file",
)
REDIS: Final = (
    "redis_url",
    "redis_password_file",
    "redis_ca_file",
    "redis_cert_file",
    "redis_key_file",
    "redis_prefix",
    "redis_timeout",
)
INPUT: Final = ("checkout_topic", "subscription_topic")
JUDGEMENT: Final = (
    "windows",
    "checkout_retention_days",
    "subscription_retention_days",
    "lateness_hours",
    "swap_hours",
    "channels",
    "segments",
    "categories",
    "currencies",
)
HISTORY: Final = ("time_zone", "history_hours_days", "history_days")
EVERYTHING: Final = tuple(name for name in Settings.model_fields if not is_secret(name))


def default_of(name: str) -> str:
    """A field's default as it would be written in the environment; empty if there is none, and for secrets."""
    value = Settings.model_fields[name].default
    if value is None or is_secret(name):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def with_settings(names: Iterable[str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command `--config` and an option for each of these fields, and call it with `settings`.

    Raises:
        click.UsageError: a setting is wrong.
    """
    chosen = tuple(names)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(config: Path | None, **values: Any) -> None:
            options = {name: value for name in chosen if (value := values.pop(name)) is not None}
            for wrong, meant in misspelt():
                click.echo(f"{wrong} is not a setting; did you mean {meant}?", err=True)
            try:
                settings = load(options, config)
            except WrongSettingsError as error:
                raise click.UsageError(str(error)) from None
            command(settings=settings, **values)

        for name in reversed(chosen):
            default = default_of(name)
            variable_and_default = f"  [{variable(name)}{f'; default: {default}' if default else ''}]"
            description = Settings.model_fields[name].description or ""
            run = click.option(option(name), name, metavar=_metavar(name), help=description + variable_and_default)(run)
        file = click.Path(exists=True, dir_okay=False, path_type=Path)
        return click.option("--config", type=file, help="File with settings (TOML).  [UPSELL_CONFIG]")(run)

    return decorate


def _metavar(name: str) -> str:
    annotation = Settings.model_fields[name].annotation
    if annotation in (int, float):
        return "NUMBER"
    if annotation is bool:
        return "true|false"
    return "FILE" if name.endswith("_file") else "TEXT"
