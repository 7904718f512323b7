"""Settings: precedence, names in messages as the user wrote them, and secrets that are never printed."""

import errno
import os
import re
from pathlib import Path

import pytest

from stream.core.counting.kpi import KPIS
from stream.settings import Settings, WrongSettingsError, load, misspelt


@pytest.fixture(autouse=True)
def _no_settings_around(monkeypatch):
    for name in [name for name in os.environ if name.upper().startswith("UPSELL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "upsell.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def wrong(options=None, config=None):
    with pytest.raises(WrongSettingsError) as caught:
        load(options, config)
    return str(caught.value)


def test_the_defaults_are_allowed():
    settings = load()
    assert settings.windows == ("5m", "1h", "24h", "30d")
    assert settings.core().lateness == 72 * 3600 * 10**6
    assert settings.core().swap_window == 24 * 3600 * 10**6
    assert settings.future == 600 * 10**6
    assert settings.core().customer_key == b"upsell-stream"


def test_file_then_environment_then_options(config, monkeypatch):
    file = config('app_id = "file"\nhttp_port = 1\nredis_prefix = "file:"\nwindows = ["1h", "5m"]')
    monkeypatch.setenv("UPSELL_APP_ID", "environment")
    monkeypatch.setenv("UPSELL_HTTP_PORT", "2")
    settings = load({"app_id": "option"}, file)
    assert (settings.app_id, settings.http_port, settings.redis_prefix) == ("option", 2, "file:")
    assert settings.windows == ("5m", "1h")


def test_the_file_can_be_named_in_the_environment(config, monkeypatch):
    monkeypatch.setenv("UPSELL_CONFIG", str(config('app_id = "named"')))
    assert load().app_id == "named"


def test_a_file_named_by_option_goes_before_the_one_in_the_environment(config, monkeypatch):
    monkeypatch.setenv("UPSELL_CONFIG", "/nowhere")
    assert load({}, config('app_id = "option"')).app_id == "option"


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.setenv("UPSELL_KAFKA_SASL_USERNAME", "")
    monkeypatch.setenv("UPSELL_CONFIG", "")
    assert load().kafka_sasl_username is None


def test_lists_and_tables_in_the_environment(monkeypatch):
    monkeypatch.setenv("UPSELL_WINDOWS", "24h, 5m")
    monkeypatch.setenv("UPSELL_CHANNELS", "web,app")
    monkeypatch.setenv("UPSELL_TARGETS", '[{"kpi": "upsell_ratio", "journey": "checkout", "ratio": 0.1}]')
    settings = load()
    assert settings.windows == ("5m", "24h")
    assert settings.targets[0].segment == "all"
    registry = settings.registry()
    assert registry.label("channel", "web") == "web"
    assert registry.label("channel", "phone") == "other"


@pytest.mark.parametrize(
    "url", ["redis://localhost", "redis://localhost/", "rediss://me@localhost:6380/15", "unix:///run/redis.sock?db=3"]
)
def test_a_database_of_redis_is_a_number_or_none(monkeypatch, url):
    monkeypatch.setenv("UPSELL_REDIS_URL", url)
    assert load().redis_url.scheme == url.partition(":")[0]


@pytest.mark.parametrize("name", [name for name, field in Settings.model_fields.items() if field.annotation is float])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_is_finite(config, name, value):
    assert f"{name} in" in wrong({}, config(f"{name} = {value}"))
    assert f"--{name.replace('_', '-')}: " in wrong({name: value})


def test_no_address_is_not_all_addresses(config):
    assert wrong({"http_host": ""}).startswith("--http-host: '' is not allowed")
    assert "http_host in" in wrong({}, config('http_host = ""'))


def test_servers_may_be_written_with_spaces(monkeypatch):
    monkeypatch.setenv("UPSELL_KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092, kafka-2, [::1]:9092")
    assert load().kafka_bootstrap_servers == "kafka-1:9092,kafka-2,[::1]:9092"


def test_a_wrong_setting_is_named_as_it_was_written(config, monkeypatch):
    file = config('batch_records = 0\nlog_level = "loud"')
    monkeypatch.setenv("UPSELL_HTTP_PORT", "70000")
    lines = wrong({"app_id": "a b"}, file).splitlines()
    assert lines == [
        "--app-id: 'a b' is not allowed: string should match pattern '^[A-Za-z0-9._-]{1,100}$'",
        "UPSELL_HTTP_PORT: '70000' is not allowed: input should be less than or equal to 65535",
        f"batch_records in {file}: 0 is not allowed: input should be greater than or equal to 1",
        f"log_level in {file}: 'loud' is not allowed: input should be 'debug', 'info', 'warning' or 'error'",
    ]


def test_an_unknown_key_of_the_file_is_refused(config):
    file = config("http_prot = 1")
    assert wrong({}, file) == f"http_prot in {file}: there is no such setting; did you mean http_port?"


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ('WINDOWS = ["2h"]', "WINDOWS", "windows"),
        ('Redis_Password = "hunter2"', "Redis_Password", "redis_password"),
        ('Redis_URL = "redis://me:hunter2@localhost/0"', "Redis_URL", "redis_url"),
        ('CUSTOMER_HASH_KEY = "hunter2"', "CUSTOMER_HASH_KEY", "customer_hash_key"),
    ],
)
def test_a_key_of_the_file_in_other_letters_is_refused(config, text, key, meant):
    file = config(text)
    assert wrong({"windows": "5m"}, file) == f"{key} in {file}: there is no such setting; did you mean {meant}?"


def test_a_misspelt_variable_is_noticed_and_others_are_not(monkeypatch):
    monkeypatch.setenv("UPSELL_REDIS_URI", "redis://localhost")
    monkeypatch.setenv("UPSELL_STREAM_PORT", "tcp://10.0.0.1:80")
    monkeypatch.setenv("UPSELL_HTTP_PORT", "80")
    assert misspelt() == [("UPSELL_REDIS_URI", "UPSELL_REDIS_URL")]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092,", "'' is not host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka://kafka-1:9092", "'kafka://kafka-1:9092' is not host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka-1:65536", "the port of 'kafka-1:65536' must be from 1 to 65535"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092,[::1]:0", "the port of '[::1]:0' must be from 1 to 65535"),
        ("WINDOWS", "5m,1x", "'1x' is no window"),
        ("WINDOWS", "1h,60m", "the same length"),
        ("WINDOWS", "1m,2m,3m,4m,5m,6m,7m,8m,9m", "1 to 8 are allowed"),
        ("CHANNELS", "a,b,c,d,e,f,g,h,i", "9 values for channel, at most 8"),
        ("CURRENCIES", "EUR,usd", "'usd' is not an ISO 4217 code"),
        ("CURRENCIES", "EUO", "'EUO' is not an ISO 4217 code with a minor unit, in capitals, like EUR"),
        ("CURRENCIES", "EUR,XAU", "'XAU' is not an ISO 4217 code with a minor unit"),
        ("REDIS_URL", "http://localhost", "'redis', 'rediss' or 'unix'"),
        ("REDIS_URL", "redis://localhost/abc", "the database must be a number"),
        ("REDIS_URL", "redis://localhost/0/1", "the database must be a number"),
        ("REDIS_URL", "redis://localhost/-1", "the database must be a number"),
        ("REDIS_URL", "unix:///run/redis.sock?db=abc", "the database must be a number"),
        ("KAFKA_SSL_CA_FILE", "/nowhere/ca.pem", "does not point to a file"),
        ("OUTCOME_TOPIC", "no such topic", "string should match pattern"),
        ("TARGETS", "[", "not JSON"),
        ("TARGETS", '[{"kpi": "upsell_ratio", "journey": "checkout", "ratio": 20}]', "between 0 and 1"),
        ("TARGETS", '[{"kpi": "cross_sell_ratio", "journey": "checkout", "ratio": 0.2}]', "name a segment"),
        ("TIME_ZONE", "Berlin", "'Berlin' is not a time zone; write an IANA name like UTC, Europe/Berlin"),
        ("TIME_ZONE", "../etc/passwd", "is not a time zone"),
        ("HISTORY_DAYS", "7", "UPSELL_HISTORY_DAYS is less than UPSELL_HISTORY_HOURS_DAYS"),
        ("HISTORY_DAYS", "401", "400"),
        ("CUSTOMER_HASH_KEY", "x" * 65, "longer than 64 bytes"),
    ],
)
def test_what_is_not_allowed(monkeypatch, name, value, says):
    monkeypatch.setenv(f"UPSELL_{name}", value)
    message = wrong()
    assert says in message
    assert f"UPSELL_{name}" in message or says == "longer than 64 bytes"


def test_two_targets_for_the_same_rate_are_refused(config):
    target = '[[targets]]\nkpi = "upsell_ratio"\njourney = "checkout"\nratio = 0.1\n'
    assert "two targets have the same" in wrong({}, config(target + target))


def test_a_target_for_a_segment_that_has_no_figures_is_refused(config, monkeypatch):
    monkeypatch.setenv("UPSELL_SEGMENTS", "new,vip")
    target = '[[targets]]\nkpi = "upsell_ratio"\njourney = "checkout"\nratio = 0.1\nsegment = "%s"\n'
    assert "targets: the segment 'vpi' is not one of segments (new, vip)" in wrong({}, config(target % "vpi"))
    assert load({}, config(target % "vip")).targets[0].segment == "vip"


def test_a_wrong_kpi_is_answered_with_the_allowed_ones(config):
    file = config('[[targets]]\nkpi = "upsale"\njourney = "checkout"\nratio = 0.1\n')
    allowed = ", ".join(kpi.name for kpi in KPIS if kpi.has_target)
    assert wrong({}, file) == f"targets[0].kpi in {file}: 'upsale' is not allowed: should be one of {allowed}"


@pytest.mark.parametrize(
    "wrong_one",
    ['"kpi": "upsale"', '"kpi": "order_value_lift"', '"journey": "shop"', '"ratio": -0.1', '"ratio": "NaN"'],
)
def test_an_unknown_kpi_or_journey_or_ratio_is_refused_by_name(monkeypatch, wrong_one):
    name = wrong_one.split('"')[1]
    fine = {"kpi": '"kpi": "upsell_ratio"', "journey": '"journey": "checkout"', "ratio": '"ratio": 0.1'}
    monkeypatch.setenv("UPSELL_TARGETS", "[{" + ", ".join((fine | {name: wrong_one}).values()) + "}]")
    message = wrong()
    assert "UPSELL_TARGETS" in message
    assert name in message


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{}", "UPSELL_TARGETS: should be a list; for example [{"),
        ("5", "UPSELL_TARGETS: should be a list; for example [{"),
        ("[5]", "UPSELL_TARGETS[0]: should be a table; for example [{"),
    ],
)
def test_a_wrong_list_of_tables_is_named_in_terms_of_toml(monkeypatch, value, says):
    monkeypatch.setenv("UPSELL_TARGETS", value)
    assert wrong().startswith(says)


def test_the_target_that_is_shown_is_allowed(monkeypatch):
    monkeypatch.setenv("UPSELL_TARGETS", "{}")
    shown = re.search(r"\[\{.*\}\]", wrong())
    monkeypatch.setenv("UPSELL_TARGETS", shown[0])
    assert len(load().targets) == 1


def test_a_list_of_the_file_is_a_list(config):
    file = config("windows = 5")
    assert wrong({}, file) == f"windows in {file}: should be a list"


def test_settings_that_contradict_each_other_are_named_as_written(config, monkeypatch):
    file = config('kafka_security_protocol = "SASL_SSL"')
    assert wrong({}, file) == f"kafka_security_protocol in {file} is SASL_SSL; also set UPSELL_KAFKA_SASL_USERNAME"
    monkeypatch.setenv("UPSELL_KAFKA_SASL_USERNAME", "me")
    assert "also set UPSELL_KAFKA_SASL_PASSWORD_FILE" in wrong({}, file)


def test_a_user_name_without_sasl_is_refused(monkeypatch):
    monkeypatch.setenv("UPSELL_KAFKA_SASL_USERNAME", "me")
    assert "UPSELL_KAFKA_SECURITY_PROTOCOL is PLAINTEXT" in wrong()


def test_certificates_without_tls_are_refused(monkeypatch, tmp_path):
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("UPSELL_KAFKA_SSL_CA_FILE", str(tmp_path / "ca.pem"))
    assert "set it to SSL or SASL_SSL" in wrong()


@pytest.mark.parametrize(
    "text",
    [
        'kafka_sasl_password = "hunter2"',
        'redis_password = "hunter2"',
        'redis_url = "redis://:hunter2@localhost"',
        'redis_url = "redis://localhost/0?password=hunter2"',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_shown(config, text):
    message = wrong({}, config(text))
    assert "_file to a file that contains it" in message
    assert "hunter2" not in message


def test_a_secret_in_an_option_is_refused_and_not_shown():
    message = wrong({"redis_url": "redis://me:hunter2@localhost"})
    assert message.startswith("--redis-url")
    assert "hunter2" not in message


def test_secrets_are_not_shown(monkeypatch):
    monkeypatch.setenv("UPSELL_REDIS_URL", "redis://:hunter2@localhost/7")
    monkeypatch.setenv("UPSELL_REDIS_PASSWORD", "hunter2")
    monkeypatch.setenv("UPSELL_CUSTOMER_HASH_KEY", "hunter2")
    settings = load()
    assert "hunter2" not in f"{settings!r} {settings}"
    monkeypatch.setenv("UPSELL_CUSTOMER_HASH_KEY", "hunter2" * 10)
    for url in ("http://:hunter2@localhost", "redis://:hunter2@localhost/70x"):
        monkeypatch.setenv("UPSELL_REDIS_URL", url)
        assert "hunter2" not in wrong()


def test_a_secret_comes_from_the_environment_or_its_file(monkeypatch, tmp_path):
    (tmp_path / "password").write_text("from the file\n", encoding="utf-8")
    monkeypatch.setenv("UPSELL_REDIS_PASSWORD", "from the environment")
    assert load().password("redis_password") == "from the environment"
    assert load().password("kafka_sasl_password") is None
    monkeypatch.setenv("UPSELL_REDIS_PASSWORD_FILE", str(tmp_path / "password"))
    assert "UPSELL_REDIS_PASSWORD and UPSELL_REDIS_PASSWORD_FILE are both set" in wrong()
    monkeypatch.delenv("UPSELL_REDIS_PASSWORD")
    assert load().password("redis_password") == "from the file"


def test_a_certificate_for_redis_needs_tls_and_its_own_file(config, tmp_path):
    (tmp_path / "some.pem").touch()
    file = config(f'redis_cert_file = "{tmp_path}/some.pem"')
    assert wrong({}, file) == (
        f"redis_cert_file in {file} is set but UPSELL_REDIS_URL begins with redis://; use rediss://, which is TLS"
    )
    key = {"redis_key_file": str(tmp_path / "some.pem")}
    assert wrong(key) == "--redis-key-file is set; also set UPSELL_REDIS_CERT_FILE"


OAUTH = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (OAUTH, "set either UPSELL_KAFKA_OAUTH_TOKEN_FILE or UPSELL_KAFKA_OAUTH_TOKEN_COMMAND"),
        (OAUTH | {"kafka_oauth_token_command": "x", "kafka_oauth_token_file": "token"}, "set either "),
        (
            OAUTH | {"kafka_oauth_token_command": "x", "kafka_sasl_username": "me"},
            "--kafka-sasl-username is set but --kafka-sasl-mechanism is OAUTHBEARER",
        ),
        (
            {"kafka_oauth_token_command": "x"},
            "--kafka-oauth-token-command is set but UPSELL_KAFKA_SECURITY_PROTOCOL is PLAINTEXT",
        ),
        (OAUTH | {"kafka_oauth_token_command": "'open"}, "not a command (No closing quotation)"),
        (OAUTH | {"kafka_oauth_token_command": " "}, "there is no command"),
    ],
)
def test_a_token_comes_from_one_place_and_is_alone(tmp_path, given, says):
    (tmp_path / "token").write_text("a-token")
    given = {name: str(tmp_path / "token") if value == "token" else value for name, value in given.items()}
    assert says in wrong(given)


SECRET_FILES = ["kafka_oauth_token_file", "kafka_sasl_password_file", "redis_password_file", "customer_hash_key_file"]


@pytest.mark.parametrize("name", SECRET_FILES)
@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "it is empty"), (b" \n", "it is empty"), (b"\xb6\xb6\xb6hunter2", "it is not UTF-8")],
)
def test_a_file_that_holds_no_secret_is_named(monkeypatch, tmp_path, name, content, says):
    (tmp_path / "secret").write_bytes(content)
    monkeypatch.setenv(f"UPSELL_{name.upper()}", str(tmp_path / "secret"))
    message = wrong()
    assert message.startswith(f"UPSELL_{name.upper()}: ")
    assert message.endswith(f"cannot read the file: {says}")
    assert "hunter2" not in message
    assert "b6" not in message


@pytest.mark.parametrize("name", SECRET_FILES)
def test_an_unreadable_secret_is_named(monkeypatch, tmp_path, name):
    def read_text(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "secret").touch()
    monkeypatch.setattr(Path, "read_text", read_text)
    assert wrong({name: str(tmp_path / "secret")}).endswith("cannot read the file: Permission denied")


@pytest.mark.parametrize("name", [*SECRET_FILES, "kafka_ssl_ca_file", "redis_ca_file"])
def test_an_unreadable_file_is_named(monkeypatch, name):
    def is_file(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", is_file)
    message = wrong({name: "/locked/file"})
    assert message.startswith(f"--{name.replace('_', '-')}: '/locked/file' is not allowed")
    assert message.endswith("cannot read the file: Permission denied")


@pytest.mark.parametrize("text", ["app_id = ", "\x00"])
def test_a_broken_file_is_named(config, text):
    file = config(text)
    assert wrong({}, file).startswith(f"{file}: not TOML (")


def test_a_byte_order_mark_is_no_part_of_the_file(config):
    assert load({}, config('\ufeffapp_id = "marked"')).app_id == "marked"


def test_a_missing_file_is_named():
    assert wrong({}, Path("/nowhere/upsell.toml")) == "/nowhere/upsell.toml: No such file or directory"


def test_every_setting_says_what_it_is_for():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
