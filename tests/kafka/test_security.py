import ssl

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from stream.kafka.security import client_options, faust_credentials
from stream.settings import Settings

USER = {"kafka_sasl_username": "u", "kafka_sasl_password": "p"}
TOKEN = {"kafka_sasl_mechanism": "OAUTHBEARER", "kafka_oauth_token_command": "print a-token"}


@pytest.mark.parametrize(
    ("protocol", "who"),
    [
        ("PLAINTEXT", {}),
        ("SSL", {}),
        ("SASL_PLAINTEXT", USER),
        ("SASL_SSL", USER),
        ("SASL_PLAINTEXT", TOKEN),
        ("SASL_SSL", TOKEN),
    ],
)
def test_faust_connects_as_the_other_clients_do(protocol, who):
    settings = Settings(kafka_security_protocol=protocol, **who)
    ours, faust = client_options(settings), dict(credentials_to_aiokafka_auth(faust_credentials(settings)))
    assert ours["security_protocol"] == faust["security_protocol"] == protocol
    for options in (ours, faust):
        context = options.pop("ssl_context", None)
        assert (context is not None) == protocol.endswith("SSL")
        assert context is None or (context.check_hostname and context.verify_mode is ssl.CERT_REQUIRED)
    assert ours == faust


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["kafka_ssl_ca_file"], "UPSELL_KAFKA_SSL_CA_FILE: "),
        (["kafka_ssl_cert_file"], "UPSELL_KAFKA_SSL_CERT_FILE, UPSELL_KAFKA_SSL_KEY_FILE: "),
        (["kafka_ssl_cert_file", "kafka_ssl_key_file"], "UPSELL_KAFKA_SSL_CERT_FILE, UPSELL_KAFKA_SSL_KEY_FILE: "),
    ],
)
def test_a_file_without_a_certificate_is_an_error_that_names_the_setting(tmp_path, names, says):
    file = tmp_path / "some.pem"
    file.write_text("no certificate")
    settings = Settings(kafka_security_protocol="SSL", **dict.fromkeys(names, file))
    with pytest.raises(OSError, match=f"^{says}{file} .*PEM"):
        client_options(settings)
